"""The flags of a kernel's request as trace events write them: names joined by |, or a number.

Source     Linux 6.1: include/trace/events/mmflags.h, include/linux/gfp_types.h
"""

_BITS = {
    "DMA": 0x1,
    "HIGHMEM": 0x2,
    "DMA32": 0x4,
    "MOVABLE": 0x8,
    "RECLAIMABLE": 0x10,
    "HIGH": 0x20,
    "ATOMIC": 0x200,
    "DIRECT_RECLAIM": 0x400,
    "KSWAPD_RECLAIM": 0x800,
    "RECLAIM": 0xC00,
    "MEMALLOC": 0x20000,
    "NOMEMALLOC": 0x80000,
    "ACCOUNT": 0x400000,
}
_SETS = {
    "GFP_KERNEL": 0xCC0,
    "GFP_KERNEL_ACCOUNT": 0x400CC0,
    "GFP_ATOMIC": 0xA20,
    "GFP_NOWAIT": 0x800,
    "GFP_NOIO": 0xC00,
    "GFP_NOFS": 0xC40,
    "GFP_USER": 0xCC0,
    "GFP_HIGHUSER": 0xCC2,
    "GFP_HIGHUSER_MOVABLE": 0xCCA,
    "GFP_TRANSHUGE": 0x804CA,
    "GFP_TRANSHUGE_LIGHT": 0x800CA,
    "GFP_DMA": 0x1,
    "GFP_DMA32": 0x4,
}
MATTERS = 0xCC0  # I/O and file systems too: they are a part of what GFP_KERNEL is
for _bit in _BITS.values():
    MATTERS |= _bit
UNKNOWN = -1


def flags_of(text: str) -> int:
    """The flags that a twin heeds; UNKNOWN where none are told. A name that it does not know, as of
    flags that change nothing, is passed over.

    >>> hex(flags_of("GFP_KERNEL|__GFP_RECLAIMABLE")), hex(flags_of("0xdc0")), flags_of("")
    ('0xcd0', '0xcc0', -1)
    """
    if not text:
        return UNKNOWN
    found = 0
    for name in text.split("|"):
        if name in _SETS:
            found |= _SETS[name]
        elif name.startswith("__GFP_"):
            found |= _BITS.get(name[6:], 0)
        elif name[:1].isdigit():
            try:
                found |= int(name if len(name) < 20 else "", 0) & MATTERS
            except ValueError:
                return UNKNOWN
    return found
