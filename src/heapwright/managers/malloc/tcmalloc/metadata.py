"""tcmalloc's own memory: chunks of 8 MiB from the break, pieces of them for records of one size.

    record ─► newest one given back ─none─► next of the kind's piece ─► a piece of 128 KiB ─► chunk
    leaf   ─► 2 MiB of a chunk, cleared: the span of each page of 2 GiB

Source     gperftools 2.10 src/common.cc (MetaDataAlloc), page_heap_allocator.h, pagemap.h
           (TCMalloc_PageMap2), system-alloc.cc (SbrkSysAllocator)
Omits      memory by mmap where the break is refused
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES as SYSTEM_PAGE_BYTES
from heapwright.machine import STATIC_BASE, brk, load, store, touch
from heapwright.machine.address_space import BREAK
from heapwright.managers.malloc.tcmalloc import state
from heapwright.managers.malloc.tcmalloc.state import (
    CACHE_RECORD,
    KIND_SHIFT,
    MOST_CHUNKS,
    NODE_RECORD,
    PIECE,
    PIECE_LEFT,
    RECORD_BYTES,
    SPAN_RECORD,
    SPARE,
    TRACE_RECORD,
)

CHUNK_BYTES = 8 << 20  # kMetadataAllocChunkSize
PIECE_BYTES = 128 << 10  # kAllocIncrement
EARLY_BYTES = 64  # sizeof(SlowTLS::Entry) on its own line of the processor's cache
LEAF_SHIFT = 18  # pages of a leaf, log2
LEAF_BYTES = 8 << LEAF_SHIFT
LEAF_MASK = (1 << LEAF_SHIFT) - 1


@kernel
def system_alloc(machine, bytes_, align):
    """`bytes_` more at the break, from a multiple of `align`; 0 where refused."""
    old = machine.meters[BREAK]
    if brk(machine, old + bytes_) != old + bytes_:
        return 0
    extra = -old & (align - 1)
    if extra and brk(machine, old + bytes_ + extra) != old + bytes_ + extra:
        return 0
    return old + extra


@kernel
def _take(heap, bytes_):
    """Memory that is never given back; of the static one where there is none: see `broken`."""
    if heap.chunk_left < bytes_:
        chunk = system_alloc(heap.machine, CHUNK_BYTES, SYSTEM_PAGE_BYTES)
        if not chunk or heap.chunks == MOST_CHUNKS:
            heap.broken = 1
            return STATIC_BASE
        heap.paths[state.METADATA] += 1
        heap.chunk_starts[unsigned(heap.chunks)] = chunk
        heap.chunks += 1
        heap.chunk, heap.chunk_left = chunk, CHUNK_BYTES
    address = heap.chunk
    heap.chunk += bytes_
    heap.chunk_left -= bytes_
    heap.metadata_bytes += bytes_
    return address


@kernel
def new_record(heap, kind, bytes_):
    """A record of a kind; its content is what was there."""
    words = kind << KIND_SHIFT
    spare = heap.records[unsigned(words + SPARE)]
    if spare:
        heap.records[unsigned(words + SPARE)] = load(heap.machine, spare)
        return spare
    if heap.records[unsigned(words + PIECE_LEFT)] < bytes_:
        heap.records[unsigned(words + PIECE)] = _take(heap, PIECE_BYTES)
        heap.records[unsigned(words + PIECE_LEFT)] = PIECE_BYTES
    address = heap.records[unsigned(words + PIECE)]
    heap.records[unsigned(words + PIECE)] += bytes_
    heap.records[unsigned(words + PIECE_LEFT)] -= bytes_
    touch(heap.machine, address, bytes_)
    return address


@kernel
def drop_record(heap, kind, address):
    """Give a record back: the next one wanted is this."""
    touch(heap.machine, address, 8)
    store(heap.machine, address, heap.records[unsigned((kind << KIND_SHIFT) + SPARE)])
    heap.records[unsigned((kind << KIND_SHIFT) + SPARE)] = address


@kernel
def new_span_record(heap):
    """Of a span."""
    return new_record(heap, SPAN_RECORD, RECORD_BYTES[SPAN_RECORD])


@kernel
def begin(heap):
    """What the allocators of records set aside before the first request."""
    new_span_record(heap)
    new_span_record(heap)  # "reduce cache conflicts", of which the first was given back before
    drop_record(heap, TRACE_RECORD, new_record(heap, TRACE_RECORD, RECORD_BYTES[TRACE_RECORD]))
    drop_record(heap, CACHE_RECORD, new_record(heap, CACHE_RECORD, RECORD_BYTES[CACHE_RECORD]))


@kernel
def register_early(heap):
    """What remembers a cache made before threads have places for theirs (SlowTLS::Entry)."""
    touch(heap.machine, _take(heap, EARLY_BYTES), EARLY_BYTES)


@kernel
def new_node(heap):
    """Memory for a node of the sorted runs; which one is given back when a run leaves is no matter,
    as all of them are resident."""
    if heap.spare_nodes:
        heap.spare_nodes -= 1
    else:
        new_record(heap, NODE_RECORD, RECORD_BYTES[NODE_RECORD])


@kernel
def map_pages(heap, first, last):
    """Leaves for all pages from `first` to `last`."""
    for number in range(first >> LEAF_SHIFT, (last >> LEAF_SHIFT) + 1):
        if not heap.leaves[unsigned(number)]:
            leaf = _take(heap, LEAF_BYTES)
            heap.leaves[unsigned(number)] = leaf
            touch(heap.machine, leaf, LEAF_BYTES)


@kernel(inline=True)
def span_at(heap, page):
    """The span that a page is the first, last or, of a class, any page of; 0 where none was."""
    leaf = heap.leaves[unsigned(page >> LEAF_SHIFT)]
    return load(heap.machine, leaf + ((page & LEAF_MASK) << 3)) if leaf else 0


@kernel(inline=True)
def set_span(heap, page, span):
    """Enter a page's span."""
    leaf = heap.leaves[unsigned(page >> LEAF_SHIFT)]
    store(heap.machine, leaf + ((page & LEAF_MASK) << 3), span)
