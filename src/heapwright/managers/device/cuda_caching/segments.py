"""Segments: asked of the driver, mapped in units, given back.

    no block fits ─► driver ─refuses─► what is too large to split ─► all that is whole ─► refused
                  └ expandable: units mapped where the segment goes on

Source     PyTorch 2.6 c10/cuda/CUDACachingAllocator.cpp: alloc_block, release_cached_blocks,
           garbage_collect_cached_blocks, try_allocate_expandable_block, unmap_block
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine.device import (
    device_alloc,
    device_free,
    map_span,
    release_span,
    reserve_span,
    unmap_span,
)
from heapwright.managers.device.cuda_caching import state
from heapwright.managers.device.cuda_caching.state import (
    AFTER,
    AT,
    BARE,
    BEFORE,
    BORN,
    LARGE_SEGMENT,
    LEAST_OWN,
    NO_LIMIT,
    ROUND_LARGE,
    SEGMENT,
    SIZE,
    SMALL,
    SMALL_BYTES,
    SMALL_SEGMENT,
    STREAM,
    USED,
    drop_block,
    enter,
    get,
    is_whole,
    key_of,
    leave,
    merge,
    new_block,
    put_word,
    row_of_key,
    splice,
)
from heapwright.structures.sorted_keys import at_least

STREAM_MASK = ~((1 << state.STREAM_SHIFT) - 1)
NARROWEST = 1 << 26  # bytes of address space for a segment, where there is little


@kernel
def segment_bytes(size):
    """What is asked of the driver for a block."""
    if size <= SMALL_BYTES:
        return SMALL_SEGMENT
    if size < LEAST_OWN:
        return LARGE_SEGMENT
    return (size + ROUND_LARGE - 1) & -ROUND_LARGE


@kernel
def _open_block(heap, address, bytes_, stream, small, bare):
    """The one block of a fresh segment, entered."""
    row = new_block(heap, address, bytes_, 0)
    put_word(heap, row, STREAM, stream)
    put_word(heap, row, SMALL, small)
    put_word(heap, row, BARE, bare)
    put_word(heap, row, SEGMENT, address)
    enter(heap, row)
    return row


@kernel
def _of_driver(heap, size, stream, small):
    """A segment's block, whole; 0 where limit or driver refuses."""
    bytes_ = segment_bytes(size)
    if heap.device.held + bytes_ > heap.limit:
        return 0
    address = device_alloc(heap.machine, heap.device, bytes_)
    if not address:
        return 0
    heap.paths[state.NEW_SEGMENT] += 1
    heap.segments += 1
    return _open_block(heap, address, bytes_, stream, small, 0)


@kernel
def obtain_block(heap, size, stream, small):
    """A free block of at least `size` bytes that was not there before; 0: out of memory."""
    if heap.expandable:
        row = _expand(heap, size, stream, small)
        if not row:
            empty(heap)
            heap.paths[state.RETRY] += 1
            row = _expand(heap, size, stream, small)
        return row
    if heap.gc_over != NO_LIMIT:
        _collect(heap)
    row = _of_driver(heap, size, stream, small)
    if not row and _free_oversize(heap, size, stream, small):
        row = _of_driver(heap, size, stream, small)
    if not row:
        empty(heap)
        heap.paths[state.RETRY] += 1
        row = _of_driver(heap, size, stream, small)
    return row


@kernel
def _free_segment(heap, row):
    """Give a whole block's segment back."""
    heap.paths[state.SEGMENT_FREED] += 1
    heap.segments -= 1
    leave(heap, row)
    device_free(heap.machine, heap.device, get(heap, row, AT), get(heap, row, SIZE))
    drop_block(heap, row)


@kernel
def empty(heap):
    """Give back all that is whole, of expandable segments whole units: the large pool first, each
    by stream, size, address."""
    for small in range(2):
        keys = heap.free_small if small else heap.free_large
        key = at_least(keys, 0)
        while key >= 0:
            row = row_of_key(heap, key)
            if heap.expandable:
                _unmap(heap, row)
            elif is_whole(heap, row):
                _free_segment(heap, row)
            key = at_least(keys, key + 1)


@kernel
def _collect(heap):
    """Garbage collection: whole large blocks that were not used for longer than the average, until
    what is reserved is below the threshold."""
    over = heap.device.held - heap.gc_over
    if over <= 0:
        return
    total, count, keys = 0.0, 0, heap.free_large
    key = at_least(keys, 0)
    while key >= 0:
        row = row_of_key(heap, key)
        if is_whole(heap, row):
            total += heap.large_looks - get(heap, row, BORN)
            count += 1
        key = at_least(keys, key + 1)
    freed, again = 0, True
    while freed < over and again and count > 0:
        average, again = total / count, False
        key = at_least(keys, 0)
        while key >= 0:
            row = row_of_key(heap, key)
            age = heap.large_looks - get(heap, row, BORN)
            if is_whole(heap, row) and age >= average:
                heap.paths[state.COLLECTED] += 1
                again = True
                freed += get(heap, row, SIZE)
                total -= age
                count -= 1
                _free_segment(heap, row)
            key = at_least(keys, key + 1)


