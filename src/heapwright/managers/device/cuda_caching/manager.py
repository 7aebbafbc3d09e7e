"""PyTorch's caching allocator for CUDA (2.6), over a device: which block, which segment, when.

    alloc ─► pool's smallest free block of the stream that fits, split ─none─► a segment
    free  ─► merged with free neighbours, into the pool; memory goes back when a request finds none

Terms      stream: a trace's thread; pool: small blocks up to 1 MiB, large ones; whole: a free block
           that is all of its segment
Invariant  blocks of a segment follow each other and no two free ones alike do (check: 1); free
           blocks are in their pool's set and no other (2); what is mapped is what the driver gave
           (3)
Source     PyTorch 2.6 c10/cuda/CUDACachingAllocator.cpp; parts in the files beside
Omits      streams that use each other's blocks: a block is free when the snapshot says that its
           free was completed; pools of CUDA graphs, peers, cudaMallocAsync; where cudaMalloc puts a
           segment, which decides between blocks of equal size
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, counters, metadata, write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import copy
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.machine.device import MOST_CAPACITY_BYTES, device
from heapwright.managers.device.cuda_caching import state
from heapwright.managers.device.cuda_caching.invariants import check, statistics
from heapwright.managers.device.cuda_caching.segments import (
    STREAM_MASK,
    empty,
    obtain_block,
    unit_of,
)
from heapwright.managers.device.cuda_caching.state import (
    AFTER,
    AT,
    BARE,
    BEFORE,
    GRANULE_BYTES,
    GRANULE_SHIFT,
    MIB,
    MOST_BLOCKS,
    MOST_STREAMS,
    NO_LIMIT,
    PATHS,
    ROW_SHIFT,
    SEGMENT,
    SIZE,
    SLACK_BYTES,
    SMALL,
    SMALL_BYTES,
    USED,
    Heap,
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
from heapwright.structures.sorted_keys import at_least, sorted_keys

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "check",
    "extent",
    "free",
    "metadata",
    "notes",
    "realloc",
    "statistics",
    "trim",
    "usable",
]

MOST_KEYS = 1 << 18
LEAST_SPLIT_MB = 20  # max_split_size_mb below is refused
MOST_DIVISIONS = 64
PERCENT = 100


class Config(NamedTuple):
    """PYTORCH_CUDA_ALLOC_CONF, torch.cuda.set_per_process_memory_fraction, and the device."""

    max_split_size_mb: int = 0  # larger blocks are not split; 0: any is, else from 21 on
    roundup_power2_divisions: int = 0  # sizes between powers of two, a power of two; 0: none
    garbage_collection_threshold: int = 0  # % of the fraction from which it collects; 0: never
    expandable_segments: int = 0  # 1: a segment grows, page by page, where it lies
    per_process_memory_fraction: int = 0  # % of the device; 0: not set
    capacity_mb: int = 16 << 10  # of the device, at most 60 GiB


def boot(machine, config):
    """Nothing reserved; HeapwrightError for settings that PyTorch refuses, or a larger device."""
    _checked(config)
    capacity = config.capacity_mb * MIB
    limit = NO_LIMIT
    if config.per_process_memory_fraction:
        limit = int(config.per_process_memory_fraction / PERCENT * capacity)
    gc_over = NO_LIMIT
    if config.garbage_collection_threshold and limit != NO_LIMIT:
        gc_over = int(config.garbage_collection_threshold / PERCENT * limit)
    return Heap(
        machine,
        device(machine, capacity),
        reserve(MOST_BLOCKS << ROW_SHIFT, np.int64),
        reserve(SPACE_BYTES >> GRANULE_SHIFT, np.int32),
        sorted_keys(MOST_KEYS),
        sorted_keys(MOST_KEYS),
        sorted_keys(MOST_KEYS),
        sorted_keys(MOST_KEYS),
        words(
            Heap,
            expandable=config.expandable_segments,
            max_split=config.max_split_size_mb * MIB or NO_LIMIT,
            divisions=config.roundup_power2_divisions,
            limit=limit,
            gc_over=gc_over,
        ),
        counters(PATHS),
    )


def _checked(config):
    """HeapwrightError for a setting that does not fit."""
    split, divisions = config.max_split_size_mb, config.roundup_power2_divisions
    if split and not LEAST_SPLIT_MB < split <= SPACE_BYTES // MIB:
        raise HeapwrightError(
            f"cuda-caching.max_split_size_mb is 0 or larger than {LEAST_SPLIT_MB}, not {split}."
        )
    if not 0 <= divisions <= MOST_DIVISIONS or divisions & (divisions - 1):
        raise HeapwrightError(
            f"cuda-caching.roundup_power2_divisions is 0 or a power of two up to {MOST_DIVISIONS}, "
            f"not {divisions}."
        )
    for knob, most in (
        ("garbage_collection_threshold", PERCENT - 1),
        ("per_process_memory_fraction", PERCENT),
        ("expandable_segments", 1),
    ):
        if not 0 <= (value := getattr(config, knob)) <= most:
            raise HeapwrightError(f"cuda-caching.{knob} is 0 to {most}, not {value}.")
    if not 1 <= config.capacity_mb <= MOST_CAPACITY_BYTES // MIB:
        raise HeapwrightError(
            f"cuda-caching.capacity_mb is 1 to {MOST_CAPACITY_BYTES // MIB:,}, not "
            f"{config.capacity_mb:,}: a larger device has no room in the model's address space."
        )


def notes(heap):
    """What its figures mean, in sentences."""
    told = statistics(heap)
    said = [
        "Resident is what is reserved of the device; cached what emptying the cache would give "
        "back; retained what lies free between blocks and cannot go back."
    ]
    if told["ooms"]:
        said.append(
            f"Out of memory {told['ooms']:,} times on a device of {heap.device.capacity // MIB:,} "
            "MiB (capacity_mb), after all that was cached had been given back."
        )
    if told["aligned"]:
        said.append(f"Refused {told['aligned']:,} requests aligned beyond 512 bytes.")
    return said


@kernel
def rounded(heap, size):
    """What a request is rounded up to: 512 bytes, or a division of its power of two."""
    divisions = heap.divisions
    if divisions > 1 and size > GRANULE_BYTES * divisions:
        part = (1 << (bit_length(size) - 1)) // divisions
        return (size + part - 1) & -part
    return max((size + GRANULE_BYTES - 1) & -GRANULE_BYTES, GRANULE_BYTES)


@kernel
def alloc(heap, thread, size, align):
    """A block of the stream `thread`; 0: out of memory."""
    heap.paths[state.ALLOC] += 1
    if align > GRANULE_BYTES:
        heap.paths[state.ALIGNED] += 1
        return 0
    size, stream = rounded(heap, size), thread & (MOST_STREAMS - 1)
    small = 1 if size <= SMALL_BYTES else 0
    row = 0
    if unsigned(size) < unsigned(SPACE_BYTES):
        row = _find(heap, size, stream, small)
    if row:
        heap.paths[state.FOUND] += 1
    else:
        row = obtain_block(heap, size, stream, small)
        if not row:
            heap.paths[state.OOM] += 1
            return 0
    leave(heap, row)
    _split(heap, row, size, small)
    put_word(heap, row, USED, 1)
    heap.allocated += get(heap, row, SIZE)
    return get(heap, row, AT)


@kernel
def _find(heap, size, stream, small):
    """The pool's first free block that fits, by size and address; 0 where it may not be used."""
    if heap.gc_over != NO_LIMIT:
        if small:
            heap.small_looks += 1
        else:
            heap.large_looks += 1
    keys = heap.free_small if small else heap.free_large
    own = key_of(stream, 0, 0)
    key = at_least(keys, key_of(stream, size, 0))
    if key < 0 or (key & STREAM_MASK) != own:
        return 0
    row = row_of_key(heap, key)
    if heap.expandable:
        key = at_least(keys, key + 1)
        while key >= 0 and (key & STREAM_MASK) == own:
            further = row_of_key(heap, key)
            if _room(heap, further) >= _room(heap, row):
                break
            row = further
            key = at_least(keys, key + 1)
    found = get(heap, row, SIZE)
    if size < heap.max_split <= found:
        return 0
    return 0 if size >= heap.max_split and found >= size + SLACK_BYTES else row


