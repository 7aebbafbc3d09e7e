"""A thread's cache in tcmalloc: a list of free objects for each class, and a limit on their bytes.

    empty ─► as many as the list may be long, at most a batch, from the central cache: longer next
             time, by one up to a batch, then by a batch
    full  ─► a batch to the central cache; the fourth time in a row the list may be shorter
    bytes over the limit ─► half of what no list needed goes; the limit rises, from what is
             unclaimed, then from another thread's

Terms      low: least length since the last look; over: times that a list was too long
Invariant  see `invariants.py` (check: 6-8)
Source     gperftools 2.10 src/thread_cache.cc
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.malloc.tcmalloc import state
from heapwright.managers.malloc.tcmalloc.central import insert_range, remove_range
from heapwright.managers.malloc.tcmalloc.metadata import (
    begin,
    drop_record,
    new_record,
    register_early,
)
from heapwright.managers.malloc.tcmalloc.state import (
    AFTER,
    BEFORE,
    CACHE_RECORD,
    COUNT,
    FIRST,
    LIMIT,
    LOST,
    LOW,
    MOST,
    OVER,
    RECORD,
    RECORD_BYTES,
    ROW_SHIFT,
    SIZE,
    list_of,
    row_of,
)
from heapwright.versions import version_number

STEAL_BYTES = 1 << 16  # kStealAmount
LEAST_BYTES = 512 << 10  # kMinThreadCacheSize
THIEVES = 10  # caches that are looked at
LONGEST_LIST = 8192  # kMaxDynamicFreeListLength
MOST_OVERAGES = 3  # kMaxOverages
MAIN = 1  # the row of the main thread
FIRST_CLASS, SECOND_CLASS, THIRD_CLASS = 1, 2, 3  # of 8, 16 and 32 bytes
NO_CACHE_LOST = version_number("2.16")
NONE_OF_32_BYTES = version_number("2.18")


@kernel(cold=True)
def start(heap):
    """What the library's constructor leaves behind (TCMallocGuard): malloc(1) by a cache that is
    then lost, freed past any cache, since none is found; malloc(1) and free; objects of 16 and 8
    bytes that stay. The flags are read between them, so nothing is given back before."""
    heap.started = 1
    rate = heap.release_rate
    heap.release_rate = heap.wait = 0
    begin(heap)
    if heap.version >= NO_CACHE_LOST:
        _start_found(heap, rate)
        return
    new_cache(heap, LOST)
    lost = fetch(heap, LOST, FIRST_CLASS)
    store(heap.machine, lost, 0)
    insert_range(heap, FIRST_CLASS, lost, 1)
    new_cache(heap, MAIN)
    block = fetch(heap, MAIN, FIRST_CLASS)
    list_ = list_of(MAIN, FIRST_CLASS)
    store(heap.machine, block, 0)
    heap.rows[unsigned(list_ + FIRST)] = block
    heap.rows[unsigned(list_ + COUNT)] = 1
    heap.rows[unsigned((MAIN << ROW_SHIFT) + SIZE)] += heap.classes.bytes_of[FIRST_CLASS]
    fetch(heap, MAIN, SECOND_CLASS)
    heap.release_rate = rate
    pop(heap, MAIN, FIRST_CLASS)


@kernel
def _start_found(heap, rate):
    """The same from 2.16 on: malloc(1) by a cache that is not found when the object is freed, past
    any cache, and is found again then; malloc(1) and free leave two objects of 8 bytes in it. Up to
    2.16 one of 32 bytes came and went as the first did."""
    new_cache(heap, MAIN)
    register_early(heap)
    _fetch_in_vain(heap, FIRST_CLASS)
    if heap.version < NONE_OF_32_BYTES:
        _fetch_in_vain(heap, THIRD_CLASS)
    block = fetch(heap, MAIN, FIRST_CLASS)
    list_ = list_of(MAIN, FIRST_CLASS)
    store(heap.machine, block, heap.rows[unsigned(list_ + FIRST)])
    heap.rows[unsigned(list_ + FIRST)] = block
    heap.rows[unsigned(list_ + COUNT)] += 1
    heap.rows[unsigned((MAIN << ROW_SHIFT) + SIZE)] += heap.classes.bytes_of[FIRST_CLASS]
    heap.release_rate = rate


@kernel
def _fetch_in_vain(heap, class_):
    """malloc, and free past any cache: the list may be longer since."""
    lost = fetch(heap, MAIN, class_)
    store(heap.machine, lost, 0)
    insert_range(heap, class_, lost, 1)


@kernel(cold=True)
def new_cache(heap, row):
    """A cache in front of the others (NewHeap, Init)."""
    words = row << ROW_SHIFT
    record = new_record(heap, CACHE_RECORD, RECORD_BYTES[CACHE_RECORD])
    heap.rows[unsigned(words + SIZE)] = heap.rows[unsigned(words + LIMIT)] = 0
    heap.rows[unsigned(words + RECORD)] = record
    for class_ in range(1, heap.classes.count[0]):
        list_ = list_of(row, class_)
        heap.rows[unsigned(list_ + FIRST)] = heap.rows[unsigned(list_ + COUNT)] = 0
        heap.rows[unsigned(list_ + LOW)] = heap.rows[unsigned(list_ + OVER)] = 0
        heap.rows[unsigned(list_ + MOST)] = 1
    _raise_limit(heap, row)
    if not heap.rows[unsigned(words + LIMIT)]:
        heap.rows[unsigned(words + LIMIT)] = LEAST_BYTES
        heap.unclaimed -= LEAST_BYTES
    first = heap.first_cache
    heap.rows[unsigned(words + AFTER)], heap.rows[unsigned(words + BEFORE)] = first, 0
    if first:
        heap.rows[unsigned(((first - 1) << ROW_SHIFT) + BEFORE)] = row + 1
    else:
        heap.steal = row + 1
    heap.first_cache = row + 1


@kernel
def _raise_limit(heap, row):
    """Let a cache keep 64 KiB more, if they are unclaimed or another has more than it must
    (IncreaseCacheLimitLocked)."""
    limit = unsigned((row << ROW_SHIFT) + LIMIT)
    if heap.unclaimed > 0:
        heap.unclaimed -= STEAL_BYTES
        heap.rows[limit] += STEAL_BYTES
        return
    for _ in range(THIEVES):
        if not heap.steal:
            heap.steal = heap.first_cache
        if not heap.steal:
            return
        other, words = heap.steal - 1, (heap.steal - 1) << ROW_SHIFT
        heap.steal = heap.rows[unsigned(words + AFTER)]
        if other != row and heap.rows[unsigned(words + LIMIT)] > LEAST_BYTES:
            heap.paths[state.LIMIT_STOLEN] += 1
            heap.rows[unsigned(words + LIMIT)] -= STEAL_BYTES
            heap.rows[limit] += STEAL_BYTES
            return


@kernel(inline=True)
def pop(heap, row, class_):
    """The newest object of a list; 0 of an empty one. About 4 ns."""
    list_ = list_of(row, class_)
    block = heap.rows[unsigned(list_ + FIRST)]
    if block:
        left = heap.rows[unsigned(list_ + COUNT)] - 1
        heap.rows[unsigned(list_ + FIRST)] = load(heap.machine, block)
        heap.rows[unsigned(list_ + COUNT)] = left
        heap.rows[unsigned(list_ + LOW)] = min(heap.rows[unsigned(list_ + LOW)], left)
        bytes_ = heap.classes.bytes_of[unsigned(class_)]
        heap.rows[unsigned((row << ROW_SHIFT) + SIZE)] -= bytes_
    return block


@kernel
def open_cache(heap, row):
    """Start the library, and the thread's cache, where that was not done."""
    if not heap.started:
        start(heap)
    if not heap.rows[unsigned((row << ROW_SHIFT) + RECORD)]:
        new_cache(heap, row)


