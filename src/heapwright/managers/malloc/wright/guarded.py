"""What a hardened heap does for each request: as requests.py, and it tests; see hardened.py.

    alloc ─► cache of the class: the newest block, tested ─empty─► caches.refill; guard
    free  ─► tested, filled ─► cache of the class ─full─► caches.free_uncached

Caches are those of a heap that is not hardened, but classes of single blocks have none: what was
written into the pages of such a block is looked for in more places once they are free pages.
"""

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.machine import load, store, touch
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
    HEAP_BYTES,
    LOOK_PAGES,
    PASSED,
    entry_of,
    newest,
    pushed,
    room_of,
    row_of,
)


@kernel
def alloc_guarded(heap, thread, size):
    """A block with a guard behind it; 0 if refused."""
    size_class = class_of(heap.classes, size + GUARD_BYTES)
    head = unsigned(row_of(thread) + size_class)
    block, room = newest(heap, heap.rows[head]), heap.classes.bytes_of[unsigned(size_class)]
    if unlikely(block == 0):  # the list of class 0 is empty
        return _alloc_from_afar(heap, thread, size, size_class)
    link = load(heap.machine, block)
    if unlikely(not is_untouched(heap, block, link, room)):
        return written(heap)
    heap.rows[head] = link
    guard(heap, block, size, room)
    return block


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
def free_guarded(heap, thread, address):
    """Give a block back, if it is one."""
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
    head, passed = unsigned(row + size_class), heap.rows[unsigned(row + PASSED)] + 1
    heap.rows[unsigned(row + PASSED)] = passed
    old = heap.rows[head]
    word = pushed(heap, old, address)
    if unlikely(word < 0 or passed >= heap.fields[LOOK_PAGES]):
        _free_far(heap, thread, address)
        return
    touch(heap.machine, address, 8)
    store(heap.machine, address, old)
    sign(heap, address, old)
    heap.rows[head] = word


@kernel(cold=True)
def _free_run_guarded(heap, thread, address):
    """Give a span of one block back."""
    if asked_for(heap, address) >= 0:
        bury(heap, address)
        free_uncached(heap, thread, address)


@kernel(cold=True)
def _free_far(heap, thread, address):
    """Give a filled block back where it does not go to the cache, and look at the caches if it is
    time to."""
    row = row_of(thread)
    if heap.rows[unsigned(row + PASSED)] >= heap.fields[LOOK_PAGES]:
        look(heap, row)
    free_uncached(heap, thread, address)
