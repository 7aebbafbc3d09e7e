"""The free chunks of CMS's old generation: where a block is taken from, and where the rest goes.

    less than 257 words   indexed list ─► four times the size, split ─► ... ─► dictionary
                          ─► linear block ─► a larger list's chunk, split ─► the dictionary's
    from 257 words on     dictionary, best fit; the rest is a chunk again, 3 words at least
                          ─► linear block

Source     OpenJDK 11 src/hotspot/share/gc/cms/compactibleFreeListSpace.cpp,
           share/memory/binaryTreeDictionary.inline.hpp
Omits      the census, by which a sweep decides which sizes are to be coalesced; that of chunks of
           one size the dictionary keeps the first for last
"""

from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.layout import BYTES_SHIFT
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.managers.runtime.hotspot_cms.state import LEAST_WORDS, LISTED, SPOOLED, VACANT
from heapwright.structures.sorted_keys import at_least, insert, remove

KEY_SHIFT, KEY_MASK = 32, (1 << 32) - 1
LINEAR_WORDS = 1024 * 16  # of the linear block, when it is made
LINEAR_LIMIT = 16  # smaller blocks may be taken from it first: SmallForLinearAlloc
SPOOLED_HEADERS = 256  # that a spool has room for
SPOOL_WORDS = 6 + SPOOLED_HEADERS
REPLENISH_SHIFT = 2  # log2 of CMSIndexedFreeListReplenish


@kernel
def vacate(machine, block, words):
    """Let the words be a chunk."""
    touch(machine, block, LEAST_WORDS << 3)
    store(machine, block, VACANT)
    store(machine, block + 8, words << BYTES_SHIFT)


@kernel
def occupy(machine, block, words):
    """Let the words be a block that nobody refers to."""
    touch(machine, block, 16)
    store(machine, block, 0)
    store(machine, block + 8, words << BYTES_SHIFT)


@kernel
def words_of(machine, block):
    """Words of a block."""
    return load(machine, block + 8) >> BYTES_SHIFT


@kernel
def push_first(heap, lists, block, words):
    """Add a chunk at its list's head."""
    head = lists.head[unsigned(words)]
    store(heap.machine, block + 16, head)
    lists.head[unsigned(words)] = block
    if not head:
        lists.tail[unsigned(words)] = block
    lists.count[unsigned(words)] += 1


@kernel
def push_last(heap, lists, block, words):
    """Add a chunk at its list's tail."""
    if not lists.head[unsigned(words)]:
        push_first(heap, lists, block, words)
        return
    store(heap.machine, block + 16, 0)
    store(heap.machine, lists.tail[unsigned(words)] + 16, block)
    lists.tail[unsigned(words)] = block
    lists.count[unsigned(words)] += 1


@kernel
def pop_first(heap, lists, words):
    """Take the chunk at a list's head; 0 if there is none."""
    block = lists.head[unsigned(words)]
    if block:
        lists.head[unsigned(words)] = load(heap.machine, block + 16)
        lists.count[unsigned(words)] -= 1
    return block


@kernel
def put(heap, block, words):
    """Let the words be a chunk, in the dictionary or last of its list."""
    vacate(heap.machine, block, words)
    if words >= LISTED:
        insert(heap.dictionary, words << KEY_SHIFT | (block - heap.old) >> 3)
    else:
        push_last(heap, heap.indexed, block, words)


@kernel
def best_fit(heap, words):
    """Take the smallest chunk of the dictionary that has so many words; 0 if there is none."""
    key = at_least(heap.dictionary, words << KEY_SHIFT)
    if key < 0:
        return 0
    remove(heap.dictionary, key)
    return heap.old + ((key & KEY_MASK) << 3)


@kernel
def _split(heap, block, words):
    """Give back what a chunk that was taken has beyond so many words."""
    rest = words_of(heap.machine, block) - words
    if rest:
        put(heap, block + (words << 3), rest)
        vacate(heap.machine, block, words)


@kernel
def at_least_chunk(heap, words):
    """A chunk of so many words, or of one or two more where the rest would be too small."""
    block = best_fit(heap, words)
    if block and words_of(heap.machine, block) >= words + LEAST_WORDS:
        _split(heap, block, words)
    return block


@kernel
def exact_chunk(heap, words):
    """A chunk of exactly so many words from the dictionary; 0 if there is none."""
    block = best_fit(heap, words)
    if not block:
        return 0
    found = words_of(heap.machine, block)
    if words < found < words + LEAST_WORDS:
        put(heap, block, found)
        block = best_fit(heap, words + LEAST_WORDS)
        if not block:
            return 0
    _split(heap, block, words)
    return block


@kernel
def take(heap, words):
    """A block of old for the program, by all means there are; 0 if there is none."""
    if words >= LISTED:
        block = exact_chunk(heap, words)
        return block if block else _from_linear(heap, words)
    block = pop_first(heap, heap.indexed, words)
    if not block:
        block = _replenished(heap, words)
    if not block and words < LINEAR_LIMIT:
        block = _from_linear(heap, words)
    return block if block else _from_greater(heap, words)


@kernel
def _replenished(heap, words):
    """A chunk of the dictionary, split in four as often as it takes; three go to each list."""
    size = words
    while size < LISTED:
        size <<= REPLENISH_SHIFT
    block = exact_chunk(heap, size)
    while block and size > words:
        size >>= REPLENISH_SHIFT
        for _ in range((1 << REPLENISH_SHIFT) - 1):
            vacate(heap.machine, block, size)
            push_last(heap, heap.indexed, block, size)
            block += size << 3
        vacate(heap.machine, block, size)
    return block


