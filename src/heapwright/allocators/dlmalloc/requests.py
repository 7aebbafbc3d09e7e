"""malloc, free, realloc and memalign of a space.

    small  a list of the very size, or 8 bytes more ─► dv ─► the next larger list ─► the smallest of
           the trees; what is left of either is dv ─► top ─► the system
    large  the best fit of the trees, unless dv fits as well ─► dv ─► top ─► the system
    free   joined with the chunks around that are free; into top, dv, a list or a tree

Source     dlmalloc 2.8.6 malloc.c: dlmalloc, dlfree, dispose_chunk, try_realloc_chunk,
           internal_memalign
"""

from heapwright.allocators.dlmalloc.bins import (
    enter,
    fit_large,
    fit_small,
    leave,
)
from heapwright.allocators.dlmalloc.chunk import (
    BEFORE,
    SMALL_SHIFT,
    TREE_SHIFT,
    USED,
    block_of,
    bytes_of,
    chunk_of,
    get,
    head,
    mark_cut,
    mark_free,
    mark_free_before,
    mark_used,
    padded,
    set_head,
)
from heapwright.allocators.dlmalloc.system import grow, trim
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros


@kernel
def obtain(space, size):
    """A block of at least `size` bytes; 0 where there is no room."""
    if size >= space.past - 4 * space.least:
        return 0
    need = padded(space, size)
    if size < (1 << TREE_SHIFT) - space.mask - space.word:
        chunk = _small(space, need)
    else:
        chunk = fit_large(space, need) if space.large else 0
        if chunk:
            _take(space, chunk, need, False)
    if chunk:
        return block_of(space, chunk)
    if need <= space.dv_bytes:
        chunk, room = space.dv, space.dv_bytes
        rest = room - need
        if rest >= space.least:
            space.dv, space.dv_bytes = chunk + need, rest
            mark_free(space, chunk + need, rest)
            mark_cut(space, chunk, need)
        else:
            space.dv = space.dv_bytes = 0
            mark_used(space, chunk, room)
        return block_of(space, chunk)
    if need < space.top_bytes or grow(space, need):
        chunk = space.top
        space.top += need
        space.top_bytes -= need
        set_head(space, space.top, space.top_bytes | BEFORE)
        mark_cut(space, chunk, need)
        return block_of(space, chunk)
    return 0


@kernel
def _small(space, need):
    """A chunk of a list, or of the trees where dv is too small; 0: dv, top or the system."""
    number = need >> SMALL_SHIFT
    lists = space.small >> number
    if lists & 3:
        number += ~lists & 1
        chunk = space.first[unsigned(number)]
        size = number << SMALL_SHIFT
        leave(space, chunk, size)
        mark_used(space, chunk, size)
        return chunk
    if need <= space.dv_bytes:
        return 0
    if lists:
        number += trailing_zeros(lists)
        chunk = space.first[unsigned(number)]
        _take(space, chunk, need, True)
        return chunk
    if not space.large:
        return 0
    chunk = fit_small(space, need)
    _take(space, chunk, need, True)
    return chunk


@kernel
def _take(space, chunk, need, to_dv):
    """Use a chunk of a bin; what is left of it becomes dv or goes to a bin."""
    size = bytes_of(space, chunk)
    leave(space, chunk, size)
    rest = size - need
    if rest < space.least:
        mark_used(space, chunk, size)
        return
    mark_cut(space, chunk, need)
    mark_free(space, chunk + need, rest)
    if to_dv:
        if space.dv_bytes:
            enter(space, space.dv, space.dv_bytes)
        space.dv, space.dv_bytes = chunk + need, rest
    else:
        enter(space, chunk + need, rest)


