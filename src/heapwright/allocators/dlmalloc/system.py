"""Memory from the system: at the space's end, and back when the top is large.

Source     dlmalloc 2.8.6 malloc.c: sys_alloc, add_segment, sys_trim, create_mspace_with_base; built
           as for Android and WebAssembly: HAVE_MMAP 0
Omits      memory below a segment (prepend_alloc): the break only rises
"""

from heapwright.allocators.dlmalloc.bins import enter
from heapwright.allocators.dlmalloc.chunk import (
    BEFORE,
    USED,
    block_of,
    get,
    mark_cut,
    mark_free_before,
    padded,
    put,
    set_head,
    set_top,
)
from heapwright.compiler import kernel
from heapwright.machine import brk, clear
from heapwright.machine.address_space import BREAK

SEGMENT_WORDS = 4  # of a record: base, size, the one before, flags


@kernel
def more_core(space, size):
    """Where `size` more bytes begin at the break; 0 where they are refused."""
    machine = space.machine
    begin = machine.meters[BREAK]
    if begin + size > space.past:
        return 0
    return begin if brk(machine, begin + size) == begin + size else 0


@kernel
def give_memory(space, size, state_bytes):
    """The space begins in `size` bytes at the break, with its own state (create_mspace_with_base);
    whether there is room."""
    base = more_core(space, size)
    if not base:
        return False
    first = base + (-block_of(space, base) & space.mask)
    own = padded(space, state_bytes)
    clear(space.machine, block_of(space, first), own)
    set_head(space, first, own | BEFORE | USED)
    space.base = space.segment = base
    space.end = base + size
    space.footprint = space.peak = size
    space.contiguous, space.given = 0, 1
    chunk = first + own
    set_top(space, chunk, space.end - chunk - space.foot)
    return True


@kernel(inline=True)
def _whole(space, size):
    """Rounded up to what the system is asked for."""
    return (size + space.granularity - 1) & -space.granularity


@kernel
def grow(space, need):
    """Make the top larger than `need` bytes; whether that could be done."""
    padding = space.foot + space.mask + 1
    whole = _whole(space, need + padding)
    if space.limit and space.footprint + whole > space.limit:
        return False
    if whole >= space.past:  # it wraps
        return False
    start, size = 0, whole
    if space.contiguous:
        if space.top:
            size = _whole(space, need - space.top_bytes + padding)
        if size < space.half:
            start = more_core(space, size)
        if not start:
            space.contiguous = 0
    if not start and whole < space.half:
        size = whole
        start = more_core(space, size)
    if not start:
        return False
    space.footprint += size
    space.peak = max(space.peak, space.footprint)
    if not space.top:
        space.base = space.segment = start
        space.end = start + size
        set_top(space, start, size - space.foot)
    elif start == space.end and not space.given:
        space.end += size
        set_top(space, space.top, space.top_bytes + size)
    else:
        _add_segment(space, start, size)
    return need < space.top_bytes


@kernel
def _add_segment(space, start, size):
    """Memory that does not join the newest segment: its record ends that one."""
    word, old_top, old_end = space.word, space.top, space.end
    record_bytes = padded(space, SEGMENT_WORDS * word)
    raw = old_end - (record_bytes + 4 * word + space.mask)
    place = raw + (-block_of(space, raw) & space.mask)
    chunk = old_top if place < old_top + space.least else place
    set_top(space, start, size - space.foot)
    mark_cut(space, chunk, record_bytes)
    record_ = block_of(space, chunk)
    put(space, record_, space.segment)
    put(space, record_ + word, old_end - space.segment)
    put(space, record_ + 2 * word, space.older)
    put(space, record_ + 3 * word, 8 * space.given)
    space.segment, space.end = start, start + size
    space.older, space.given = record_, 0
    fence = chunk + record_bytes
    while True:
        set_head(space, fence, word | BEFORE | USED)
        fence += word
        if fence + word >= old_end:
            break
    if chunk != old_top:
        bytes_ = chunk - old_top
        mark_free_before(space, old_top, bytes_, chunk)
        enter(space, old_top, bytes_)


@kernel
def trim(space, pad):
    """Give back what the top has beyond `pad` bytes and a granule; the bytes."""
    if not space.top:
        return 0
    released, unit = 0, space.granularity
    pad += space.foot
    if space.top_bytes > pad:
        extra = ((space.top_bytes - pad + unit - 1) // unit - 1) * unit
        machine = space.machine
        if not space.given and extra and machine.meters[BREAK] == space.end:
            if brk(machine, space.end - extra) == space.end - extra:
                released = extra
        if released:
            space.end -= released
            space.footprint -= released
            set_top(space, space.top, space.top_bytes - released)
    if not released and space.top_bytes > space.trim_check:
        space.trim_check = space.past
    return released


@kernel
def record_word(space, record_, number):
    """A word of an older segment's record."""
    return get(space, record_ + number * space.word)
