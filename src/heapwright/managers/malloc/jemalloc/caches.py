"""A thread's cache in jemalloc: a stack of blocks for each class up to 32 KiB, in an array of its
own, and the thread's counters of bytes.

    empty ─► of a small class as many regions as its share, a half of its room or a power of two
             less; of a large one an extent
    full  ─► the older half to slabs or extents
    every 64 KiB allocated, or freed ─► the next class: three quarters of what it did not need since
             go, and it is filled by less; if it was filled and went empty, by more again

Terms      stage: a thread that has only freed yet is minimal, it has no cache; low: least blocks
           since the last look
Invariant  see `invariants.py` (check: 6)
Source     jemalloc 5.3.0 src/tcache.c, cache_bin.h, src/thread_event.c, src/tsd.c
Omits      the waits of profiles and statistics
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import (
    ADVISE_DONTNEED,
    PAGE_BYTES,
    load,
    madvise,
    mmap,
    munmap,
    read,
    store,
    touch,
)
from heapwright.managers.malloc.jemalloc import state
from heapwright.managers.malloc.jemalloc.arenas import choose, new_arena
from heapwright.managers.malloc.jemalloc.decay import TICKS_MEAN, look, tick
from heapwright.managers.malloc.jemalloc.metadata import finish_start
from heapwright.managers.malloc.jemalloc.size_classes import SMALL_CLASSES, class_of
from heapwright.managers.malloc.jemalloc.slabs import (
    alloc_large,
    fill,
    free_large,
    free_region,
    free_slab,
)
from heapwright.managers.malloc.jemalloc.state import (
    ALLOCATED,
    ARENA,
    ARRAY,
    BINS,
    COUNT,
    DRAWS,
    FILLED,
    FILLS,
    LAST_ALLOCATED,
    LOW,
    MINIMAL,
    MOST,
    NEXT_ALLOCATED,
    NEXT_FREED,
    PAGE_SHIFT,
    PLACE,
    SEED,
    STACK,
    STAGE,
    THREADS,
    TICKS,
    TURN,
    UNBORN,
    WAITS,
    WHOLE,
    add,
    extent_at,
    get,
    owner_of,
)

WAIT_BYTES = 65536  # opt_tcache_gc_incr_bytes, and PEAK_EVENT_WAIT
ARRAY_ALIGN = 4096
NEVER = 1 << 62  # bytes
EMPTY_SLABS = 256  # where they begin in `flushed`
FIRST_DIVISOR = 1
FILLED_BIT, DIVISOR_SHIFT = 1, 1  # of a row's FILLS


@kernel(inline=True)
def bin_of(row, class_):
    """Where the words of a class begin."""
    return row + BINS + (class_ << 2)


@kernel(cold=True)
def start(heap):
    """The library's constructor: arena 0, and the main thread's array."""
    heap.started = 1
    machine = heap.machine
    trial = mmap(machine, 0, PAGE_BYTES)  # does madvise clear pages? (pages_boot)
    if trial:
        touch(machine, trial, PAGE_BYTES)
        madvise(machine, trial, PAGE_BYTES, ADVISE_DONTNEED)
        read(machine, trial, PAGE_BYTES)
        munmap(machine, trial, PAGE_BYTES)
    new_arena(heap, np.int64(0))
    _open_stage(heap, np.int64(0), np.int64(WHOLE))
    finish_start(heap)


@kernel
def _seed_of(heap, row):
    """Where a thread's state would lie in the real one: in its stack, which may be an ended
    thread's, the newest first."""
    if row == 0:
        return heap.main_seed
    if heap.spare_places:
        heap.spare_places -= 1
        place = heap.left[unsigned(heap.spare_places)]
    else:
        place = heap.places
        heap.places += 1
    heap.rows[unsigned(row + PLACE)] = place
    return heap.seed + place * heap.seed_step


@kernel
def open_thread(heap, row, stage):
    """See to it that a thread is minimal at least, or whole."""
    if not heap.started:
        start(heap)
    if heap.rows[unsigned(row + STAGE)] < stage:
        _open_stage(heap, row, stage)


@kernel
def _open_stage(heap, row, stage):
    """A thread's state afresh; a whole one's array comes from arena 0 (tsd_data_init)."""
    if heap.rows[unsigned(row + STAGE)] == UNBORN:
        for word in range(state.STAGE):
            heap.rows[unsigned(row + word)] = 0
        heap.rows[unsigned(row + TICKS)] = TICKS_MEAN
        heap.rows[unsigned(row + SEED)] = _seed_of(heap, row)
    heap.rows[unsigned(row + STAGE)] = stage
    heap.rows[unsigned(row + DRAWS)] = heap.rows[unsigned(row + SEED)]
    for side in range(2):
        bytes_ = heap.rows[unsigned(row + ALLOCATED + 2 * side)]
        heap.rows[unsigned(row + LAST_ALLOCATED + side)] = bytes_
        heap.rows[unsigned(row + NEXT_ALLOCATED + 2 * side)] = bytes_ + WAIT_BYTES
        heap.rows[unsigned(row + WAITS + 2 * side)] = WAIT_BYTES
        heap.rows[unsigned(row + WAITS + 2 * side + 1)] = WAIT_BYTES
    if stage == MINIMAL:  # what it counts begins afresh when it allocates
        heap.rows[unsigned(row + NEXT_FREED)] = NEVER
    elif heap.cached_classes:
        _open_cache(heap, row)


