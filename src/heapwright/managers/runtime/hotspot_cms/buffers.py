"""CMS's promotion buffers: where a young collection puts what lives.

    to-space   8 KiB at a time; a tenth of one and more goes straight there
    old        chunks of one size, as many at once as the last collections needed; from 257 words on
               the best fit of the dictionary

Source     OpenJDK 11 src/hotspot/share/gc/cms/compactibleFreeListSpace.cpp: CompactibleFreeList-
           SpaceLAB; share/gc/shared/plab.cpp
"""

import numpy as np

from heapwright.collectors.hotspot.evacuating import FILLER_BYTES, close_young_lab
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.hotspot_cms.free_lists import (
    exact_chunk,
    give_back,
    pop_first,
    spooled,
    take,
    take_several,
)
from heapwright.managers.runtime.hotspot_cms.state import LEAST_WORDS, LISTED

LAB_BYTES, LEAST_LAB_BYTES = 1024 * 8, 258 * 8  # YoungPLABSize of ParNew; PLAB::min_size
WASTE_PERCENT = 10  # ParallelGCBufferWastePct
CLAIM, LEAST_CLAIM, MOST_CLAIM = 16, 16, 1024  # OldPLABSize, CMSOldPLABMin, CMSOldPLABMax
REFILLS = 4  # CMSOldPLABNumRefills
CLAIM_WEIGHT = 50  # OldPLABWeight


@kernel
def in_to_space(heap, bytes_):
    """A block of to-space, 0 without room."""
    if heap.young_lab + bytes_ <= heap.young_lab_end:
        heap.young_lab += bytes_
        return heap.young_lab - bytes_
    if heap.young_full and not heap.direct:
        return 0
    top = heap.spare_top
    free = heap.spare + heap.survivor_bytes - top
    if heap.direct or bytes_ * 100 >= WASTE_PERCENT * heap.young_lab_bytes:
        if bytes_ > free:
            return 0
        heap.spare_top = top + bytes_
        return top
    close_young_lab(heap)
    size = heap.young_lab_bytes
    if size > free:
        if free < LEAST_LAB_BYTES:
            heap.young_full = 1
            return 0
        size = free
    heap.spare_top = top + size
    heap.young_lab_bytes = size
    heap.young_lab, heap.young_lab_end = top, top + size - FILLER_BYTES
    if top + bytes_ > heap.young_lab_end:
        return 0
    heap.young_lab = top + bytes_
    return top


@kernel
def in_old(heap, words):
    """A block of old for a promoted object, 0 without room."""
    if not spooled(heap):
        return 0
    if heap.direct:
        block = take(heap, words)
    elif words >= LISTED:
        block = exact_chunk(heap, words)
    else:
        if heap.taken.count[unsigned(words)] == 0:
            take_several(heap, words, np.int64(heap.claims[unsigned(words)]))
            heap.taken_count[unsigned(words)] += heap.taken.count[unsigned(words)]
        block = pop_first(heap, heap.taken, words)
    if block:
        heap.old_top += words << 3
    return block


@kernel
def retire_buffers(heap):
    """Give back what is left of the buffers, and learn how many chunks to take at once."""
    for words in range(LEAST_WORDS, LISTED):
        taken = heap.taken_count[unsigned(words)]
        if not taken:
            continue
        taken -= heap.taken.count[unsigned(words)]
        heap.taken_count[unsigned(words)] = 0
        give_back(heap, words)
        heap.claim_samples[unsigned(words)] += 1
        weight = max(CLAIM_WEIGHT, 100 // heap.claim_samples[unsigned(words)])
        value = np.float32(max(LEAST_CLAIM, min(MOST_CLAIM, taken // REFILLS)))
        kept = np.float32(np.float32(100 - weight) * heap.claims[unsigned(words)])
        added = np.float32(np.float32(weight) * value)
        heap.claims[unsigned(words)] = np.float32(
            np.float32(kept / np.float32(100)) + np.float32(added / np.float32(100))
        )
