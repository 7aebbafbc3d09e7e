"""What wright does for each request: the fast paths, and where they turn off.

alloc ─► cache of the class ─empty─► caches.refill; beyond the classes a run
free  ─► cache of the class ─full─► caches.free_uncached
calloc clears what may have been written; realloc stays, moves pages, or copies
"""

from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.machine import ADVISE_DONTNEED, clear, copy, madvise, touch
from heapwright.managers.malloc.wright import caches, page_heap
from heapwright.managers.malloc.wright.caches import name_run, refill, take_run
from heapwright.managers.malloc.wright.classes import (
    FIRST_SINGLE,
    GRANULE_BYTES,
    MOST_BYTES,
    PAGE_BYTES,
    PAGE_SHIFT,
    class_of,
    class_of_aligned,
    class_of_larger,
    class_of_small,
)
from heapwright.managers.malloc.wright.dirty import mark, next_page, unsign
from heapwright.managers.malloc.wright.guarded import (
    alloc_aligned_guarded,
    alloc_guarded,
    free_cached_guarded,
    free_guarded,
    take_guarded,
)
from heapwright.managers.malloc.wright.hardened import (
    FOREIGN,
    GUARD_BYTES,
    asked_for,
    condemn,
    guard,
)
from heapwright.managers.malloc.wright.resizing import resize_run
from heapwright.managers.malloc.wright.spans import free_in_span
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    HEAP_BYTES,
    ONE,
    RUN_TAKEN,
    START,
    entry_of,
    get,
    link_at,
    list_at,
    lock,
    origin_of,
    place_of,
    room_of,
    row_of,
    set_link_at,
    set_list_at,
    start_of,
    unlock,
)

LOCKING = "own"

LEAST_PURGED_BYTES = 32 << 20  # asked of calloc; glibc maps as much afresh (M_MMAP_THRESHOLD)


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. The fast path: the thread's cache has one."""
    if align > GRANULE_BYTES:
        return _alloc_aligned(heap, thread, size, align)
    if heap.guarded[0]:
        return alloc_guarded(heap, thread, size)
    block = _take_cached(heap, place_of(heap, thread), class_of(heap.classes, size))
    return block - origin_of(heap) if likely(block != 0) else alloc_uncached(heap, thread, size)


@kernel(inline=True)
def alloc_cached(heap, place, size):
    """Pointer to the newest block of a small class's cache; 0 if it is empty."""
    if heap.guarded[0]:
        return take_guarded(heap, place, size)
    return _take_cached(heap, place, class_of_small(heap.classes, size))


@kernel(inline=True)
def alloc_cached_larger(heap, place, size):
    """The same of any other size."""
    if heap.guarded[0]:
        return take_guarded(heap, place, size) if unsigned(size) < unsigned(MOST_BYTES) else 0
    return _take_cached(heap, place, class_of_larger(heap.classes, size))


@kernel(inline=True)
def _take_cached(heap, place, size_class):
    """The newest block of a cache; 0 if it is empty, as that of class 0 always is."""
    block = list_at(heap, place, size_class) & ADDRESS
    if likely(block != 0):
        set_list_at(heap, place, size_class, link_at(heap, block))
    return block


@kernel
def alloc_uncached(heap, thread, size):
    """A block where the cache has none."""
    if heap.guarded[0]:
        return alloc_guarded(heap, thread, size)
    return _alloc_slowly(heap, thread, size, class_of(heap.classes, size))


@kernel
def _alloc_slowly(heap, thread, size, size_class):
    """A block of a class, or beyond the classes, that comes from no cache."""
    return refill(heap, thread, size_class) if size_class else _alloc_run(heap, size, 1)


@kernel
def _alloc_run(heap, size, align_pages):
    """A block beyond the classes; 0 if refused."""
    if unsigned(size) > unsigned(HEAP_BYTES) or align_pages > HEAP_BYTES >> PAGE_SHIFT:
        return 0
    return take_run(heap, max(1, (size + PAGE_BYTES - 1) >> PAGE_SHIFT), align_pages, 0)


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """A block at a multiple of `align`: of a class that is a multiple of it, else a run."""
    if unlikely(heap.guarded[0] != 0):
        return alloc_aligned_guarded(heap, thread, size, align)
    if align <= PAGE_BYTES:
        size_class = class_of_aligned(heap.classes, size, align)
        if size_class:
            block = _take_cached(heap, place_of(heap, thread), size_class)
            if block:
                return block - origin_of(heap)
            return _alloc_slowly(heap, thread, size, size_class)
    return _alloc_run(heap, size, max(1, align >> PAGE_SHIFT))


@kernel(inline=True)
def free(heap, thread, address):
    """Give the block back. The fast path: the thread's cache has room."""
    place = place_of(heap, thread)
    if not likely(free_cached(heap, place, address, address + origin_of(heap))):
        if not free_in_span(heap, place, address):
            free_uncached(heap, thread, address)