@kernel(cold=True)
def fetch(heap, row, class_):
    """An object from the central cache, and more for the thread's, whose list is empty; 0 where
    the system refuses (FetchFromCentralCache)."""
    heap.paths[state.FETCH] += 1
    list_, batch = list_of(row, class_), heap.classes.batch_of[unsigned(class_)]
    most = heap.rows[unsigned(list_ + MOST)]
    first, got = remove_range(heap, class_, min(most, batch))
    if not got:
        return 0
    if got > 1:
        heap.rows[unsigned(list_ + FIRST)] = load(heap.machine, first)
        heap.rows[unsigned(list_ + COUNT)] = got - 1
        bytes_ = heap.classes.bytes_of[unsigned(class_)]
        heap.rows[unsigned((row << ROW_SHIFT) + SIZE)] += bytes_ * (got - 1)
    if most < batch:
        most += 1
    else:
        most = min(most + batch, LONGEST_LIST)
        most -= most % batch
    heap.rows[unsigned(list_ + MOST)] = most
    return first


@kernel(cold=True)
def list_too_long(heap, row, class_):
    """Give a batch to the central cache, and let the list grow, or shrink (ListTooLong)."""
    list_, batch = list_of(row, class_), heap.classes.batch_of[unsigned(class_)]
    give_batches(heap, row, class_, batch)
    most = heap.rows[unsigned(list_ + MOST)]
    if most < batch:
        heap.rows[unsigned(list_ + MOST)] = most + 1
    elif most > batch:
        over = heap.rows[unsigned(list_ + OVER)] + 1
        if over > MOST_OVERAGES:
            heap.rows[unsigned(list_ + MOST)] = most - batch
            over = 0
        heap.rows[unsigned(list_ + OVER)] = over


