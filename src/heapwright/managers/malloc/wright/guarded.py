"""What a hardened heap does for each request: as requests.py, and it tests; see hardened.py.

    alloc ─► cache of the class: the newest block, tested ─empty─► caches.refill; guard
    free  ─► tested, filled ─► cache of the class ─full─► caches.free_uncached

Caches are those of a heap that is not hardened, but classes of single blocks have none: what was
written into the pages of such a block is looked for in more places once they are free pages.
"""

from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.machine import load, store
from heapwright.managers.malloc.wright.caches import free_uncached, look, refill, take_run
from heapwright.managers.malloc.wright.classes import (
    FIRST_SINGLE,
    PAGE_BYTES,
    PAGE_SHIFT,
    class_of,
    class_of_aligned,
)
from heapwright.managers.malloc.wright.hardened import (
    GUARD_BYTES,
    asked_for,
    begins,
    bury,
    fill,
    guard,
    is_untouched,
    link_of,
    reject,
    sign,
    slack_of,
    written,
)
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    FATAL,
    HEAP_BYTES,
    LOOK_PAGES,
    ONE,
    PASSED,
    entry_of,
    list_at,
    newest,
    origin_of,
    place_of,
    room_of,
    row_of,
    set_list_at,
)


@kernel
def take_guarded(heap, place, size):
    """Pointer to the newest block of a class's cache, tested, and a guard behind it; 0 if there is
    none."""
    size_class = class_of(heap.classes, size + GUARD_BYTES)
    pointer = list_at(heap, place, size_class) & ADDRESS
    if unlikely(pointer == 0):  # the list of class 0 is empty
        return 0
    block, room = pointer - origin_of(heap), heap.classes.bytes_of[unsigned(size_class)]
    link = load(heap.machine, block)
    if unlikely(not is_untouched(heap, block, link, room)):
        return written(heap)
    set_list_at(heap, place, size_class, link)
    guard(heap, block, size, room)
    return pointer


@kernel
def alloc_guarded(heap, thread, size):
    """A block with a guard behind it; 0 if refused."""
    if unlikely(unsigned(size) > unsigned(HEAP_BYTES)):
        return 0
    pointer = take_guarded(heap, place_of(heap, thread), size)
    if likely(pointer != 0):
        return pointer - origin_of(heap)
    if heap.fields[FATAL]:
        return 0
    return _alloc_from_afar(heap, thread, size, class_of(heap.classes, size + GUARD_BYTES))


@kernel(cold=True)
def alloc_aligned_guarded(heap, thread, size, align):
    """The same at a multiple of `align`."""
    size_class = 0
    if align <= PAGE_BYTES:
        size_class = class_of_aligned(heap.classes, size + GUARD_BYTES, align)
    if size_class == 0:
        return _alloc_run_guarded(heap, size, max(1, align >> PAGE_SHIFT))
    head = unsigned(row_of(thread) + size_class)
    block, room = newest(heap, heap.rows[head]), heap.classes.bytes_of[unsigned(size_class)]
    if block == 0:
        return _alloc_from_afar(heap, thread, size, size_class)
    heap.rows[head] = link_of(heap, block, room)
    guard(heap, block, size, room)
    return block


@kernel(cold=True)
def _alloc_from_afar(heap, thread, size, size_class):
    """A block where none is cached; 0 if refused."""
    if size_class == 0:
        return _alloc_run_guarded(heap, size, 1)
    block = refill(heap, thread, size_class)
    if block:
        guard(heap, block, size, heap.classes.bytes_of[unsigned(size_class)])
    return block


@kernel(cold=True)
def _alloc_run_guarded(heap, size, align_pages):
    """A block beyond the classes; 0 if refused."""
    if unsigned(size) > unsigned(HEAP_BYTES) or align_pages > HEAP_BYTES >> PAGE_SHIFT:
        return 0
    pages = (size + GUARD_BYTES + PAGE_BYTES - 1) >> PAGE_SHIFT
    block = take_run(heap, pages, align_pages, 0)
    if block:
        guard(heap, block, size, room_of(heap, block))
    return block


@kernel
def free_cached_guarded(heap, place, address, pointer):
    """Put a block in its class's cache, if it is one and that has room, and it is not time to look
    at the caches; whether all that holds. That a block begins there its guard says, which is
    mixed with the block's address."""
    size_class = entry_of(heap, address) & 255
    old = list_at(heap, place, size_class)
    word = (old & ~ADDRESS) - ONE + pointer
    if unlikely(word < 0):  # nor has class 0 any, nor those of single blocks, nor a thread's first
        return False
    passed, room = list_at(heap, place, PASSED) + 1, heap.classes.bytes_of[unsigned(size_class)]
    if unlikely(passed >= heap.fields[LOOK_PAGES] or slack_of(heap, address, room) < 0):
        return False
    set_list_at(heap, place, PASSED, passed)
    fill(heap, address, room)
    store(heap.machine, address, old)
    sign(heap, address, old)
    set_list_at(heap, place, size_class, word)
    return True


@kernel
def free_guarded(heap, thread, address):
    """Give a block back, if it is one, that goes to no cache."""
    row, entry = row_of(thread), entry_of(heap, address)
    span, size_class = entry >> 8, entry & 255
    room = heap.classes.bytes_of[unsigned(size_class)]
    if unlikely(size_class == 0 or size_class >= heap.classes.fields[FIRST_SINGLE]):
        _free_run_guarded(heap, thread, address)
        return
    if unlikely(not begins(heap, address, span, size_class) or slack_of(heap, address, room) < 0):
        reject(heap, address)
        return
    fill(heap, address, room)
    heap.rows[unsigned(row + PASSED)] += 1
    if heap.rows[unsigned(row + PASSED)] >= heap.fields[LOOK_PAGES]:
        look(heap, row)
    free_uncached(heap, thread, address)


@kernel(cold=True)
def _free_run_guarded(heap, thread, address):
    """Give a span of one block back."""
    if asked_for(heap, address) >= 0:
        bury(heap, address)
        free_uncached(heap, thread, address)