@kernel
def _from_greater(heap, words):
    """A part of a larger chunk."""
    for size in range(words + LEAST_WORDS, LISTED):
        block = pop_first(heap, heap.indexed, size)
        if block:
            _split(heap, block, words)
            return block
    block = best_fit(heap, max(LISTED, words + LEAST_WORDS))
    if block:
        _split(heap, block, words)
    return block


@kernel
def _from_linear(heap, words):
    """A piece of the linear block, which keeps 3 words."""
    if heap.linear_bytes < (words + LEAST_WORDS) << 3:
        return 0
    block = heap.linear
    heap.linear += words << 3
    heap.linear_bytes -= words << 3
    vacate(heap.machine, block, words)
    vacate(heap.machine, heap.linear, heap.linear_bytes >> 3)
    return block


@kernel
def take_several(heap, words, wanted):
    """Fill the buffer of this size with that many chunks, or with fewer."""
    indexed = heap.indexed
    ways, size = 1, words
    while size < LISTED:
        if indexed.count[unsigned(size)]:
            count = min(max(wanted // ways, 1), indexed.count[unsigned(size)])
            if ways == 1:
                _cut(heap, words, count)
                return
            for _ in range(count):
                _carve(heap, pop_first(heap, indexed, size), words, ways)
            return
        ways += 1
        size += words
    while wanted > 0:
        block = best_fit(heap, wanted * words)
        if block:
            break
        wanted -= 1
    if wanted <= 0:
        return
    size = words_of(heap.machine, block)
    count = min(size // words, wanted)
    rest = size - count * words
    if 0 < rest < LEAST_WORDS:
        count -= 1
        rest += words
    if count == 0:
        put(heap, block, size)
        return
    if rest:
        start = block + ((count * words) << 3)
        vacate(heap.machine, start, rest)
        if rest >= LISTED:
            insert(heap.dictionary, rest << KEY_SHIFT | (start - heap.old) >> 3)
        else:
            push_first(heap, indexed, start, rest)
    _carve(heap, block, words, count)


@kernel
def _cut(heap, words, count):
    """Move the first chunks of a list to the buffer of their size, in their order."""
    indexed, taken = heap.indexed, heap.taken
    first = last = indexed.head[unsigned(words)]
    for _ in range(count - 1):
        last = load(heap.machine, last + 16)
    indexed.head[unsigned(words)] = load(heap.machine, last + 16)
    indexed.count[unsigned(words)] -= count
    store(heap.machine, last + 16, 0)
    taken.head[unsigned(words)], taken.tail[unsigned(words)] = first, last
    taken.count[unsigned(words)] = count


@kernel
def _carve(heap, block, words, count):
    """Cut a chunk into that many, the lowest first of the buffer."""
    for piece in range(count - 1, -1, -1):
        vacate(heap.machine, block + ((piece * words) << 3), words)
        push_first(heap, heap.taken, block + ((piece * words) << 3), words)


@kernel
def give_back(heap, words):
    """What is left of a buffer goes to the head of its list."""
    indexed, taken = heap.indexed, heap.taken
    if taken.count[unsigned(words)]:
        last = taken.tail[unsigned(words)]
        store(heap.machine, last + 16, indexed.head[unsigned(words)])
        if not indexed.head[unsigned(words)]:
            indexed.tail[unsigned(words)] = last
        indexed.head[unsigned(words)] = taken.head[unsigned(words)]
        indexed.count[unsigned(words)] += taken.count[unsigned(words)]
    taken.head[unsigned(words)] = taken.count[unsigned(words)] = 0


@kernel
def clear_lists(heap):
    """No chunk is free."""
    for words in range(LISTED):
        heap.indexed.head[unsigned(words)] = heap.indexed.count[unsigned(words)] = 0
    key = at_least(heap.dictionary, 0)
    while key >= 0:
        remove(heap.dictionary, key)
        key = at_least(heap.dictionary, 0)


@kernel
def listed_bytes(heap):
    """Bytes of all chunks that are in a list, in the dictionary or the linear block."""
    bytes_ = heap.linear_bytes
    for words in range(LISTED):
        bytes_ += heap.indexed.count[unsigned(words)] * words << 3
    key = at_least(heap.dictionary, 0)
    while key >= 0:
        bytes_ += key >> KEY_SHIFT << 3
        key = at_least(heap.dictionary, key + 1)
    return bytes_


@kernel
def begin_free(heap):
    """After a compaction: all above old's top is one chunk, and a linear block is taken of it."""
    clear_lists(heap)
    heap.linear = heap.linear_bytes = heap.spools = 0
    words = (heap.old_end - heap.old_top) >> 3
    if words:
        put(heap, heap.old_top, words)
        settle(heap.java, heap.old_top, words << 3)
    block = at_least_chunk(heap, LINEAR_WORDS)
    if block:
        heap.linear, heap.linear_bytes = block, words_of(heap.machine, block) << 3


@kernel
def spooled(heap):
    """Whether promotion has room for a header in its spools."""
    if heap.headers < heap.spools * SPOOLED_HEADERS:
        return True
    spool = at_least_chunk(heap, SPOOL_WORDS)
    if spool:
        words = words_of(heap.machine, spool)
        occupy(heap.machine, spool, words)
        store(heap.machine, spool, SPOOLED)
        heap.old_top += words << 3
        heap.spools += 1
    return spool != 0