@kernel(inline=True)
def free_cached(heap, place, address, pointer):
    """Put the block in the class's cache; whether that had room."""
    if heap.guarded[0]:
        return free_cached_guarded(heap, place, address, pointer)
    size_class = entry_of(heap, address) & 255
    old = list_at(heap, place, size_class)
    word = (old & ~ADDRESS) - ONE + pointer
    if likely(word >= 0):  # the list of class 0 has no room
        touch(heap.machine, address, 8)
        set_link_at(heap, pointer, old)
        set_list_at(heap, place, size_class, word)
        return True
    return False


@kernel
def free_uncached(heap, thread, address):
    """Give the block back where the cache has no room for it."""
    if heap.guarded[0]:
        free_guarded(heap, thread, address)
    else:
        caches.free_uncached(heap, thread, address)


@kernel
def free_elsewhere(heap, pointer):
    """A pointer outside the heap was freed or resized: let be, or the end of the program."""
    if heap.guarded[0]:
        condemn(heap, FOREIGN)


@kernel
def calloc(heap, thread, size):
    """A cleared block. Of a run, only pages that may have been written are cleared; of a large one
    they are given back, for it may never be written in full."""
    whole = size + GUARD_BYTES if unlikely(heap.guarded[0] != 0) else size
    size_class = class_of(heap.classes, whole)
    if size_class and size_class < heap.classes.fields[FIRST_SINGLE]:
        address = alloc(heap, thread, size, GRANULE_BYTES)
        if address:
            clear(heap.machine, address, size)
        return address
    if size_class and heap.rows[unsigned(row_of(thread) + size_class)] & ADDRESS:
        address = alloc(heap, thread, size, GRANULE_BYTES)
        clear(heap.machine, address, size)
        return address
    return _calloc_run(heap, size, whole, size_class)


@kernel
def _calloc_run(heap, size, whole, size_class):
    """A span of one block of `whole` bytes, of which `size` are cleared; 0 if refused."""
    if unsigned(size) > unsigned(HEAP_BYTES):
        return 0
    heap.paths[RUN_TAKEN] += 1
    pages = max(1, (whole + PAGE_BYTES - 1) >> PAGE_SHIFT)
    if size_class:
        pages = heap.classes.pages_of[unsigned(size_class)]
    lock(heap)
    span = page_heap.take(heap, pages, 1)
    if span and heap.guarded[0]:
        unsign(heap, get(heap, span, START), pages, True)
    unlock(heap)
    if not span:
        return 0
    name_run(heap, span, size_class)
    address, page = start_of(heap, span), get(heap, span, START)
    end = page + ((size + PAGE_BYTES - 1) >> PAGE_SHIFT)
    page = next_page(heap, page, end, True)
    while page < end:
        past = next_page(heap, page, end, False)
        start, past_start = page << PAGE_SHIFT, past << PAGE_SHIFT
        if size >= LEAST_PURGED_BYTES:
            madvise(heap.machine, start, past_start - start, ADVISE_DONTNEED)
        else:
            clear(heap.machine, start, min(past_start, address + size) - start)
        page = next_page(heap, past, end, True)
    lock(heap)
    mark(heap, get(heap, span, START), pages, True)
    unlock(heap)
    if heap.guarded[0]:
        guard(heap, address, size, room_of(heap, address))
    return address


@kernel
def realloc(heap, thread, address, size):
    """The block resized where it lies if it fits; a run, as resizing.py says; else copied."""
    if unlikely(heap.guarded[0] != 0):
        return _realloc_guarded(heap, thread, address, size)
    entry = entry_of(heap, address)
    room = usable(heap, address, size)
    if entry & 255:
        if size <= room and 2 * size >= room:
            return address
    elif size > MOST_BYTES:
        moved = resize_run(heap, entry >> 8, size)
        if moved:
            return moved
    moved = alloc(heap, thread, size, GRANULE_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel(cold=True)
def _realloc_guarded(heap, thread, address, size):
    """realloc where hardened: the same, but that a block moves out of a class of single blocks."""
    before = asked_for(heap, address)
    if before < 0:
        return 0
    entry, room = entry_of(heap, address), room_of(heap, address)
    if 0 < entry & 255 < heap.classes.fields[FIRST_SINGLE]:
        if size + GUARD_BYTES <= room <= 2 * (size + GUARD_BYTES):
            guard(heap, address, size, room)
            return address
    elif entry & 255 == 0 and size > MOST_BYTES:
        moved = resize_run(heap, entry >> 8, size + GUARD_BYTES)
        if moved:
            guard(heap, moved, size, room_of(heap, moved))
            return moved
    moved = alloc(heap, thread, size, GRANULE_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(before, size))
        free(heap, thread, address)
    return moved


@kernel
def usable(heap, address, size):
    """Bytes that the program may use: the block's; hardened, those that it asked for."""
    if unlikely(heap.guarded[0] != 0):
        return asked_for(heap, address)
    return room_of(heap, address)