@kernel
def _open_cache(heap, row):
    """Empty stacks in a cleared array."""
    machine, bytes_ = heap.machine, heap.array_bytes
    class_ = class_of(heap.classes, bytes_)
    if class_ < SMALL_CLASSES:
        fill(heap, np.int64(0), class_, np.int64(1))
        array = heap.flushed[0]
        touch(machine, array, heap.classes.bytes_of[unsigned(class_)])
        tick(heap, row, np.int64(0), np.int64(1))
    else:
        request = (class_, np.int64(ARRAY_ALIGN))
        array = alloc_large(heap, row, np.int64(0), request, np.int64(1))
    if not array:
        return  # without a cache, as the real one is not: it ends
    heap.rows[unsigned(row + ARRAY)] = array
    heap.rows[unsigned(row + TURN)] = 0
    heap.arrays = max(heap.arrays, (row >> state.ROW_SHIFT) + 1)
    touch(machine, array, 8)
    touch(machine, array + bytes_ - 8, 8)
    for number in range(heap.cached_classes):
        words = bin_of(row, number)
        heap.rows[unsigned(words + COUNT)] = heap.rows[unsigned(words + LOW)] = 0
        heap.rows[unsigned(words + MOST)] = heap.classes.slots[unsigned(number)]
        heap.rows[unsigned(words + STACK)] = array + heap.classes.stack[unsigned(number)]
        if number < SMALL_CLASSES:
            heap.rows[unsigned(row + FILLS + number)] = FIRST_DIVISOR << DIVISOR_SHIFT
    if row or heap.rows[unsigned(row + ARENA)]:
        choose(heap, row)


@kernel(inline=True)
def pop(heap, row, class_):
    """The newest block of a class's stack; 0 of an empty one. About 3 ns."""
    words = bin_of(row, class_)
    left = heap.rows[unsigned(words + COUNT)] - 1
    if left < 0:
        return 0
    heap.rows[unsigned(words + COUNT)] = left
    heap.rows[unsigned(words + LOW)] = min(heap.rows[unsigned(words + LOW)], left)
    return load(heap.machine, heap.rows[unsigned(words + STACK)] - ((left + 1) << 3))


@kernel
def peek(heap, row, class_):
    """What the real one reads of an empty stack before it knows that: the word past its slots."""
    read(heap.machine, heap.rows[unsigned(bin_of(row, class_) + STACK)], 8)


@kernel(inline=True)
def push(heap, words, address):
    """Put a block on a stack that has room."""
    count = heap.rows[unsigned(words + COUNT)] + 1
    slot = heap.rows[unsigned(words + STACK)] - (count << 3)
    touch(heap.machine, slot, 8)
    store(heap.machine, slot, address)
    heap.rows[unsigned(words + COUNT)] = count


@kernel(cold=True)
def fill_small(heap, row, class_):
    """Fill a small class's empty stack; its newest block, 0 where memory is refused."""
    heap.paths[state.FILL] += 1
    arena, fills = choose(heap, row), unsigned(row + FILLS + class_)
    want = heap.classes.slots[unsigned(class_)] >> (heap.rows[fills] >> DIVISOR_SHIFT)
    got = fill(heap, arena, class_, want)
    add(heap, arena, FILLED, 1)
    words = bin_of(row, class_)
    if got:
        first = heap.rows[unsigned(words + STACK)] - (got << 3)
        touch(heap.machine, first, got << 3)
        for index in range(got):
            store(heap.machine, first + (index << 3), heap.flushed[unsigned(index)])
    heap.rows[unsigned(words + COUNT)] = got
    tick(heap, row, arena, np.int64(1))
    heap.rows[fills] |= FILLED_BIT
    return pop(heap, row, class_)


