"""gperftools' tcmalloc 2.10, whole: its addresses are the real one's.

    alloc ─► thread's list of the class ─empty─► central cache: batch, spans ─► page heap ─► break
              └ beyond 256 KiB: whole pages ─────────────────────────────────────┘
    free  ─► class of the page ─► thread's list ─full─► central cache ─► span ─all back─► page heap

Terms      class: objects of one size; span: a run of 8 KiB pages; batch: objects that move at once
Invariant  free runs merged, entered and counted (check: 1-3); a class's spans have as many free
           objects as it counts (4); its slots hold whole batches (5); a thread's lists are as long
           as they say, its bytes their sum (6); caches form a list, limits and what is unclaimed
           sum to the total (7)
Source     gperftools 2.10 src/tcmalloc.cc; parts in the files beside
Omits      sampling (not in the minimal library), TCMALLOC_HEAP_LIMIT_MB, memory by mmap where the
           break is refused; a request of at most 8 bytes aligned at 16, which gets 16, is one of 8
           here. Leaves of the page map begin at other addresses where the heap does: a heap that
           crosses a multiple of 2 GiB takes one at another time
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters
from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import clear, copy, load, store, touch
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.tcmalloc import state
from heapwright.managers.malloc.tcmalloc.caches import (
    end_cache,
    fetch,
    list_too_long,
    open_cache,
    pop,
    scavenge,
)
from heapwright.managers.malloc.tcmalloc.central import insert_range
from heapwright.managers.malloc.tcmalloc.invariants import cached, check, metadata, statistics
from heapwright.managers.malloc.tcmalloc.metadata import span_at
from heapwright.managers.malloc.tcmalloc.page_heap import give, split, take
from heapwright.managers.malloc.tcmalloc.size_classes import (
    CLASSES,
    FIRST_SLOTS,
    PAGE_BYTES,
    PAGE_SHIFT,
    class_of,
    classes,
)
from heapwright.managers.malloc.tcmalloc.state import (
    CENTRAL_SHIFT,
    COUNT,
    FIRST,
    KIND_SHIFT,
    KINDS,
    LENGTH,
    LIMIT,
    LONGEST_PAGES,
    MOST,
    MOST_CHUNKS,
    MOST_THREADS,
    PATHS,
    RECORD,
    RINGS,
    ROW_SHIFT,
    SIZE,
    SLOTS,
    START,
    Heap,
    list_of,
    row_of,
)
from heapwright.structures.sorted_keys import sorted_keys
from heapwright.versions import version_number

AT_HEAP_START = True
FOLLOWING = ("rows", "page_class")  # in flight

__all__ = [
    "AT_HEAP_START",
    "FOLLOWING",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "fatal",
    "free",
    "mallopt",
    "metadata",
    "realloc",
    "statistics",
    "thread_exit",
    "usable",
]

PAGES = SPACE_BYTES >> PAGE_SHIFT
ALIGN_BYTES = 16  # what malloc itself promises
LEAST_TOTAL_BYTES = 512 << 10  # of all caches: kMinThreadCacheSize
MOST_TOTAL_BYTES = 1 << 30
LEAF_PAGES_SHIFT = 18
NO_GROWTH = version_number("2.18")  # realloc asks for no more than it is asked for


class Config(NamedTuple):
    """The library's environment, as TCMALLOC_RELEASE_RATE, with its defaults."""

    max_total_thread_cache_bytes: int = 32 << 20  # 512 KiB to 1 GiB
    release_rate: int = 1  # 0: nothing is given back
    aggressive_decommit: int = 0  # 1: what is freed is given back at once
    transfer_num_obj: int = 32  # most objects of a batch
    version: int = version_number("2.10")  # 2.16 and 2.18.1 start, and 2.18.1 resizes, otherwise


