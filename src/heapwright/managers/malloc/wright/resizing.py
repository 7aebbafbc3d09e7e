"""Blocks beyond the classes, resized: where they lie if possible, else by moving their pages.

    shrink ─► the last pages become a free run
    grow   ─► the free run above, at the heap's end grown ─too short─► another run
              clean: the pages are handed over by the system (mremap), what was left is clean
              dirty: copied, for a move throws away the pages that the run has

Invariant  MOVES counts the runs that were moved; none is beyond MOST_MOVES
Source     glibc's mremap_chunk (malloc/malloc.c) moves what it had mapped alone; here one heap's
           pages change places, which takes Linux's MREMAP_DONTUNMAP (5.7)
Omits      moves in parts: a block that lies in several of Linux's mappings is copied
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import copy, move
from heapwright.managers.malloc.wright import page_heap
from heapwright.managers.malloc.wright.caches import give_run, name_run
from heapwright.managers.malloc.wright.classes import PAGE_BYTES, PAGE_SHIFT
from heapwright.managers.malloc.wright.dirty import dirty_pages, mark
from heapwright.managers.malloc.wright.state import (
    HEAP_BYTES,
    IN_PLACE,
    LENGTH,
    MOVED,
    MOVES,
    START,
    get,
    lock,
    start_of,
    unlock,
)

LEAST_MOVED_BYTES = 512 << 10  # below, a system call for so little: chosen, not measured
MOST_MOVES = 8192  # each may cost Linux two mappings more, of which a process has 65,530


@kernel
def resize_run(heap, span, size):
    """Address of the block resized to `size` bytes; 0 where the caller has to allocate and copy."""
    if unsigned(size) > unsigned(HEAP_BYTES):
        return 0
    pages, have = (size + PAGE_BYTES - 1) >> PAGE_SHIFT, get(heap, span, LENGTH)
    if _resize_in_place(heap, span, have, pages):
        heap.paths[IN_PLACE] += 1
        return start_of(heap, span)
    if have << PAGE_SHIFT < LEAST_MOVED_BYTES or heap.fields[MOVES] >= MOST_MOVES:
        return 0
    return _move_run(heap, span, have, pages)


@kernel
def _resize_in_place(heap, span, have, pages):
    """Make a span of `have` pages one of `pages`, where it lies; whether that was possible."""
    if pages == have:
        return True
    lock(heap)
    fits = True
    if pages < have:
        page_heap.cut(heap, span, pages)
    else:
        fits = page_heap.extend(heap, span, pages)
        if fits:
            mark(heap, get(heap, span, START) + have, pages - have, True)
    unlock(heap)
    return fits


@kernel
def _move_run(heap, span, have, pages):
    """Hand a block's pages to a longer run; its address, 0 if refused."""
    lock(heap)
    longer, dirty = page_heap.take(heap, pages, 1), 0
    if longer:
        dirty = dirty_pages(heap, get(heap, longer, START), have)
        mark(heap, get(heap, longer, START), pages, True)
    unlock(heap)
    if not longer:
        return 0
    name_run(heap, longer, 0)
    source, target, length = start_of(heap, span), start_of(heap, longer), have << PAGE_SHIFT
    if dirty * 2 <= have and move(heap.machine, source, target, length):
        heap.paths[MOVED] += 1
        lock(heap)
        heap.fields[MOVES] += 1
        mark(heap, get(heap, span, START), have, False)
        unlock(heap)
    else:
        copy(heap.machine, target, source, length)
    give_run(heap, span)
    return target