@kernel(cold=True)
def flush(heap, row, class_, keep):
    """Give all but the newest `keep` blocks of a stack back, the newest of them first, those of
    one arena after another (tcache_bin_flush_bottom)."""
    heap.paths[state.FLUSH] += 1
    machine, words = heap.machine, bin_of(row, class_)
    count, oldest = (
        heap.rows[unsigned(words + COUNT)],
        heap.rows[unsigned(words + STACK)],
    )
    going = count - keep
    for index in range(going):  # the oldest lies highest
        heap.flushed[unsigned(index)] = load(machine, oldest - ((going - index) << 3))
    left, empty = going, 0
    while left > 0:
        arena = _arena_of(heap, heap.flushed[0])
        later = 0
        for index in range(left):
            address = heap.flushed[unsigned(index)]
            extent = extent_at(heap, address >> PAGE_SHIFT)
            if owner_of(heap, extent) != arena:
                heap.flushed[unsigned(later)] = address
                later += 1
            elif class_ >= SMALL_CLASSES:
                free_large(heap, address)
            elif free_region(heap, extent, address):
                heap.flushed[unsigned(EMPTY_SLABS + empty)] = extent
                empty += 1
        tick(heap, row, arena, left - later)
        left = later
    for index in range(empty):
        free_slab(heap, heap.flushed[unsigned(EMPTY_SLABS + index)])
    for index in range(keep):  # the newest move up, the last of them first
        place = index + 1 << 3
        block = load(machine, oldest - (going << 3) - place)
        store(machine, oldest - place, block)
    heap.rows[unsigned(words + COUNT)] = keep
    heap.rows[unsigned(words + LOW)] = min(heap.rows[unsigned(words + LOW)], keep)


@kernel
def _arena_of(heap, address):
    """The arena of a block."""
    return owner_of(heap, extent_at(heap, address >> PAGE_SHIFT))


@kernel(cold=True)
def happen(heap, row, side):
    """So many bytes were allocated (side 0) or freed (1) that a wait is over (te_event_trigger)."""
    bytes_ = heap.rows[unsigned(row + ALLOCATED + 2 * side)]
    passed = bytes_ - heap.rows[unsigned(row + LAST_ALLOCATED + side)]
    heap.rows[unsigned(row + LAST_ALLOCATED + side)] = bytes_
    over, least = False, WAIT_BYTES
    for which in range(2):
        wait = unsigned(row + WAITS + 2 * side + which)
        left = heap.rows[wait] - passed
        if left <= 0:
            left = WAIT_BYTES
            if which == 0:
                over = True
        heap.rows[wait] = left
        least = min(least, left)
    heap.rows[unsigned(row + NEXT_ALLOCATED + 2 * side)] = bytes_ + least
    if over and heap.rows[unsigned(row + ARRAY)]:
        _collect(heap, row)


@kernel
def _collect(heap, row):
    """Look at the class whose turn it is (tcache_event)."""
    class_ = heap.rows[unsigned(row + TURN)]
    words, fills = bin_of(row, class_), unsigned(row + FILLS + class_)
    low, count = heap.rows[unsigned(words + LOW)], heap.rows[unsigned(words + COUNT)]
    if low > 0:
        if class_ < SMALL_CLASSES:
            flush(heap, row, class_, count - (low - (low >> 2)))
            divisor = heap.rows[fills] >> DIVISOR_SHIFT
            if heap.classes.slots[unsigned(class_)] >> (divisor + 1) >= 1:
                heap.rows[fills] += 1 << DIVISOR_SHIFT
        else:
            flush(heap, row, class_, count - low + (low >> 2))
    elif class_ < SMALL_CLASSES and heap.rows[fills] & FILLED_BIT:
        divisor = heap.rows[fills] >> DIVISOR_SHIFT
        heap.rows[fills] = max(divisor - 1, FIRST_DIVISOR) << DIVISOR_SHIFT
    heap.rows[unsigned(words + LOW)] = heap.rows[unsigned(words + COUNT)]
    class_ += 1
    heap.rows[unsigned(row + TURN)] = 0 if class_ == heap.cached_classes else class_


@kernel(cold=True)
def end_thread(heap, row):
    """A thread ends: its cache and its array go back, its arena is another's."""
    stage = heap.rows[unsigned(row + STAGE)]
    if stage == UNBORN:
        return
    heap.paths[state.EXIT] += 1
    arena = heap.rows[unsigned(row + ARENA)] - 1
    if arena >= 0:
        add(heap, arena, THREADS, -1)
    heap.rows[unsigned(row + ARENA)] = 0
    array = heap.rows[unsigned(row + ARRAY)]
    if array:
        for class_ in range(heap.cached_classes):
            if heap.rows[unsigned(bin_of(row, class_) + COUNT)]:
                flush(heap, row, class_, np.int64(0))
            heap.rows[unsigned(bin_of(row, class_) + MOST)] = 0  # no room without a cache
        heap.rows[unsigned(row + ARRAY)] = 0
        extent = extent_at(heap, array >> PAGE_SHIFT)
        if class_of(heap.classes, heap.array_bytes) >= SMALL_CLASSES:
            free_large(heap, array)
        elif free_region(heap, extent, array):
            free_slab(heap, extent)
        tick(heap, row, np.int64(0), np.int64(1))
        look(heap, np.int64(0), np.int64(0))
        if arena >= 0:
            look(heap, arena, np.int64(get(heap, arena, THREADS) == 0))
    heap.rows[unsigned(row + STAGE)] = UNBORN
    heap.left[unsigned(heap.spare_places)] = heap.rows[unsigned(row + PLACE)]
    heap.spare_places += 1
