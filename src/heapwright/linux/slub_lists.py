"""What lies in SLUB's lists: walked, listed, checked; and recorded sequences served.

Invariant  see slub.py                                                       (check: 5-7)
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.linux.frames import NONE
from heapwright.linux.page_alloc import GFP_KSWAPD
from heapwright.linux.slub import (
    CACHE_WORDS,
    CPU_FREE,
    CPU_PARTIAL,
    NEW_SLAB,
    OFFSET,
    PARTIALS,
    SIZE,
    alloc,
    free,
    node_of,
)
from heapwright.machine import load


@kernel
def serve(slub, c, requests, answers):
    """Serve int64[n, 2] `requests`: (0, the real answer) asks cache `c`, (1, address) frees; what
    each got into `answers`, and into their second column whether it was a new slab's first. For
    recorded sequences."""
    for row in range(len(requests)):
        address = requests[row, 1]
        if requests[row, 0]:
            free(slub, address)
            answers[row, 0] = address
        else:
            made = slub.paths[NEW_SLAB]
            slub.observed = address
            answers[row, 0] = alloc(slub, c, np.int64(GFP_KSWAPD))
            answers[row, 1] = slub.paths[NEW_SLAB] - made
    slub.observed = 0


@kernel
def free_objects(slub, c, address):
    """Length of a free list."""
    found = 0
    while address:
        found += 1
        address = load(slub.pages.machine, address + slub.cache[unsigned(c + OFFSET)])
    return found


@kernel
def listed_objects(slub, blocks):
    """The processors' free objects, as rows of `blocks` (start, bytes); their number."""
    row = 0
    for number in range(slub.pages.cpus * slub.caches):
        c = number * CACHE_WORDS
        address = slub.cache[unsigned(c + CPU_FREE)]
        while address:
            if row < len(blocks):
                blocks[row, 0], blocks[row, 1] = address, slub.cache[unsigned(c + SIZE)]
            row += 1
            address = load(slub.pages.machine, address + slub.cache[unsigned(c + OFFSET)])
    return row


@kernel
def check(slub):
    """Number of the broken invariant, 0 if none."""
    for number in range(slub.caches):
        c = number * CACHE_WORDS
        head, count = node_of(slub, c), 0
        before, slab = head, np.int64(slub.next[unsigned(head)])
        while slab != head:
            free_ = free_objects(slub, c, slub.free[unsigned(slab)])
            if free_ + slub.inuse[unsigned(slab)] != slub.objects[unsigned(slab)]:
                return 5
            if slub.frozen[unsigned(slab)] or np.int64(slub.owner[unsigned(slab)]) != number:
                return 6
            if np.int64(slub.previous[unsigned(slab)]) != before:
                return 7
            before, slab, count = slab, np.int64(slub.next[unsigned(slab)]), count + 1
        if count != slub.cache[unsigned(c + PARTIALS)]:
            return 7
    for number in range(slub.pages.cpus * slub.caches):
        c = number * CACHE_WORDS
        slab = slub.cache[unsigned(c + CPU_PARTIAL)]
        while slab != NONE:
            free_ = free_objects(slub, c, slub.free[unsigned(slab)])
            if free_ + slub.inuse[unsigned(slab)] != slub.objects[unsigned(slab)]:
                return 5
            if not slub.frozen[unsigned(slab)]:
                return 6
            slab = np.int64(slub.next[unsigned(slab)])
    return 0
