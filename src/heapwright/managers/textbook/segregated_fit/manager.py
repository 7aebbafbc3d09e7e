"""Segregated fit: quick lists of equal blocks over bins of mergeable ones.

    alloc ─► round up ─► quick list ─empty─► refill: cut several from one block of the bins
              │ large ──────────────────────► bins: smallest bin that surely fits; split
              └ bins empty ─► flush all quick lists, try again ─► brk, growth_bytes at a time
    free  ─► quick list ─full─► flush it to the bins, merging neighbours
              └ large ─► merged with free neighbours, to the bins

Terms      quick list: freed blocks of one class, newest first, linked through their first user
           word; to their neighbours they are in use, so their merging is deferred
Invariant  the bins' (check: 1-8); a quick list holds as many blocks as it counts, each in use to
           its neighbours and of its class's size                               (check: 9)
Source     Wilson et al. 1995, section 3.6; Weinstock & Wulf, "Quickfit", SIGPLAN Notices 1988
Omits      threads: one heap, one lock
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags, segregated_bins, size_classes
from heapwright.allocators.boundary_tags import (
    ALIGN_BYTES,
    FLAGS,
    HEAD_BYTES,
    IN_USE,
    PREVIOUS_IN_USE,
    block_bytes,
    extent,
    is_free,
    size_of,
    usable,
)
from heapwright.allocators.frame import counters, moving, none_negative, write_row
from heapwright.allocators.segregated_bins import Bins, unlink
from heapwright.allocators.size_classes import SizeClasses, class_of
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import Machine, load, store, touch

__all__ = ["extent", "usable"]

QUICK_BYTES = 32768  # largest block of a quick list
CLASS_STEPS = 8  # classes a doubling: at most 1/8 of a block is rounding

PATHS = (
    "alloc", "free", "quick_hit", "quick_put", "refill", "bin", "flush", "split", "merge", "grow",
    "trim", "in_place",
)  # fmt: skip
(
    ALLOC, FREE, QUICK_HIT, QUICK_PUT, REFILL, BIN, FLUSH, SPLIT, MERGE, GROW,
    TRIM, IN_PLACE,
) = range(12)  # fmt: skip


class Config(NamedTuple):
    """Knobs."""

    quick_blocks: int = 64  # most blocks that a quick list keeps
    refill_bytes: int = 1024  # cut at a time for an empty quick list; at least one block
    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


@record(
    "quick_blocks",  # settings
    "refill_bytes",
    "trim_bytes",
    "quick_total",  # blocks of all quick lists
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    bins: Bins
    classes: SizeClasses  # of block sizes, head included
    quick: np.ndarray  # int64[class]  newest block of each quick list, 0: none
    count: np.ndarray  # int64[class]  its length
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """An empty heap; HeapwrightError for a negative knob."""
    none_negative("segregated-fit", config)
    classes = size_classes.size_classes(QUICK_BYTES, CLASS_STEPS)
    settings = {name: getattr(config, name) for name in Heap.WORDS if hasattr(config, name)}
    return Heap(
        machine,
        segregated_bins.bins(machine, config.growth_bytes),
        classes,
        np.zeros(len(classes.bytes_of), np.int64),
        np.zeros(len(classes.bytes_of), np.int64),
        words(Heap, **settings),
        counters(PATHS),
    )


@kernel
def _rounded(heap, size):
    """Bytes of the block for a request of `size`."""
    need = block_bytes(size)
    return heap.classes.bytes_of[class_of(heap.classes, need)] if need <= QUICK_BYTES else need


@kernel
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. About 6 ns while the quick list has one."""
    heap.paths[ALLOC] += 1
    need = block_bytes(size)
    if align > ALIGN_BYTES or need > QUICK_BYTES:
        return _alloc_from_bins(heap, _rounded(heap, size), align)
    row = class_of(heap.classes, need)
    block = heap.quick[unsigned(row)]
    if not block:
        return _refill(heap, row)
    heap.paths[QUICK_HIT] += 1
    heap.quick[unsigned(row)] = load(heap.machine, block + HEAD_BYTES)
    heap.count[unsigned(row)] -= 1
    heap.quick_total -= 1
    return block + HEAD_BYTES


@kernel
def _block_of(heap, need):
    """A free block of `need` bytes or more, taken out of its bin; 0 where the system refuses."""
    block = segregated_bins.find(heap.bins, need)
    if not block and heap.quick_total:
        for row in range(heap.classes.class_of[QUICK_BYTES >> 4] + 1):
            _flush(heap, row)
        block = segregated_bins.find(heap.bins, need)
    if not block:
        block = segregated_bins.last_free(heap.bins, need)
    if not block:
        block, merges = segregated_bins.grow(heap.bins, need)
        if not block:
            return 0
        heap.paths[GROW] += 1
        heap.paths[MERGE] += merges
    unlink(heap.bins, block, size_of(heap.machine, block))
    return block