@kernel
def _room(heap, row):
    """Bytes that a block can grow to where its segment goes on without memory."""
    after = get(heap, row, AFTER)
    more = get(heap, after, SIZE) if after and get(heap, after, BARE) else 0
    return get(heap, row, SIZE) + more


@kernel
def _split(heap, row, size, small):
    """Leave what a block has too much to the pool, if that is worth a block."""
    rest = get(heap, row, SIZE) - size
    if small or heap.expandable:
        if rest < GRANULE_BYTES:
            return
    elif size >= heap.max_split or rest <= SMALL_BYTES:
        return
    heap.paths[state.SPLIT] += 1
    other = new_block(heap, get(heap, row, AT) + size, rest, row)
    splice(heap, other, row, get(heap, row, AFTER))
    put_word(heap, row, SIZE, size)
    enter(heap, other)


@kernel
def free(heap, thread, address):
    """The block is free for its stream, merged with free neighbours."""
    heap.paths[state.FREE] += 1
    row = np.int64(heap.row_at[unsigned(address >> GRANULE_SHIFT)])
    heap.allocated -= get(heap, row, SIZE)
    put_word(heap, row, USED, 0)
    merge(heap, row, get(heap, row, BEFORE))
    merge(heap, row, get(heap, row, AFTER))
    enter(heap, row)


@kernel
def realloc(heap, thread, address, size):
    """A new block, a copy, and the old one freed: a device has no other."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(usable(heap, address, 0), size))
        free(heap, thread, address)
    return moved


@kernel
def trim(heap, pad):
    """torch.cuda.empty_cache(): bytes that went back to the driver."""
    held = heap.device.held
    empty(heap)
    return held - heap.device.held


@kernel
def usable(heap, address, size):
    """The block's bytes."""
    return get(heap, np.int64(heap.row_at[unsigned(address >> GRANULE_SHIFT)]), SIZE)


@kernel
def extent(heap, address, size):
    """The block."""
    return address, usable(heap, address, size)


@kernel
def cached(heap, blocks):
    """What emptying the cache gives back: whole blocks, of expandable segments whole units."""
    count = 0
    for row in range(1, heap.rows + 1):
        size = get(heap, row, SIZE)
        if not size or get(heap, row, USED) or get(heap, row, BARE):
            continue
        at, past = get(heap, row, AT), get(heap, row, AT) + size
        if heap.expandable:
            unit, base = unit_of(get(heap, row, SMALL)), get(heap, row, SEGMENT)
            at = base + (at - base + unit - 1) // unit * unit
            past = base + (past - base) // unit * unit
        elif not is_whole(heap, row):
            continue
        if past > at:
            count = write_row(blocks, count, at, past - at)
    return count