def boot(machine, config):
    """Nothing yet: the library's constructor runs at the first request. HeapwrightError for knobs
    that do not fit."""
    if min(config) < 0:
        raise HeapwrightError("a knob of tcmalloc is not negative.")
    if not 2 <= config.transfer_num_obj <= 1 << 13:
        raise HeapwrightError(
            f"tcmalloc.transfer_num_obj is 2 to 8192, not {config.transfer_num_obj}."
        )
    if config.aggressive_decommit > 1:  # the real one takes no other word for true
        raise HeapwrightError(
            f"tcmalloc.aggressive_decommit is 0 or 1, not {config.aggressive_decommit}."
        )
    sizes = classes(config.transfer_num_obj)
    central = np.zeros(CLASSES << CENTRAL_SHIFT, np.int64)
    central[SLOTS :: 1 << CENTRAL_SHIFT] = np.minimum(FIRST_SLOTS, sizes.slots_of)
    total = min(max(config.max_total_thread_cache_bytes, LEAST_TOTAL_BYTES), MOST_TOTAL_BYTES)
    longest_runs = SPACE_BYTES >> PAGE_SHIFT >> 7
    return Heap(
        machine,
        sizes,
        reserve((MOST_THREADS + 1) << ROW_SHIFT, np.int64),
        central,
        np.zeros(CLASSES << 7, np.int64),
        np.zeros(RINGS, np.int64),
        sorted_keys(longest_runs),
        sorted_keys(longest_runs),
        np.zeros(PAGES >> LEAF_PAGES_SHIFT, np.int64),
        reserve(PAGES, np.uint8),
        np.zeros(KINDS << KIND_SHIFT, np.int64),
        np.zeros(MOST_CHUNKS, np.int64),
        words(
            Heap,
            version=config.version,
            release_rate=config.release_rate,
            aggressive=config.aggressive_decommit != 0,
            total=total,
            unclaimed=total,
            lengths_turn=LONGEST_PAGES,
        ),
        counters(PATHS),
    )


def fatal(heap):
    """Why the real program would be dead by now."""
    if heap.broken:
        return "the system refused memory for tcmalloc's own records, which ends the program."
    return ""


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """malloc, or memalign where `align` exceeds 16. The fast path: the thread's list has one."""
    if align > ALIGN_BYTES:
        return _alloc_aligned(heap, thread, size, align)
    return _alloc(heap, thread, size)


@kernel(inline=True)
def _alloc(heap, thread, size):
    """malloc."""
    class_ = class_of(heap.classes, size)
    block = pop(heap, row_of(thread), class_) if class_ else 0
    return block if likely(block != 0) else _alloc_slowly(heap, thread, size, class_)


@kernel(cold=True)
def _alloc_slowly(heap, thread, size, class_):
    """malloc past an empty list."""
    row = row_of(thread)
    open_cache(heap, row)
    if not class_:
        return _alloc_pages(heap, size)
    block = pop(heap, row, class_)  # of the first request ever, the constructor's
    return block if block else fetch(heap, row, class_)


@kernel
def _alloc_pages(heap, size):
    """A block of whole pages; 0 if refused (do_malloc_pages)."""
    if unsigned(size) > unsigned(SPACE_BYTES):
        return 0
    heap.paths[state.PAGES] += 1
    span = take(heap, (size + PAGE_BYTES - 1) >> PAGE_SHIFT)
    return _block_of(heap, span) if span else 0


@kernel
def _block_of(heap, span):
    """The address of a span that is one block, which is of no class."""
    page = load(heap.machine, span + START)
    heap.page_class[unsigned(page)] = 0
    return page << PAGE_SHIFT


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """memalign: rounded up to a multiple of `align`, beyond a page cut out of a longer run."""
    size = max(size, 1)
    if align <= PAGE_BYTES:
        return _alloc(heap, thread, (size + align - 1) & -align)
    if unsigned(size) > unsigned(SPACE_BYTES) or unsigned(align) > unsigned(SPACE_BYTES):
        return 0
    open_cache(heap, row_of(thread))
    heap.paths[state.PAGES] += 1
    span = take(heap, (size + align + PAGE_BYTES - 1) >> PAGE_SHIFT)
    if not span:
        return 0
    machine = heap.machine
    skip = -load(machine, span + START) & ((align >> PAGE_SHIFT) - 1)
    if skip:
        rest = split(heap, span, skip)
        give(heap, span)
        span = rest
    pages = (size + PAGE_BYTES - 1) >> PAGE_SHIFT
    if load(machine, span + LENGTH) > pages:
        give(heap, split(heap, span, pages))
    return _block_of(heap, span)