@kernel
def _refill(heap, row):
    """Cut one free block into several of class `row`: one for the caller, the rest for the list."""
    heap.paths[REFILL] += 1
    machine, need = heap.machine, heap.classes.bytes_of[row]
    block = _block_of(heap, need)
    if not block:
        return 0
    have = size_of(machine, block)
    wanted = min(heap.refill_bytes // need, heap.quick_blocks)
    blocks = max(1, min(wanted, have // need))
    heap.paths[SPLIT] += blocks - 1
    heap.paths[SPLIT] += segregated_bins.use(heap.bins, block, blocks * need, have)
    if blocks == 1:
        return block + HEAD_BYTES
    last_bytes = size_of(machine, block) - (blocks - 1) * need
    store(machine, block, need | (load(machine, block) & FLAGS))
    newer = 0
    for number in range(blocks - 1, 0, -1):  # so that the lowest is handed out first
        part = block + number * need
        touch(machine, part, 2 * HEAD_BYTES)
        size = last_bytes if number == blocks - 1 else need
        store(machine, part, size | PREVIOUS_IN_USE | IN_USE)
        if size == need:
            store(machine, part + HEAD_BYTES, newer)
            newer = part
            heap.count[row] += 1
            heap.quick_total += 1
        else:  # a rest too small for a block made the last one longer than its class
            _release(heap, part, size)
    heap.quick[row] = newer
    return block + HEAD_BYTES


@kernel
def _alloc_from_bins(heap, need, align):
    """A block of `need` bytes, head included, with its user bytes at a multiple of `align`."""
    heap.paths[BIN] += 1
    block = _block_of(heap, segregated_bins.aligned_bytes(need, align))
    if not block:
        return 0
    user, splits = segregated_bins.place(heap.bins, block, need, align)
    heap.paths[SPLIT] += splits
    return user


@kernel
def free(heap, thread, address):
    """Give the block back. About 6 ns while the quick list has room."""
    heap.paths[FREE] += 1
    block = address - HEAD_BYTES
    size = size_of(heap.machine, block)
    if size <= QUICK_BYTES:
        row = class_of(heap.classes, size)
        if heap.classes.bytes_of[unsigned(row)] == size and heap.quick_blocks:
            if heap.count[unsigned(row)] == heap.quick_blocks:
                _flush(heap, row)
            heap.paths[QUICK_PUT] += 1
            touch(heap.machine, address, HEAD_BYTES)
            store(heap.machine, address, heap.quick[unsigned(row)])
            heap.quick[unsigned(row)] = block
            heap.count[unsigned(row)] += 1
            heap.quick_total += 1
            return
    _release(heap, block, size)


@kernel
def _release(heap, block, size):
    """Merge a used block into the bins."""
    merges, trims = segregated_bins.release(heap.bins, block, size, heap.trim_bytes)
    heap.paths[MERGE] += merges
    heap.paths[TRIM] += trims


@kernel
def _flush(heap, row):
    """Merge a quick list's blocks into the bins, newest first."""
    block = heap.quick[row]
    if block:
        heap.paths[FLUSH] += 1
    heap.quick_total -= heap.count[row]
    heap.quick[row] = heap.count[row] = 0
    while block:
        older = load(heap.machine, block + HEAD_BYTES)
        _release(heap, block, size_of(heap.machine, block))
        block = older


@kernel
def resize_in_place(heap, address, size):
    """Cut the block or let it take the free one above; whether it holds `size` bytes now."""
    fits, splits, merges, trims = segregated_bins.resize_in_place(
        heap.bins, address - HEAD_BYTES, _rounded(heap, size), heap.trim_bytes
    )
    heap.paths[IN_PLACE] += fits
    heap.paths[SPLIT] += splits
    heap.paths[MERGE] += merges
    heap.paths[TRIM] += trims
    return fits


realloc = moving(alloc, free, usable, resize_in_place)


@kernel
def cached(heap, blocks):
    """The quick lists' blocks, head included."""
    rows = 0
    for row in range(heap.classes.class_of[QUICK_BYTES >> 4] + 1):
        block = heap.quick[row]
        while block:
            rows = write_row(blocks, rows, block, size_of(heap.machine, block))
            block = load(heap.machine, block + HEAD_BYTES)
    return rows


@kernel
def metadata(heap, blocks):
    """The heap's padding and fences."""
    return boundary_tags.own_memory(heap.bins.tags, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = segregated_bins.check(heap.bins)
    if broken:
        return broken
    total = 0
    for row in range(heap.classes.class_of[QUICK_BYTES >> 4] + 1):
        block, length = heap.quick[row], 0
        while block:
            if is_free(heap.machine, block):
                return 9
            if size_of(heap.machine, block) != heap.classes.bytes_of[row]:
                return 9
            length += 1
            block = load(heap.machine, block + HEAD_BYTES)
        if length != heap.count[row]:
            return 9
        total += length
    return 9 if total != heap.quick_total else 0
