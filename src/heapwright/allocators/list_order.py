"""A list of free blocks in address, LIFO or FIFO order, and the indexes that spare its walk.

    list       ─► block ─► block ─► block ─►
    position    12         40        97         ascending along the list; gaps are no matter

Modelled   the list
Simulator  `tree` holds each free block's size at its position, and `keys` (kept where asked) holds
           size and position in order; neither is counted memory. A position is the block's
           address / 16 in address order; else a serial number, falling for LIFO and rising for
           FIFO, which the block keeps in its first link
Invariant  checked by `allocators/free_list.py`
Source     Knuth 2.5; the indexes are `structures/ranked_tree.py` and `structures/sorted_keys.py`
Omits      lists by size: see `segregated_bins.py`
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.boundary_tags import ALIGN_BYTES, HEAD_BYTES, Tags, boundary_tags
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import Machine, load, store
from heapwright.machine.ground import LOWEST, PAST
from heapwright.structures import ranked_tree, sorted_keys
from heapwright.structures.ranked_tree import RankedTree, put
from heapwright.structures.sorted_keys import SortedKeys

ADDRESS_ORDER, LIFO_ORDER, FIFO_ORDER = range(3)
IMMEDIATE, DEFERRED = range(2)

POSITIONS = (PAST - LOWEST) // ALIGN_BYTES
FEWEST_SERIALS = 1 << 16  # positions of a LIFO or FIFO list before they are numbered anew
POSITION_BITS = 32  # of a key of SortedKeys: units << POSITION_BITS | position


@record(
    "order",  # setting
    "coalescing",  # setting
    "trim_bytes",  # setting: give the last free block back from this size on; 0: never
    "sized",  # setting: 1 when `keys` is kept
    "rover",  # position where next fit goes on
    "serial",  # next position of a LIFO or FIFO list
    "serials",  # positions in use: 0 <= position < serials
    "unmerged",  # blocks freed since the last sweep
)
class FreeList(NamedTuple):
    """A heap and the list of its free blocks."""

    machine: Machine
    tags: Tags
    tree: RankedTree  # by position: size in units of 16 bytes
    keys: SortedKeys  # (size, position) of each free block
    block: np.ndarray  # int64[position]  address; unused in address order
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken; EXAMINED: blocks


def free_list(machine, config, paths, sized=False):
    """An empty heap that counts `paths` paths; `sized` keeps `keys`.

    `config` has order, coalescing, growth_bytes and trim_bytes.

    Raises HeapwrightError on a value that names no order or coalescing.
    """
    if config.order not in range(3):
        raise HeapwrightError(f"order is 0 (address), 1 (LIFO) or 2 (FIFO), not {config.order}.")
    if config.coalescing not in range(2):
        raise HeapwrightError(
            f"coalescing is 0 (immediate) or 1 (deferred), not {config.coalescing}."
        )
    if config.growth_bytes < 0 or config.trim_bytes < 0:
        raise HeapwrightError("growth_bytes and trim_bytes are not negative.")
    fields = words(
        FreeList,
        order=config.order,
        coalescing=config.coalescing,
        trim_bytes=config.trim_bytes,
        sized=sized,
        serials=FEWEST_SERIALS,
        serial=FEWEST_SERIALS - 1 if config.order == LIFO_ORDER else 0,
    )
    return FreeList(
        machine,
        boundary_tags(machine, config.growth_bytes),
        ranked_tree.ranked_tree(POSITIONS),
        sorted_keys.sorted_keys(POSITIONS if sized else 0),
        reserve(POSITIONS if config.order != ADDRESS_ORDER else 0, np.int64),
        fields,
        np.zeros(paths, np.int64),
    )


@kernel(inline=True)
def place_of(block):
    """Position of a block in address order."""
    return (block - LOWEST) >> 4


@kernel
def position_of(heap, block):
    """Position of the listed `block`."""
    if heap.order == ADDRESS_ORDER:
        return place_of(block)
    return load(heap.machine, block + HEAD_BYTES)


@kernel
def block_at(heap, position):
    """The block listed at `position`."""
    if heap.order == ADDRESS_ORDER:
        return LOWEST + (position << 4) + HEAD_BYTES
    return heap.block[unsigned(position)]


@kernel
def set_size(heap, position, size):
    """Enter `size` at `position` in the indexes; 0 takes it out."""
    if heap.sized:
        old = ranked_tree.size_at(heap.tree, position)
        if old:
            sorted_keys.remove(heap.keys, old << POSITION_BITS | position)
        if size:
            sorted_keys.insert(heap.keys, (size >> 4) << POSITION_BITS | position)
    put(heap.tree, position, size >> 4)


@kernel
def enter(heap, block, size):
    """List a free block where its order says."""
    if heap.order == ADDRESS_ORDER:
        set_size(heap, place_of(block), size)
        return
    if heap.serial < 0 or heap.serial >= heap.serials:
        renumber(heap)
    position = heap.serial
    heap.serial += 1 if heap.order == FIFO_ORDER else -1
    heap.block[unsigned(position)] = block
    store(heap.machine, block + HEAD_BYTES, position)
    set_size(heap, position, size)


@kernel
def leave(heap, block):
    """Take a block off the list."""
    set_size(heap, position_of(heap, block), 0)


@kernel
def replace(heap, old, new, size):
    """Put block `new` of `size` bytes in the list's place of `old`, which it overlaps."""
    if heap.order == ADDRESS_ORDER:
        if old != new:
            set_size(heap, place_of(old), 0)
        set_size(heap, place_of(new), size)
        return
    position = load(heap.machine, old + HEAD_BYTES)
    heap.block[unsigned(position)] = new
    store(heap.machine, new + HEAD_BYTES, position)
    set_size(heap, position, size)


@kernel
def renumber(heap):
    """Number the listed blocks anew, without gaps, leaving at least as many serials again free."""
    old_past, live = heap.serials, ranked_tree.total(heap.tree)
    while live * 4 > heap.serials:
        heap.serials *= 2
    rover = -1
    lifo = heap.order == LIFO_ORDER
    target = heap.serials - 1 if lifo else 0
    for i in range(old_past):
        position = old_past - 1 - i if lifo else i
        if lifo and position < heap.rover and rover < 0:
            rover = target + 1  # the first block at or after the old rover
        if not lifo and position >= heap.rover and rover < 0:
            rover = target
        size = ranked_tree.size_at(heap.tree, position) << 4
        if size:
            block = heap.block[unsigned(position)]
            set_size(heap, position, 0)
            heap.block[unsigned(target)] = block
            store(heap.machine, block + HEAD_BYTES, target)
            set_size(heap, target, size)
            target += -1 if lifo else 1
    heap.rover = rover if rover >= 0 else target + 1 if lifo else target
    heap.serial = target
