"""Chunks and slabs of one allocator: taken, filled by bump and by free lists, given back.

    small object ─► first slab of the size: its free list ─empty─► its next fresh object
                     └ none has room: a slab of a chunk with room ─► a chunk given back, mmap
    medium one   ─► first chunk of the size: the place that was freed last
    large one    ─► chunks side by side, a power of two of them

Invariant  see `invariants.py`
Source     Lietar et al. 2019, section 3.1 (slabs, medium slabs, large allocations)
Omits      the short first slab of a chunk: the whole of it is the chunk's record here
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import ADVISE_DONTNEED, PAGE_BYTES, load, madvise, store, touch
from heapwright.machine.ground import obtain
from heapwright.managers.malloc.snmalloc import state
from heapwright.managers.malloc.snmalloc.state import (
    AHEAD,
    BEHIND,
    BUMP,
    CHUNK_BYTES,
    CHUNK_ORDERS,
    CHUNK_SHIFT,
    CHUNK_SLABS,
    CLASS,
    FREE,
    FRESH,
    IN_LIST,
    KIND,
    LARGE_IN,
    LISTED,
    LIVE,
    MEDIUM_IN,
    NEXT,
    OWNER,
    PREVIOUS,
    ROOM,
    SIZE,
    SLAB_SHIFT,
    SLABS_IN,
    SPARE,
    USED,
    VACANT,
    bytes_of,
    chunk_word,
    places_in,
    row_word,
    set_chunk,
    set_row,
    set_slab,
    slab_word,
)


@kernel
def take_chunks(heap, order):
    """The first of 2**order chunks side by side; 0 where the system refuses."""
    chunk = heap.spare[unsigned(order)]
    if chunk:
        heap.paths[state.CHUNK_AGAIN] += 1
        heap.spare[unsigned(order)] = chunk_word(heap, chunk, AHEAD)
        touch(heap.machine, chunk << CHUNK_SHIFT, PAGE_BYTES)
        return chunk
    address = obtain(heap.machine, 0, CHUNK_BYTES << order, CHUNK_BYTES)
    if not address:
        return 0
    heap.paths[state.NEW_CHUNK] += 1
    chunk = address >> CHUNK_SHIFT
    if not heap.lowest or chunk < heap.lowest:
        heap.lowest = chunk
    return chunk


@kernel
def give_chunks(heap, chunk, order):
    """They are anybody's; their pages but the first, which has the list's link, go back."""
    heap.paths[state.CHUNK_BACK] += 1
    set_chunk(heap, chunk, KIND, SPARE)
    set_chunk(heap, chunk, SIZE, order)
    set_chunk(heap, chunk, AHEAD, heap.spare[unsigned(order)])
    heap.spare[unsigned(order)] = chunk
    first = (chunk << CHUNK_SHIFT) + PAGE_BYTES
    madvise(heap.machine, first, (CHUNK_BYTES << order) - PAGE_BYTES, ADVISE_DONTNEED)


@kernel
def _open_chunk(heap, allocator, kind, size):
    """A chunk for slabs or medium objects of an allocator; 0 if refused."""
    chunk = take_chunks(heap, 0)
    if chunk:
        set_chunk(heap, chunk, KIND, kind)
        set_chunk(heap, chunk, OWNER, allocator)
        set_chunk(heap, chunk, SIZE, size)
        set_chunk(heap, chunk, LIVE, 0)
        set_chunk(heap, chunk, VACANT, 0)
        set_chunk(heap, chunk, FRESH, 1 if kind == SLABS_IN else 0)
        touch(heap.machine, chunk << CHUNK_SHIFT, PAGE_BYTES)
    return chunk


@kernel
def list_chunk(heap, allocator, list_, chunk):
    """Make it the first of an allocator's list of chunks with room."""
    first = row_word(heap, allocator, list_)
    set_chunk(heap, chunk, AHEAD, first)
    set_chunk(heap, chunk, BEHIND, 0)
    if first:
        set_chunk(heap, first, BEHIND, chunk)
    set_row(heap, allocator, list_, chunk)
    set_chunk(heap, chunk, IN_LIST, 1)


