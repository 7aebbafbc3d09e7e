"""The classic slab allocator: lists of full, partial and free slabs, an array a processor, colours.

    slab   │ colour │ management │ object │ object │ ... │      management off the slab if they are
    alloc  the processor's array ─empty─► a batch from partial slabs, then free ones, then a new one
    free   the processor's array ─full─► its oldest batch goes back to their slabs

Terms      colour: an offset by which slabs differ, so that their objects fall into other cache
           lines; touched: whether the array was used since it was last reaped
Invariant  a slab is in the list that its objects in use say; a slab's chain and its objects in use
           make up its objects                                               (check: 5, 6)
Source     Bonwick, USENIX Summer 1994; Linux 2.6.24, mm/slab.c: cache_estimate,
           calculate_slab_order, cache_alloc_refill, cache_flusharray, free_block, enable_cpucache
Omits      other processors and their shared array, the reaper's timer, debugging. The management's
           bytes on a slab are counted; off a slab they are not (a real one takes them from a cache)
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.record import record
from heapwright.linux.frames import NONE, Pages, address_of, frame_of
from heapwright.linux.page_alloc import ANYONE, alloc_pages, free_pages

# Words of a cache's row
(
    SIZE,  # bytes from one object to the next
    OBJECTS,  # of a slab
    ORDER,
    FIRST_OFFSET,  # of a slab's first object, without its colour: its management lies before
    COLOURS,
    COLOUR_BYTES,
    COLOUR_NEXT,
    GFP,
    LIMIT,  # objects of the processor's array
    BATCH,
    AVAILABLE,  # in it
    TOUCHED,
    FREE_OBJECTS,  # in slabs
    FREE_LIMIT,  # above so many an empty slab goes back
    OBJECT_BYTES,
    SLABS,
    CACHE_WORDS,
) = range(17)

FULL, PARTIAL, FREE_LIST = range(3)  # a cache's lists
ENTRIES = 128  # room for a processor's array
SMALL_REFILL = 16  # of an array that was not touched: BATCHREFILL_LIMIT
END = -1  # of a chain

PATHS = ("fast", "refill", "grow", "refused", "free_fast", "flush", "destroy")
FAST, REFILL, GROW, REFUSED, FREE_FAST, FLUSH, DESTROY = range(7)


@record("caches")
class Slabs(NamedTuple):
    """All caches, and what a slab's management says."""

    pages: Pages
    cache: np.ndarray  # int64[cache word]
    entry: np.ndarray  # int64[cache * ENTRIES + row]  the processor's array: addresses
    next: np.ndarray  # int32[frame, then cache * 3 + list]
    previous: np.ndarray  # int32[likewise]
    head: np.ndarray  # int32[frame]  the first frame of its slab
    owner: np.ndarray  # int16[frame]  the slab's cache; -1 of none
    inuse: np.ndarray  # int32[frame]
    free: np.ndarray  # int32[frame]  number of the first free object; END
    base: np.ndarray  # int64[frame]  address of the slab's first object
    chain: np.ndarray  # int32[offset / 8]  of a free object the number of the next one
    paths: np.ndarray  # int64[path]  times taken
    fields: np.ndarray  # int64[word]


