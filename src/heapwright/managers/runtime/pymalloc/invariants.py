"""What holds of pymalloc between two calls: the comments of obmalloc.c, asked of the state."""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.pymalloc.address_map import is_ours
from heapwright.managers.runtime.pymalloc.state import (
    CLASSES,
    COUNT,
    HEADER_BYTES,
    NEWEST,
    NEXT,
    OFFSET,
    OWNER,
    POOLS,
    PREVIOUS,
    ROW_MASK,
    class_bytes,
    first_pool,
    pool_of,
)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none; the manager's header lists them."""
    broken = _usable(heap)
    mapped = empty = available = 0
    for row in range(1, heap.rows + 1):
        base = heap.arenas.base[unsigned(row)]
        if base and not broken:
            mapped += 1
            available += heap.arenas.free[unsigned(row)] > 0
            empty += heap.arenas.free[unsigned(row)] == heap.arenas.pools[unsigned(row)]
            first, last = base, base + heap.arena_bytes - 1
            if heap.tree and not (is_ours(heap, first) and is_ours(heap, last)):
                broken = 5
            broken = max(broken, _arena(heap, row))
    if not broken and (mapped != heap.mapped or empty > 1):
        broken = 4
    row = heap.usable
    while row and not broken:
        available -= 1
        row = heap.arenas.next[unsigned(row)]
    if not broken and available:
        broken = 4
    return broken if broken else _lists(heap)


@kernel
def _usable(heap):
    """The order of the usable arenas (1), their links (2), and the last of each number (3)."""
    arenas, row, before, seen = heap.arenas, heap.usable, 0, 0
    while row:
        free, after = arenas.free[unsigned(row)], arenas.next[unsigned(row)]
        if free < 1 or free > arenas.pools[unsigned(row)]:
            return 1
        if before and arenas.free[unsigned(before)] > free:
            return 1
        if arenas.previous[unsigned(row)] != before or not arenas.base[unsigned(row)]:
            return 2
        last = not after or arenas.free[unsigned(after)] != free
        if last and heap.last_with[unsigned(free)] != row:
            return 3
        seen += last
        before, row = row, after
    for free in range(POOLS + 1):
        seen -= heap.last_with[unsigned(free)] != 0
    return 3 if seen else 0


@kernel
def _arena(heap, row):
    """An arena's free pools, carved or not (4), and the blocks of the others (6, 7)."""
    arenas, machine, free = heap.arenas, heap.machine, 0
    pool, past = first_pool(heap, row), arenas.next_pool[unsigned(row)]
    while pool < past:
        if load(machine, pool + OWNER) & ROW_MASK != row:
            return 4
        free += load(machine, pool + COUNT) == 0
        if load(machine, pool + COUNT):
            broken = _pool(heap, pool)
            if broken:
                return broken
        pool += heap.pool_bytes
    listed, pool = 0, arenas.newest[unsigned(row)]
    while pool:
        if load(machine, pool + COUNT) or load(machine, pool + OWNER) & ROW_MASK != row:
            return 4
        listed += 1
        pool = load(machine, pool + NEXT)
    carved = (past - first_pool(heap, row)) // heap.pool_bytes
    if listed != free or arenas.free[unsigned(row)] != arenas.pools[unsigned(row)] - carved + free:
        return 4
    return 0


@kernel
def _pool(heap, pool):
    """Each block of a pool in use is used, on the list of free ones, or untouched (6, 7)."""
    machine = heap.machine
    index = load(machine, pool + OWNER) >> 32
    bytes_, offset = class_bytes(index), load(machine, pool + OFFSET)
    if index >= CLASSES or (offset - HEADER_BYTES) % bytes_ or offset > heap.pool_bytes:
        return 6
    free, block = 0, load(machine, pool + NEWEST)
    while block:
        at = block - pool - HEADER_BYTES
        if at < 0 or at % bytes_ or at + HEADER_BYTES >= offset:
            return 7
        free += 1
        block = load(machine, block)
    carved = (offset - HEADER_BYTES) // bytes_
    if free + load(machine, pool + COUNT) != carved:
        return 6
    if not free and offset <= heap.pool_bytes - bytes_:
        return 6
    return 0


@kernel
def _lists(heap):
    """The pools with a used and a free block are the lists of their classes (8, 9)."""
    machine, listed = heap.machine, 0
    for index in range(CLASSES):
        pool, before = heap.used[unsigned(index)], 0
        while pool:
            if pool_of(heap, pool) != pool or load(machine, pool + PREVIOUS) != before:
                return 8
            if load(machine, pool + OWNER) >> 32 != index or not load(machine, pool + COUNT):
                return 8
            if not load(machine, pool + NEWEST):
                return 8
            listed += 1
            before, pool = pool, load(machine, pool + NEXT)
    for row in range(1, heap.rows + 1):
        if heap.arenas.base[unsigned(row)]:
            pool, past = first_pool(heap, row), heap.arenas.next_pool[unsigned(row)]
            while pool < past:
                if load(machine, pool + COUNT) and load(machine, pool + NEWEST):
                    listed -= 1
                pool += heap.pool_bytes
    return 9 if listed else 0