@kernel
def unlist_chunk(heap, allocator, list_, chunk):
    """Take it out."""
    ahead, behind = chunk_word(heap, chunk, AHEAD), chunk_word(heap, chunk, BEHIND)
    if behind:
        set_chunk(heap, behind, AHEAD, ahead)
    else:
        set_row(heap, allocator, list_, ahead)
    if ahead:
        set_chunk(heap, ahead, BEHIND, behind)
    set_chunk(heap, chunk, IN_LIST, 0)


@kernel
def list_slab(heap, allocator, class_, slab):
    """Make it the first of its size with room."""
    first = row_word(heap, allocator, class_)
    set_slab(heap, slab, NEXT, first)
    set_slab(heap, slab, PREVIOUS, 0)
    if first:
        set_slab(heap, first, PREVIOUS, slab)
    set_row(heap, allocator, class_, slab)
    set_slab(heap, slab, LISTED, 1)


@kernel
def unlist_slab(heap, allocator, class_, slab):
    """Take it out."""
    next_, previous = slab_word(heap, slab, NEXT), slab_word(heap, slab, PREVIOUS)
    if previous:
        set_slab(heap, previous, NEXT, next_)
    else:
        set_row(heap, allocator, class_, next_)
    if next_:
        set_slab(heap, next_, PREVIOUS, previous)
    set_slab(heap, slab, LISTED, 0)


@kernel
def new_slab(heap, allocator, class_):
    """A slab for a class, the first of its list; 0 where no chunk can be had."""
    chunk = row_word(heap, allocator, ROOM)
    if not chunk:
        chunk = _open_chunk(heap, allocator, SLABS_IN, 0)
        if not chunk:
            return 0
        list_chunk(heap, allocator, ROOM, chunk)
    heap.paths[state.NEW_SLAB] += 1
    slab = chunk_word(heap, chunk, VACANT)  # the one that was given back last
    if slab:
        set_chunk(heap, chunk, VACANT, slab_word(heap, slab, NEXT))
    else:
        number = chunk_word(heap, chunk, FRESH)
        set_chunk(heap, chunk, FRESH, number + 1)
        slab = (chunk << (CHUNK_SHIFT - SLAB_SHIFT)) + number
    live = chunk_word(heap, chunk, LIVE) + 1
    set_chunk(heap, chunk, LIVE, live)
    if live == CHUNK_SLABS - 1:
        unlist_chunk(heap, allocator, ROOM, chunk)
    set_slab(heap, slab, FREE, 0)
    set_slab(heap, slab, BUMP, slab << SLAB_SHIFT)
    set_slab(heap, slab, USED, 0)
    set_slab(heap, slab, CLASS, class_)
    list_slab(heap, allocator, class_, slab)
    return slab


@kernel(inline=True)
def has_fresh(heap, slab, size):
    """Whether a slab has objects that were never handed out."""
    return slab_word(heap, slab, BUMP) + size <= (slab + 1) << SLAB_SHIFT


@kernel(inline=True)
def take_object(heap, allocator, class_, slab):
    """An object of a slab with room: of its free list, else the next fresh one."""
    block, size = slab_word(heap, slab, FREE), bytes_of(class_)
    if block:
        set_slab(heap, slab, FREE, load(heap.machine, block))
    else:
        block = slab_word(heap, slab, BUMP)
        set_slab(heap, slab, BUMP, block + size)
    set_slab(heap, slab, USED, slab_word(heap, slab, USED) + 1)
    if not slab_word(heap, slab, FREE) and not has_fresh(heap, slab, size):
        unlist_slab(heap, allocator, class_, slab)
    return block


