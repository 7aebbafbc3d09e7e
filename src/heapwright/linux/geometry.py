"""How objects are laid out in slabs, and which sizes kmalloc has: plain arithmetic.

    object_size ─► inuse (words) ─► size (aligned) ─► order: least waste, for enough objects

Source     Linux 6.1: calculate_sizes, calculate_order, set_cpu_partial (mm/slub.c), kmalloc_info
           and kmalloc_type (mm/slab_common.c, include/linux/slab.h)
"""

from bisect import bisect_left
from typing import NamedTuple

from heapwright.machine import PAGE_BYTES

WORD_BYTES = 8
KMALLOC_SIZES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)  # bytes
KMALLOC_MOST = KMALLOC_SIZES[-1]  # larger is whole frames
NORMAL, ACCOUNTED, RECLAIMED, DMA = range(4)  # kmalloc's types
TYPE_NAMES = ("", "cg-", "rcl-", "dma-")
MOST_OBJECTS = 32767  # of a slab: MAX_OBJS_PER_PAGE


class Layout(NamedTuple):
    """What /sys/kernel/slab/NAME says of a cache's slabs."""

    object_size: int  # bytes asked for
    size: int  # bytes from one object to the next
    inuse: int  # bytes before the padding
    offset: int  # of the free pointer in a free object
    align: int
    order: int  # log2 of a slab's frames
    objects: int
    least_order: int  # of a slab made when no block of `order` is there
    min_partial: int  # slabs that a node keeps though they are empty
    cpu_partial: int  # objects that a processor is to keep in slabs of its own; 0 without such
    cpu_slabs: int  # slabs that it keeps for that; -1 in a kernel without them


class Settings(NamedTuple):
    """What a kernel's command line and configuration decide."""

    cpus: int = 1
    min_objects: int = 0  # slub_min_objects; 0: from the number of processors
    max_order: int = 3  # slub_max_order
    cpu_partial: bool = True  # CONFIG_SLUB_CPU_PARTIAL


def _order_for(size: int, objects: int, fraction: int, most: int) -> int:
    """The lowest order for so many objects that wastes at most a `fraction`-th."""
    order = max(0, (max(objects * size, 1) - 1).bit_length() - 12)
    while order <= most:
        slab = PAGE_BYTES << order
        if slab % size <= slab // fraction:
            break
        order += 1
    return order


def order_of(size: int, settings: Settings = Settings()) -> int:  # noqa: B008 immutable
    """log2 of a slab's frames for objects of `size` bytes.

    >>> order_of(192), order_of(1024)
    (0, 1)
    """
    wanted = settings.min_objects or 4 * (settings.cpus.bit_length() + 1)
    objects = min(wanted, (PAGE_BYTES << settings.max_order) // size)
    while objects > 1:
        for fraction in (16, 8, 4):
            order = _order_for(size, objects, fraction, settings.max_order)
            if order <= settings.max_order:
                return order
        objects -= 1
    order = _order_for(size, 1, 1, settings.max_order)
    return order if order <= settings.max_order else _order_for(size, 1, 1, 10)


def layout(
    object_size: int,
    align: int = 0,
    settings: Settings = Settings(),  # noqa: B008 immutable
    *,
    constructor: bool = False,
) -> Layout:
    """The layout of a cache. With a constructor a free object keeps its content, so the free
    pointer lies behind it.

    >>> layout(96).objects, layout(96).cpu_partial
    (42, 120)
    """
    align = max(WORD_BYTES, -(-align // WORD_BYTES) * WORD_BYTES)
    inuse = -(-object_size // WORD_BYTES) * WORD_BYTES
    offset = inuse if constructor else object_size // 2 // WORD_BYTES * WORD_BYTES
    size = -(-(inuse + (WORD_BYTES if constructor else 0)) // align) * align
    order = order_of(size, settings)
    objects = min((PAGE_BYTES << order) // size, MOST_OBJECTS)
    partial = 6 if size >= PAGE_BYTES else 24 if size >= 1024 else 52 if size >= 256 else 120
    return Layout(
        object_size,
        size,
        inuse,
        offset,
        align,
        order,
        objects,
        max(0, (size - 1).bit_length() - 12),
        min(10, max(5, (size.bit_length() - 1) // 2)),
        partial if settings.cpu_partial else 0,
        -(-partial * 2 // objects) if settings.cpu_partial else -1,
    )


def kmalloc_name(size: int, kind: int) -> str:
    """The cache of a size class.

    >>> kmalloc_name(2048, RECLAIMED)
    'kmalloc-rcl-2k'
    """
    return f"kmalloc-{TYPE_NAMES[kind]}{size if size < 1024 else f'{size >> 10}k'}"


def kmalloc_class(size: int) -> int:
    """Number of the smallest class for a size; that of no class is one too many.

    >>> KMALLOC_SIZES[kmalloc_class(97)]
    128
    """
    return bisect_left(KMALLOC_SIZES, size)


def room_of(size: int) -> int:
    """Bytes that kmalloc gives for so many, whatever the flags: a general cache's objects, or whole
    frames in a power of two.

    >>> room_of(100), room_of(10_000)
    (128, 16384)
    """
    if size <= KMALLOC_MOST:
        return KMALLOC_SIZES[kmalloc_class(size)]
    return PAGE_BYTES << (-(-size // PAGE_BYTES) - 1).bit_length()
