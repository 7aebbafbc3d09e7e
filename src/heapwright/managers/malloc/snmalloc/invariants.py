"""What must hold of snmalloc's heap at any time, and the messages that are on their way."""

from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel
from heapwright.machine import PAGE_BYTES, load
from heapwright.machine.address_space import MAPPED_TOP
from heapwright.managers.malloc.snmalloc.messages import block_bytes, owner_of
from heapwright.managers.malloc.snmalloc.slabs import has_fresh
from heapwright.managers.malloc.snmalloc.state import (
    BUCKETS,
    BUMP,
    CHUNK_SHIFT,
    CHUNK_SLABS,
    CLASS,
    FIRST_OF,
    FREE,
    FRESH,
    IN_LIST,
    KIND,
    LISTED,
    LIVE,
    MEDIUM_IN,
    NEXT,
    OWNER,
    POSTED,
    PREVIOUS,
    SIZE,
    SLAB_SHIFT,
    SLABS_IN,
    SPARE,
    USED,
    VACANT,
    WAITING,
    bytes_of,
    chunk_word,
    places_in,
    row_word,
    slab_word,
)

PAST = MAPPED_TOP >> CHUNK_SHIFT


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    for chunk in range(heap.lowest if heap.lowest else PAST, PAST):
        if chunk_word(heap, chunk, KIND) == SLABS_IN:
            broken = _check_slabs(heap, chunk)
            if broken:
                return broken
        elif chunk_word(heap, chunk, KIND) == MEDIUM_IN:
            places = places_in(bytes_of(chunk_word(heap, chunk, SIZE)))
            live = chunk_word(heap, chunk, LIVE)
            if not 0 < live <= places or (live < places) != (chunk_word(heap, chunk, IN_LIST) != 0):
                return 2
    for allocator in range(1, heap.allocators + 1):
        waiting = 0
        for bucket in range(BUCKETS):
            block = row_word(heap, allocator, FIRST_OF + bucket)
            while block:
                if owner_of(heap, block) == allocator:
                    return 3
                waiting += block_bytes(heap, block)
                block = load(heap.machine, block)
        if waiting != row_word(heap, allocator, WAITING):
            return 3
    return 0


@kernel
def _vacant(heap, chunk, slab):
    """Whether a slab is among those that its chunk has back."""
    at = chunk_word(heap, chunk, VACANT)
    while at and at != slab:
        at = slab_word(heap, at, NEXT)
    return at == slab


@kernel
def _check_slabs(heap, chunk):
    """Number of the invariant that a chunk's slabs break, 0 if none."""
    first, live = chunk * CHUNK_SLABS, 0
    for slab in range(first + 1, first + chunk_word(heap, chunk, FRESH)):
        if _vacant(heap, chunk, slab):
            continue
        live += 1
        size, count = bytes_of(slab_word(heap, slab, CLASS)), slab_word(heap, slab, USED)
        block = slab_word(heap, slab, FREE)
        while block:
            count += 1
            block = load(heap.machine, block)
        if count * size != slab_word(heap, slab, BUMP) - (slab << SLAB_SHIFT):
            return 1
        room = slab_word(heap, slab, FREE) != 0 or has_fresh(heap, slab, size)
        if room != (slab_word(heap, slab, LISTED) != 0):
            return 2
        previous = slab_word(heap, slab, PREVIOUS)
        if room and previous and slab_word(heap, previous, NEXT) != slab:
            return 2
        if room and not previous:
            owner = chunk_word(heap, chunk, OWNER)
            if row_word(heap, owner, slab_word(heap, slab, CLASS)) != slab:
                return 2
    return 0 if live == chunk_word(heap, chunk, LIVE) else 1


@kernel
def cached(heap, blocks):
    """Messages in buckets and in queues."""
    count = 0
    for allocator in range(1, heap.allocators + 1):
        count = _note(heap, blocks, count, row_word(heap, allocator, POSTED))
        for bucket in range(BUCKETS):
            count = _note(heap, blocks, count, row_word(heap, allocator, FIRST_OF + bucket))
    return count


@kernel
def _note(heap, blocks, count, block):
    """A row for each message of a list; the next row's number."""
    while block:
        count = write_row(blocks, count, block, block_bytes(heap, block))
        block = load(heap.machine, block)
    return count


@kernel
def metadata(heap, blocks):
    """The first page of each chunk of slabs, of medium objects, or that waits."""
    count = 0
    for chunk in range(heap.lowest if heap.lowest else PAST, PAST):
        kind = chunk_word(heap, chunk, KIND)
        if kind in (SLABS_IN, MEDIUM_IN, SPARE):
            count = write_row(blocks, count, chunk << CHUNK_SHIFT, PAGE_BYTES)
    return count