@kernel(inline=True)
def free_object(heap, allocator, block):
    """Put an object of the allocator's own in front of its slab's free list."""
    slab = block >> SLAB_SHIFT
    touch(heap.machine, block, 8)
    store(heap.machine, block, slab_word(heap, slab, FREE))
    set_slab(heap, slab, FREE, block)
    used = slab_word(heap, slab, USED) - 1
    set_slab(heap, slab, USED, used)
    if not used:
        _give_slab(heap, allocator, slab)
    elif not slab_word(heap, slab, LISTED):
        list_slab(heap, allocator, slab_word(heap, slab, CLASS), slab)


@kernel
def _give_slab(heap, allocator, slab):
    """A slab without an object goes back to its chunk, and the last one's chunk to everybody."""
    heap.paths[state.SLAB_BACK] += 1
    if slab_word(heap, slab, LISTED):
        unlist_slab(heap, allocator, slab_word(heap, slab, CLASS), slab)
    chunk = slab >> (CHUNK_SHIFT - SLAB_SHIFT)
    set_slab(heap, slab, NEXT, chunk_word(heap, chunk, VACANT))
    set_chunk(heap, chunk, VACANT, slab)
    live = chunk_word(heap, chunk, LIVE) - 1
    set_chunk(heap, chunk, LIVE, live)
    if not chunk_word(heap, chunk, IN_LIST):
        list_chunk(heap, allocator, ROOM, chunk)
    if not live:
        unlist_chunk(heap, allocator, ROOM, chunk)
        give_chunks(heap, chunk, 0)


@kernel
def take_medium(heap, allocator, class_):
    """A medium object; 0 if refused. Places count from the chunk's end, so that it is aligned."""
    chunk, size = row_word(heap, allocator, class_), bytes_of(class_)
    if not chunk:
        chunk = _open_chunk(heap, allocator, MEDIUM_IN, class_)
        if not chunk:
            return 0
        first = chunk * CHUNK_SLABS
        for place in range(places_in(size)):
            heap.medium[unsigned(first + place)] = place + 1
        list_chunk(heap, allocator, class_, chunk)
    heap.paths[state.MEDIUM] += 1
    live = chunk_word(heap, chunk, LIVE) + 1
    set_chunk(heap, chunk, LIVE, live)
    free_places = places_in(size) - live
    place = heap.medium[unsigned(chunk * CHUNK_SLABS + free_places)]
    if not free_places:
        unlist_chunk(heap, allocator, class_, chunk)
    return ((chunk + 1) << CHUNK_SHIFT) - place * size


@kernel
def free_medium(heap, allocator, block):
    """A medium object of the allocator's own."""
    chunk = block >> CHUNK_SHIFT
    class_ = chunk_word(heap, chunk, SIZE)
    size, live = bytes_of(class_), chunk_word(heap, chunk, LIVE)
    place = (((chunk + 1) << CHUNK_SHIFT) - block) // size
    heap.medium[unsigned(chunk * CHUNK_SLABS + places_in(size) - live)] = place
    set_chunk(heap, chunk, LIVE, live - 1)
    if not chunk_word(heap, chunk, IN_LIST):
        list_chunk(heap, allocator, class_, chunk)
    if live == 1:
        unlist_chunk(heap, allocator, class_, chunk)
        give_chunks(heap, chunk, 0)


@kernel
def take_large(heap, allocator, size):
    """Chunks for one object; 0 if refused."""
    order = 0
    while CHUNK_BYTES << order < size:
        order += 1
    chunk = take_chunks(heap, order) if order < CHUNK_ORDERS else 0
    if not chunk:
        return 0
    heap.paths[state.LARGE] += 1
    set_chunk(heap, chunk, KIND, LARGE_IN)
    set_chunk(heap, chunk, OWNER, allocator)
    set_chunk(heap, chunk, SIZE, order)
    return chunk << CHUNK_SHIFT