@kernel(inline=True)
def free(heap, thread, address):
    """free. The fast path: the thread's list has room."""
    class_ = np.int64(heap.page_class[unsigned(address >> PAGE_SHIFT)])
    row = row_of(thread)
    list_ = list_of(row, class_)
    count = heap.rows[unsigned(list_ + COUNT)] + 1
    if unlikely(class_ == 0) or unlikely(count > heap.rows[unsigned(list_ + MOST)]):
        _free_slowly(heap, row, class_, address)
        return
    _push(heap, list_, address, count)
    size = heap.rows[unsigned((row << ROW_SHIFT) + SIZE)]
    size += heap.classes.bytes_of[unsigned(class_)]
    heap.rows[unsigned((row << ROW_SHIFT) + SIZE)] = size
    if unlikely(size > heap.rows[unsigned((row << ROW_SHIFT) + LIMIT)]):
        scavenge(heap, row)


@kernel(inline=True)
def _push(heap, list_, address, count):
    """Put an object in front of a list, which has `count` then."""
    touch(heap.machine, address, 8)
    store(heap.machine, address, heap.rows[unsigned(list_ + FIRST)])
    heap.rows[unsigned(list_ + FIRST)] = address
    heap.rows[unsigned(list_ + COUNT)] = count


@kernel(cold=True)
def _free_slowly(heap, row, class_, address):
    """free of pages, by a thread without a cache, or onto a list that becomes too long."""
    if not class_:
        give(heap, span_at(heap, address >> PAGE_SHIFT))
        return
    words_ = row << ROW_SHIFT
    if not heap.rows[unsigned(words_ + RECORD)]:
        touch(heap.machine, address, 8)
        store(heap.machine, address, 0)
        insert_range(heap, class_, address, 1)
        return
    list_ = list_of(row, class_)
    _push(heap, list_, address, heap.rows[unsigned(list_ + COUNT)] + 1)
    heap.rows[unsigned(words_ + SIZE)] += heap.classes.bytes_of[unsigned(class_)]
    list_too_long(heap, row, class_)
    if heap.rows[unsigned(words_ + SIZE)] > heap.rows[unsigned(words_ + LIMIT)]:
        scavenge(heap, row)


@kernel
def calloc(heap, thread, size):
    """Such a block, cleared to its end (nallocx)."""
    address = _alloc(heap, thread, size)
    if address:
        clear(heap.machine, address, usable(heap, address, size))
    return address


@kernel
def _bytes_for(heap, size):
    """What malloc gives (nallocx)."""
    class_ = class_of(heap.classes, size)
    if class_:
        return heap.classes.bytes_of[unsigned(class_)]
    return (size + PAGE_BYTES - 1) & -PAGE_BYTES


@kernel
def realloc(heap, thread, address, size):
    """The block itself where it has room and half of it is wanted; else moved, with a quarter more
    than it had if it grows by less. From 2.18 on: itself where malloc would give as much."""
    room = usable(heap, address, size)
    if heap.version >= NO_GROWTH:
        stays = _bytes_for(heap, size) == room
    else:
        stays = room // 2 <= size <= room
    if stays:
        heap.paths[state.IN_PLACE] += 1
        return address
    moved = 0
    if heap.version < NO_GROWTH and room < size < room + room // 4:
        moved = _alloc(heap, thread, room + room // 4)
    if not moved:
        moved = _alloc(heap, thread, size)
    if moved:
        heap.paths[state.MOVED] += 1
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def mallopt(heap, parameter, value):
    """Nothing, as in the real one."""


@kernel
def thread_exit(heap, thread):
    """Give the thread's cache back; the main thread keeps its own."""
    if thread:
        end_cache(heap, thread)


@kernel
def usable(heap, address, size):
    """The object, or the span's pages."""
    page = address >> PAGE_SHIFT
    class_ = np.int64(heap.page_class[unsigned(page)])
    if class_:
        return heap.classes.bytes_of[unsigned(class_)]
    return load(heap.machine, span_at(heap, page) + LENGTH) << PAGE_SHIFT


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, usable(heap, address, size)