@kernel
def give_batches(heap, row, class_, count):
    """Give the newest objects of a list to the central cache, a batch at a time
    (ReleaseToCentralCache)."""
    heap.paths[state.GIVE] += 1
    list_, batch = list_of(row, class_), heap.classes.batch_of[unsigned(class_)]
    count = min(count, heap.rows[unsigned(list_ + COUNT)])
    bytes_ = heap.classes.bytes_of[unsigned(class_)]
    heap.rows[unsigned((row << ROW_SHIFT) + SIZE)] -= bytes_ * count
    while count > 0:
        part = min(count, batch)
        first = last = heap.rows[unsigned(list_ + FIRST)]
        for _ in range(part - 1):
            last = load(heap.machine, last)
        left = heap.rows[unsigned(list_ + COUNT)] - part
        heap.rows[unsigned(list_ + FIRST)] = load(heap.machine, last)
        heap.rows[unsigned(list_ + COUNT)] = left
        heap.rows[unsigned(list_ + LOW)] = min(heap.rows[unsigned(list_ + LOW)], left)
        store(heap.machine, last, 0)
        insert_range(heap, class_, first, part)
        count -= part


@kernel(cold=True)
def scavenge(heap, row):
    """Give half of what each list did not need since the last time, and raise the limit."""
    heap.paths[state.SCAVENGE] += 1
    for class_ in range(heap.classes.count[0]):
        if class_ == 0:
            continue
        list_, batch = list_of(row, class_), heap.classes.batch_of[unsigned(class_)]
        low = heap.rows[unsigned(list_ + LOW)]
        if low > 0:
            give_batches(heap, row, class_, low // 2 if low > 1 else 1)
            most = heap.rows[unsigned(list_ + MOST)]
            if most > batch:
                heap.rows[unsigned(list_ + MOST)] = max(most - batch, batch)
        heap.rows[unsigned(list_ + LOW)] = heap.rows[unsigned(list_ + COUNT)]
    _raise_limit(heap, row)


@kernel(cold=True)
def end_cache(heap, thread):
    """All its objects go to the central cache, its limit to the others (DeleteCache)."""
    row = row_of(thread)
    words = row << ROW_SHIFT
    record = heap.rows[unsigned(words + RECORD)]
    if not record:
        return
    heap.paths[state.EXIT] += 1
    for class_ in range(1, heap.classes.count[0]):
        count = heap.rows[unsigned(list_of(row, class_) + COUNT)]
        if count:
            give_batches(heap, row, class_, count)
        heap.rows[unsigned(list_of(row, class_) + MOST)] = 0  # no room without a cache
    after, before = heap.rows[unsigned(words + AFTER)], heap.rows[unsigned(words + BEFORE)]
    if after:
        heap.rows[unsigned(((after - 1) << ROW_SHIFT) + BEFORE)] = before
    if before:
        heap.rows[unsigned(((before - 1) << ROW_SHIFT) + AFTER)] = after
    else:
        heap.first_cache = after
    if heap.steal == row + 1:
        heap.steal = after
    if not heap.steal:
        heap.steal = heap.first_cache
    heap.unclaimed += heap.rows[unsigned(words + LIMIT)]
    heap.rows[unsigned(words + RECORD)] = 0
    drop_record(heap, CACHE_RECORD, record)