@kernel
def _free_oversize(heap, size, stream, small):
    """With max_split_size: give one block back that is as large as the request and the limit, else
    several from the largest down; whether that is enough."""
    if heap.max_split == NO_LIMIT:
        return False
    keys = heap.free_small if small else heap.free_large
    wanted, done = max(size, heap.max_split), 0
    key = at_least(keys, key_of(stream, wanted, 0))
    if key >= 0 and (key & STREAM_MASK) == key_of(stream, 0, 0):
        heap.paths[state.OVERSIZE_FREED] += 1
        _free_segment(heap, row_of_key(heap, key))
        return True
    while done < wanted:
        largest, key = -1, at_least(keys, key_of(stream, heap.max_split, 0))
        while key >= 0 and (key & STREAM_MASK) == key_of(stream, 0, 0):
            largest = key
            key = at_least(keys, key + 1)
        if largest < 0:
            return False
        row = row_of_key(heap, largest)
        done += get(heap, row, SIZE)
        heap.paths[state.OVERSIZE_FREED] += 1
        _free_segment(heap, row)
    return True


@kernel(inline=True)
def unit_of(small):
    """Bytes that an expandable segment maps at once."""
    return SMALL_SEGMENT if small else LARGE_SEGMENT


@kernel
def _map(heap, row, size):
    """Memory for the first `size` bytes of a block without, in units; the block, which may have
    been merged with those beside it; 0 where the device has none."""
    unit = unit_of(get(heap, row, SMALL))
    size = (size + unit - 1) // unit * unit
    if not map_span(heap.machine, heap.device, get(heap, row, AT), size):
        return 0
    heap.paths[state.MAPPED_UNITS] += size // unit
    leave(heap, row)
    if size < get(heap, row, SIZE):
        address = get(heap, row, AT) + size
        rest = new_block(heap, address, get(heap, row, SIZE) - size, row)
        put_word(heap, row, SIZE, size)
        splice(heap, rest, row, get(heap, row, AFTER))
        enter(heap, rest)
    put_word(heap, row, BARE, 0)
    merge(heap, row, get(heap, row, BEFORE))
    merge(heap, row, get(heap, row, AFTER))
    enter(heap, row)
    return row


@kernel
def _candidate(heap, size, stream, small):
    """The first block, by address, from which a stream's segment has enough room; 0: none."""
    keys = heap.bare_small if small else heap.bare_large
    key = at_least(keys, key_of(stream, 0, 0))
    while key >= 0 and (key & STREAM_MASK) == key_of(stream, 0, 0):
        row = row_of_key(heap, key)
        before = get(heap, row, BEFORE)
        if before and not get(heap, before, USED):
            row = before
        room, at = 0, row
        while room < size and at and not get(heap, at, USED):
            room += get(heap, at, SIZE)
            at = get(heap, at, AFTER)
        if room >= size:
            return row
        key = at_least(keys, key + 1)
    return 0


@kernel
def _reserve(heap, stream, small):
    """Address space for a segment: nine eighths of the device, or less where that is too wide."""
    unit = unit_of(small)
    bytes_ = (heap.device.capacity + heap.device.capacity // 8 + unit - 1) // unit * unit
    address = reserve_span(heap.machine, heap.device, bytes_)
    while not address and bytes_ > NARROWEST:
        bytes_ = bytes_ // 2 // unit * unit
        address = reserve_span(heap.machine, heap.device, bytes_)
    if not address:
        return 0
    heap.paths[state.NEW_SEGMENT] += 1
    heap.segments += 1
    return _open_block(heap, address, bytes_, stream, small, 1)


@kernel
def _expand(heap, size, stream, small):
    """A block of an expandable segment that has grown to at least `size` bytes; 0 where limit or
    device refuses."""
    if heap.device.held + segment_bytes(size) > heap.limit or size > heap.device.capacity:
        return 0
    row = _candidate(heap, size, stream, small)
    if not row:
        row = _reserve(heap, stream, small)
        if not row or get(heap, row, SIZE) < size:
            return 0
    if get(heap, row, BARE):
        row = _map(heap, row, min(get(heap, row, SIZE), size))
    while row and get(heap, row, SIZE) < size:
        after = get(heap, row, AFTER)
        row = _map(heap, after, min(size - get(heap, row, SIZE), get(heap, after, SIZE)))
    return row


@kernel
def _unmap(heap, row):
    """Take the memory of the whole units of a free block; a segment without any is given up."""
    unit, base = unit_of(get(heap, row, SMALL)), get(heap, row, SEGMENT)
    at, past = get(heap, row, AT), get(heap, row, AT) + get(heap, row, SIZE)
    first = base + (at - base + unit - 1) // unit * unit
    end = base + (past - base) // unit * unit
    if first >= end:
        return
    heap.paths[state.UNMAPPED] += (end - first) // unit
    leave(heap, row)
    unmap_span(heap.machine, heap.device, first, end - first)
    if first > at:
        head = new_block(heap, at, first - at, row)
        splice(heap, head, get(heap, row, BEFORE), row)
        enter(heap, head)
    if past > end:
        tail = new_block(heap, end, past - end, row)
        splice(heap, tail, row, get(heap, row, AFTER))
        enter(heap, tail)
    put_word(heap, row, AT, first)
    put_word(heap, row, SIZE, end - first)
    put_word(heap, row, BARE, 1)
    heap.row_at[unsigned(first >> state.GRANULE_SHIFT)] = row
    merge(heap, row, get(heap, row, BEFORE))
    merge(heap, row, get(heap, row, AFTER))
    if is_whole(heap, row):
        heap.paths[state.SEGMENT_FREED] += 1
        heap.segments -= 1
        release_span(heap.machine, get(heap, row, AT), get(heap, row, SIZE))
        drop_block(heap, row)
    else:
        enter(heap, row)
