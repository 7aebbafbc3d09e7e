"""Arenas: 64 pools mapped at once, used up fewest free pools first, unmapped when wholly free.

    take_pool ─► first usable arena: its newest freed pool, else the next one carved
                   └none─► map one; the table of arena objects doubles when it is full
    give_pool ─► the arena's newest free pool; the arena wholly free and not the last: unmapped
                   └► else to the right, past all that have fewer free pools

Invariant  see `invariants.py` (check: 1-5)
Source     CPython Objects/obmalloc.c: new_arena, allocate_from_new_pool, insert_to_freepool
Omits      arenas of another size or from another source (PyObject_SetArenaAllocator; 3.15's huge
           pages)
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.ground import give_back_mapped, obtain, obtain_mapped, resize
from heapwright.managers.runtime.pymalloc import state
from heapwright.managers.runtime.pymalloc.address_map import mark
from heapwright.managers.runtime.pymalloc.state import (
    ALIGN_BYTES,
    FIRST_ROWS,
    HEADER_BYTES,
    MOST_ARENAS,
    NEXT,
    NO_CLASS,
    OWNER,
    ROW_BYTES,
    ROW_MASK,
    first_pool,
)


@kernel
def take_pool(heap, thread):
    """Address of a pool that is not in use; 0 where the system refuses."""
    arenas, last_with = heap.arenas, heap.last_with
    row = unsigned(heap.usable)
    if not heap.usable:
        fresh = _new_arena(heap, thread)
        if not fresh:
            return 0
        row = unsigned(fresh)
        heap.usable = fresh
        arenas.next[row] = arenas.previous[row] = 0
        last_with[unsigned(arenas.free[row])] = fresh
    free = arenas.free[row]
    if last_with[unsigned(free)] == heap.usable:
        last_with[unsigned(free)] = 0
    if free > 1:  # it has the fewest, so it is the only one with one less
        last_with[unsigned(free - 1)] = heap.usable
    pool = arenas.newest[row]
    if pool:
        arenas.newest[row] = load(heap.machine, pool + NEXT)
    else:
        heap.paths[state.POOL_CARVED] += 1
        pool = arenas.next_pool[row]
        arenas.next_pool[row] = pool + heap.pool_bytes
        touch(heap.machine, pool, HEADER_BYTES)
        store(heap.machine, pool + OWNER, heap.usable | (NO_CLASS << 32))
    arenas.free[row] = free - 1
    if free == 1:
        heap.usable = arenas.next[row]
        arenas.previous[unsigned(heap.usable)] = 0
    return pool


@kernel(cold=True)
def _new_arena(heap, thread):
    """The row of an arena that was just mapped; 0 where refused."""
    arenas = heap.arenas
    if not heap.unused and not _grow_table(heap, thread):
        return 0
    base = obtain_mapped(heap.machine, thread, heap.arena_bytes)
    if not base:
        return 0
    if not mark(heap, thread, base, 1):
        give_back_mapped(heap.machine, base, heap.arena_bytes)
        return 0
    number = heap.unused
    row = unsigned(number)
    heap.unused = arenas.next[row]
    heap.paths[state.ARENA] += 1
    heap.mapped += 1
    heap.most = max(heap.most, heap.mapped)
    arenas.base[row], arenas.newest[row] = base, 0
    arenas.next_pool[row] = first = first_pool(heap, row)
    arenas.free[row] = (base + heap.arena_bytes - first) // heap.pool_bytes
    arenas.pools[row] = arenas.free[row]
    return number


@kernel(cold=True)
def _grow_table(heap, thread):
    """Double the table; whether its memory was to be had."""
    old, rows = heap.rows, max(FIRST_ROWS, 2 * heap.rows)
    if rows >= MOST_ARENAS:
        return False
    if old:
        table = resize(heap.machine, thread, heap.table, old * ROW_BYTES, rows * ROW_BYTES)
    else:
        table = obtain(heap.machine, thread, rows * ROW_BYTES, ALIGN_BYTES)
    if not table:
        return False
    touch(heap.machine, table, rows * ROW_BYTES)
    heap.table, heap.rows = table, rows
    for row in range(old + 1, rows):
        heap.arenas.next[unsigned(row)] = row + 1
    heap.arenas.next[unsigned(rows)] = 0
    heap.unused = old + 1
    return True


@kernel
def give_pool(heap, pool):
    """Take back a pool whose blocks are all free."""
    arenas, last_with = heap.arenas, heap.last_with
    number = load(heap.machine, pool + OWNER) & ROW_MASK
    row = unsigned(number)
    store(heap.machine, pool + NEXT, arenas.newest[row])
    arenas.newest[row] = pool
    had = arenas.free[row]
    last = last_with[unsigned(had)]
    if last == number:
        before = arenas.previous[row]
        same = before != 0 and arenas.free[unsigned(before)] == had
        last_with[unsigned(had)] = before if same else 0
    free = had + 1
    arenas.free[row] = free
    if free == arenas.pools[row] and arenas.next[row]:
        _unlink(heap, number)
        _free_arena(heap, number)
    elif free == 1:
        heap.paths[state.ARENA_AVAILABLE] += 1
        arenas.next[row], arenas.previous[row] = heap.usable, 0
        if heap.usable:
            arenas.previous[unsigned(heap.usable)] = number
        heap.usable = number
        if not last_with[1]:
            last_with[1] = number
    else:
        if not last_with[unsigned(free)]:
            last_with[unsigned(free)] = number
        if last != number:
            heap.paths[state.ARENA_MOVED] += 1
            _unlink(heap, number)
            _link_after(heap, last, number)


@kernel
def _unlink(heap, number):
    """Take an arena out of the usable ones."""
    arenas = heap.arenas
    before, after = arenas.previous[unsigned(number)], arenas.next[unsigned(number)]
    if before:
        arenas.next[unsigned(before)] = after
    else:
        heap.usable = after
    if after:
        arenas.previous[unsigned(after)] = before


@kernel
def _link_after(heap, before, number):
    """Put an arena behind another among the usable ones."""
    arenas = heap.arenas
    after = arenas.next[unsigned(before)]
    arenas.next[unsigned(number)], arenas.previous[unsigned(number)] = after, before
    arenas.next[unsigned(before)] = number
    if after:
        arenas.previous[unsigned(after)] = number


@kernel(cold=True)
def _free_arena(heap, number):
    """Unmap an arena; its row is the next one to be used."""
    heap.paths[state.ARENA_FREED] += 1
    arenas, row = heap.arenas, unsigned(number)
    base = arenas.base[row]
    mark(heap, 0, base, 0)
    give_back_mapped(heap.machine, base, heap.arena_bytes)
    arenas.base[row] = 0
    arenas.next[row] = heap.unused
    heap.unused = number
    heap.mapped -= 1