@kernel
def dispose(space, chunk, size):
    """Free a chunk, joined with what is free around it; whether it became a part of the top."""
    following = chunk + size
    if not head(space, chunk) & BEFORE:
        before = get(space, chunk)
        chunk -= before
        size += before
        if chunk != space.dv:
            leave(space, chunk, before)
        elif head(space, following) & (BEFORE | USED) == BEFORE | USED:
            space.dv_bytes = size
            mark_free_before(space, chunk, size, following)
            return False
    if head(space, following) & USED:
        mark_free_before(space, chunk, size, following)
    elif following == space.top:
        space.top, space.top_bytes = chunk, space.top_bytes + size
        set_head(space, chunk, space.top_bytes | BEFORE)
        if chunk == space.dv:
            space.dv = space.dv_bytes = 0
        return True
    elif following == space.dv:
        space.dv, space.dv_bytes = chunk, space.dv_bytes + size
        mark_free(space, chunk, space.dv_bytes)
        return False
    else:
        more = bytes_of(space, following)
        size += more
        leave(space, following, more)
        mark_free(space, chunk, size)
        if chunk == space.dv:
            space.dv_bytes = size
            return False
    enter(space, chunk, size)
    return False


@kernel
def release(space, block):
    """Free a block; the top is cut when it is large."""
    chunk = chunk_of(space, block)
    if dispose(space, chunk, bytes_of(space, chunk)) and space.top_bytes > space.trim_check:
        trim(space, 0)


@kernel
def _cut(space, chunk, need, room):
    """A chunk in use of `room` bytes keeps `need`; the rest is free."""
    mark_used(space, chunk, need)
    mark_used(space, chunk + need, room - need)
    dispose(space, chunk + need, room - need)


@kernel
def resize(space, block, size):
    """Whether the block is at least `size` bytes now, without moving."""
    if size >= space.past - 4 * space.least:
        return False
    chunk, need = chunk_of(space, block), padded(space, size)
    old = bytes_of(space, chunk)
    following = chunk + old
    if old >= need:
        if old - need >= space.least:
            _cut(space, chunk, need, old)
        return True
    if following == space.top:
        if old + space.top_bytes <= need:
            return False
        rest = old + space.top_bytes - need
        mark_used(space, chunk, need)
        set_head(space, chunk + need, rest | BEFORE)
        space.top, space.top_bytes = chunk + need, rest
        return True
    if following == space.dv:
        rest = old + space.dv_bytes - need
        if rest < 0:
            return False
        if rest >= space.least:
            mark_used(space, chunk, need)
            mark_free(space, chunk + need, rest)
            after = chunk + need + rest
            set_head(space, after, head(space, after) & ~BEFORE)
            space.dv, space.dv_bytes = chunk + need, rest
        else:
            mark_used(space, chunk, need + rest)
            space.dv = space.dv_bytes = 0
        return True
    if head(space, following) & USED:
        return False
    more = bytes_of(space, following)
    if old + more < need:
        return False
    leave(space, following, more)
    if old + more - need < space.least:
        mark_used(space, chunk, old + more)
    else:
        _cut(space, chunk, need, old + more)
    return True


@kernel
def obtain_aligned(space, size, align):
    """A block at a multiple of `align`, more than a chunk's own."""
    align = max(align, space.least)
    if size >= space.past - 4 * space.least - align:
        return 0
    need = padded(space, size)
    block = obtain(space, need + align + space.least - space.word)
    if not block:
        return 0
    chunk = chunk_of(space, block)
    if block & (align - 1):
        place = chunk_of(space, (block + align - 1) & -align)
        if place - chunk < space.least:
            place += align
        lead, old = place - chunk, bytes_of(space, chunk)
        mark_used(space, place, old - lead)
        mark_used(space, chunk, lead)
        dispose(space, chunk, lead)
        chunk = place
    room = bytes_of(space, chunk)
    if room > need + space.least:
        _cut(space, chunk, need, room)
    return block_of(space, chunk)


@kernel(inline=True)
def usable(space, block):
    """What a block holds."""
    return bytes_of(space, chunk_of(space, block)) - space.word