@kernel(inline=True)
def _list(slabs, c, which):
    """Head of one of a cache's lists."""
    return slabs.pages.frames + (c // CACHE_WORDS) * 3 + which


@kernel
def _unlink(slabs, slab):
    """A slab out of its list."""
    after, before = np.int64(slabs.next[unsigned(slab)]), np.int64(slabs.previous[unsigned(slab)])
    slabs.next[unsigned(before)], slabs.previous[unsigned(after)] = after, before


@kernel
def _between(slabs, before, slab, after):
    """A slab between two nodes of a list."""
    slabs.next[unsigned(slab)], slabs.previous[unsigned(slab)] = after, before
    slabs.next[unsigned(before)] = slabs.previous[unsigned(after)] = slab


@kernel
def _to_front(slabs, c, slab, which):
    """A slab at the front of a list."""
    head = _list(slabs, c, which)
    _between(slabs, head, slab, np.int64(slabs.next[unsigned(head)]))


@kernel
def _to_end(slabs, c, slab, which):
    """A slab at the end of a list."""
    head = _list(slabs, c, which)
    _between(slabs, np.int64(slabs.previous[unsigned(head)]), slab, head)


@kernel(inline=True)
def _link(slabs, slab, c, number):
    """Where the chain's word of an object is."""
    address = slabs.base[unsigned(slab)] + number * slabs.cache[unsigned(c + SIZE)]
    return (address - slabs.pages.base) >> 3


@kernel(inline=True)
def alloc(slabs, c, gfp):
    """Address of an object of the cache; 0 where there is no frame for it. About 3 ns."""
    available = slabs.cache[unsigned(c + AVAILABLE)]
    if not likely(available > 0):
        available = _refill(slabs, c, gfp)
        if not available:
            return 0
    else:
        slabs.paths[FAST] += 1
        slabs.cache[unsigned(c + TOUCHED)] = 1
    slabs.cache[unsigned(c + AVAILABLE)] = available - 1
    return slabs.entry[unsigned((c // CACHE_WORDS) * ENTRIES + available - 1)]


@kernel
def _refill(slabs, c, gfp):
    """Fill the processor's array by a batch; how many objects it then has."""
    slabs.paths[REFILL] += 1
    batch = slabs.cache[unsigned(c + BATCH)]
    if not slabs.cache[unsigned(c + TOUCHED)]:
        batch = min(batch, SMALL_REFILL)
    available, first = 0, (c // CACHE_WORDS) * ENTRIES
    while batch > 0:
        head = _list(slabs, c, PARTIAL)
        slab = np.int64(slabs.next[unsigned(head)])
        if slab == head:
            head = _list(slabs, c, FREE_LIST)
            slab = np.int64(slabs.next[unsigned(head)])
        if slab == head:
            if available or _grow(slabs, c, gfp) == NONE:
                break
            continue
        number = np.int64(slabs.free[unsigned(slab)])
        while number != END and batch > 0:
            address = slabs.base[unsigned(slab)] + number * slabs.cache[unsigned(c + SIZE)]
            slabs.entry[unsigned(first + available)] = address
            slabs.inuse[unsigned(slab)] += 1
            number = np.int64(slabs.chain[unsigned(_link(slabs, slab, c, number))])
            available, batch = available + 1, batch - 1
        slabs.free[unsigned(slab)] = number
        _unlink(slabs, slab)
        _to_front(slabs, c, slab, FULL if number == END else PARTIAL)
    slabs.cache[unsigned(c + FREE_OBJECTS)] -= available
    slabs.cache[unsigned(c + TOUCHED)] = 1
    return available


@kernel
def _grow(slabs, c, gfp):
    """A slab of free objects, in the next colour; NONE where there are no frames."""
    order = slabs.cache[unsigned(c + ORDER)]
    colour = slabs.cache[unsigned(c + COLOUR_NEXT)]
    following = colour + 1
    if following >= slabs.cache[unsigned(c + COLOURS)]:
        following = 0
    slabs.cache[unsigned(c + COLOUR_NEXT)] = following
    gfp |= slabs.cache[unsigned(c + GFP)]
    slab = alloc_pages(slabs.pages, order, gfp, np.int64(ANYONE))
    if slab == NONE:
        slabs.paths[REFUSED] += 1
        return NONE
    slabs.paths[GROW] += 1
    for frame in range(slab, slab + (1 << order)):
        slabs.head[unsigned(frame)], slabs.owner[unsigned(frame)] = slab, c // CACHE_WORDS
    offset = colour * slabs.cache[unsigned(c + COLOUR_BYTES)]
    offset += slabs.cache[unsigned(c + FIRST_OFFSET)]
    slabs.base[unsigned(slab)] = address_of(slabs.pages, slab) + offset
    objects = slabs.cache[unsigned(c + OBJECTS)]
    slabs.inuse[unsigned(slab)], slabs.free[unsigned(slab)] = 0, 0
    for number in range(objects):
        following = number + 1 if number + 1 < objects else END
        slabs.chain[unsigned(_link(slabs, slab, c, number))] = following
    slabs.cache[unsigned(c + FREE_OBJECTS)] += objects
    slabs.cache[unsigned(c + SLABS)] += 1
    _to_end(slabs, c, slab, FREE_LIST)
    return slab


@kernel(inline=True)
def free(slabs, address):
    """Give an object back. About 3 ns into the processor's array."""
    slab = np.int64(slabs.head[unsigned(frame_of(slabs.pages, address))])
    c = np.int64(slabs.owner[unsigned(slab)]) * CACHE_WORDS
    available = slabs.cache[unsigned(c + AVAILABLE)]
    if likely(available < slabs.cache[unsigned(c + LIMIT)]):
        slabs.paths[FREE_FAST] += 1
    else:
        available = _flush(slabs, c)
    slabs.entry[unsigned((c // CACHE_WORDS) * ENTRIES + available)] = address
    slabs.cache[unsigned(c + AVAILABLE)] = available + 1


@kernel
def _flush(slabs, c):
    """The oldest batch of the array back to their slabs; how many objects are left in it."""
    slabs.paths[FLUSH] += 1
    batch, available = slabs.cache[unsigned(c + BATCH)], slabs.cache[unsigned(c + AVAILABLE)]
    first = (c // CACHE_WORDS) * ENTRIES
    for row in range(first, first + batch):
        _give(slabs, c, slabs.entry[unsigned(row)])
    for row in range(first, first + available - batch):
        slabs.entry[unsigned(row)] = slabs.entry[unsigned(row + batch)]
    return available - batch


@kernel
def _give(slabs, c, address):
    """An object back to its slab."""
    slab = np.int64(slabs.head[unsigned(frame_of(slabs.pages, address))])
    number = (address - slabs.base[unsigned(slab)]) // slabs.cache[unsigned(c + SIZE)]
    _unlink(slabs, slab)
    slabs.chain[unsigned(_link(slabs, slab, c, number))] = slabs.free[unsigned(slab)]
    slabs.free[unsigned(slab)] = number
    slabs.inuse[unsigned(slab)] -= 1
    slabs.cache[unsigned(c + FREE_OBJECTS)] += 1
    if slabs.inuse[unsigned(slab)]:
        _to_end(slabs, c, slab, PARTIAL)
    elif slabs.cache[unsigned(c + FREE_OBJECTS)] > slabs.cache[unsigned(c + FREE_LIMIT)]:
        slabs.cache[unsigned(c + FREE_OBJECTS)] -= slabs.cache[unsigned(c + OBJECTS)]
        _destroy(slabs, c, slab)
    else:
        _to_front(slabs, c, slab, FREE_LIST)


@kernel
def _destroy(slabs, c, slab):
    """An empty slab's frames go back."""
    order = slabs.cache[unsigned(c + ORDER)]
    for frame in range(slab, slab + (1 << order)):
        slabs.owner[unsigned(frame)] = -1
    slabs.cache[unsigned(c + SLABS)] -= 1
    slabs.paths[DESTROY] += 1
    free_pages(slabs.pages, slab, order)


@kernel
def listed_objects(slabs, blocks):
    """The objects in the processor's arrays, as rows of `blocks` (start, bytes); their number."""
    row = 0
    for number in range(slabs.caches):
        c = number * CACHE_WORDS
        for i in range(slabs.cache[unsigned(c + AVAILABLE)]):
            if row < len(blocks):
                blocks[row, 0] = slabs.entry[unsigned(number * ENTRIES + i)]
                blocks[row, 1] = slabs.cache[unsigned(c + SIZE)]
            row += 1
    return row


@kernel
def listed_management(slabs, blocks):
    """The management on slabs, as rows of `blocks`; their number."""
    row = 0
    for number in range(slabs.caches):
        c = number * CACHE_WORDS
        own = slabs.cache[unsigned(c + FIRST_OFFSET)]
        for which in range(3 if own else 0):
            head = _list(slabs, c, which)
            slab = np.int64(slabs.next[unsigned(head)])
            while slab != head:
                if row < len(blocks):
                    blocks[row, 0] = slabs.base[unsigned(slab)] - own
                    blocks[row, 1] = own
                row += 1
                slab = np.int64(slabs.next[unsigned(slab)])
    return row


@kernel
def check(slabs):
    """Number of the broken invariant, 0 if none."""
    for cache in range(slabs.caches):
        c = cache * CACHE_WORDS
        objects = slabs.cache[unsigned(c + OBJECTS)]
        for which in range(3):
            head = _list(slabs, c, which)
            slab = np.int64(slabs.next[unsigned(head)])
            while slab != head:
                inuse, free_ = np.int64(slabs.inuse[unsigned(slab)]), 0
                number = np.int64(slabs.free[unsigned(slab)])
                while number != END and free_ <= objects:
                    free_ += 1
                    number = np.int64(slabs.chain[unsigned(_link(slabs, slab, c, number))])
                if inuse + free_ != objects:
                    return 5
                if which != (FULL if not free_ else FREE_LIST if not inuse else PARTIAL):
                    return 6
                slab = np.int64(slabs.next[unsigned(slab)])
    return 0
