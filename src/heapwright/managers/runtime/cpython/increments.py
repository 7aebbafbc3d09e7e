"""The incremental collector of 3.14.0 to 3.14.4: the old generation is looked through bit by bit.

    mark       the first increment of a round: all that frames and globals reach is visited
    increment  the young, and from the old that is not visited objects with all that they reach,
               until as many as there is work: what is collected is deduced of these alone
    round      nothing old is left that is not visited: the two old spaces change places

Terms      visited: which of the rings MIDDLE and OLD holds what this round has looked at; the flag
           SPACE of an object says to which it belongs; work: objects that are owed
Source     CPython 3.14.0, Python/gc.c
Omits      frames that were marked before and are not marked again: here every increment marks all

No interpreter of these releases was within reach: the rules are read, not run.
"""

from heapwright.collectors.mutator import root_at, root_count
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.cpython.cycle import begin, end, gather, look_through, untrack
from heapwright.managers.runtime.cpython.heads import (
    INCREMENT,
    MIDDLE,
    OLD,
    PERMANENT,
    SPACE,
    STILL,
    TUPLES,
    YOUNG,
    append,
    clear_flag,
    following,
    has,
    is_empty,
    is_tracked,
    merge,
    move,
    node,
    remove,
    set_flag,
    size,
)
from heapwright.managers.runtime.cpython.state import GENERATIONS

SCAN_DIVISOR = 10
LEAST_FACTOR = 2


@kernel(inline=True)
def _visited_ring(heap):
    return MIDDLE + heap.visited


@kernel(inline=True)
def _other_ring(heap):
    return OLD - heap.visited


@kernel(inline=True)
def join(heap, address):
    """A newborn object is of the space that is not visited."""
    if heap.visited:
        clear_flag(heap.heads, address, SPACE)
    else:
        set_flag(heap.heads, address, SPACE)


@kernel
def _set_space(heap, ring, space):
    """All of a ring is of this space from now on."""
    heads, address = heap.heads, following(heap.heads, node(ring))
    while address != node(ring):
        if space:
            set_flag(heads, address, SPACE)
        else:
            clear_flag(heads, address, SPACE)
        address = following(heads, address)


@kernel
def _visit(heap, address, ring):
    """Move a tracked object that is not visited to a ring; how many that were."""
    heads = heap.heads
    if not is_tracked(heads, address) or has(heads, address, SPACE) == (heap.visited == 1):
        return 0
    if heap.visited:
        set_flag(heads, address, SPACE)
    else:
        clear_flag(heads, address, SPACE)
    move(heads, address, ring)
    return 1


@kernel
def _visit_members(heap, address, ring):
    found = 0
    for row in range(gather(heap, address)):
        found += _visit(heap, heap.found[unsigned(row)], ring)
    return found


@kernel
def _mark_roots(heap):
    """Move what the program's roots reach to the visited ring; how many objects."""
    heads, found = heap.heads, 0
    for index in range(root_count(heap.mutator)):
        address = root_at(heap.mutator, index)
        if address:
            found += _visit(heap, address, STILL)
    while not is_empty(heads, STILL):
        address = following(heads, node(STILL))
        remove(heads, address)
        append(heads, address, _visited_ring(heap))
        found += _visit_members(heap, address, STILL)
    return found


@kernel
def _owed(heap):
    """Work that the births since the last increment bring."""
    factor = max(heap.thresholds[1], LEAST_FACTOR)
    born = heap.counts[0]
    share = heap.heap_size // SCAN_DIVISOR // factor
    heap.counts[0] = 0
    return born + min(share, born * 2)


@kernel
def increment(heap):
    """An increment, as the count of the young brings it; how many objects were collected."""
    begin(heap, MIDDLE)
    heap.work += _owed(heap)
    untrack(heap, YOUNG, TUPLES)
    collected = uncollectable = 0
    if heap.marking:
        heap.work -= 2 * _mark_roots(heap)
        heap.marking = 0
    else:
        collected, uncollectable = _look_further(heap)
    end(heap, MIDDLE, collected, uncollectable)
    return collected


@kernel
def _look_further(heap):
    """(collected, uncollectable) of the young and a part of the old."""
    heads = heap.heads
    heap.work -= _mark_roots(heap)
    _set_space(heap, YOUNG, heap.visited)
    merge(heads, YOUNG, INCREMENT)
    taken, other = size(heads, INCREMENT), _other_ring(heap)
    while taken < heap.work and not is_empty(heads, other):
        address = following(heads, node(other))
        taken += _visit(heap, address, INCREMENT)
        while address != node(INCREMENT):
            taken += _visit_members(heap, address, INCREMENT)
            address = following(heads, address)
    collected, uncollectable = look_through(heap, INCREMENT, _visited_ring(heap))
    heap.work -= taken
    if is_empty(heads, other):
        _next_round(heap)
    return collected, uncollectable


@kernel
def _next_round(heap):
    """All that is old was looked at: it is not visited now."""
    if is_empty(heap.heads, PERMANENT):
        old = heap.visited
        heap.visited = 1 - old
        _set_space(heap, YOUNG, old)
    else:
        merge(heap.heads, _visited_ring(heap), _other_ring(heap))
        _set_space(heap, _other_ring(heap), 1 - heap.visited)
    heap.work = 0
    heap.marking = 1


@kernel
def collect_young(heap):
    """gc.collect(0)."""
    begin(heap, YOUNG)
    untrack(heap, YOUNG, TUPLES)
    _set_space(heap, YOUNG, heap.visited)
    collected, uncollectable = look_through(heap, YOUNG, _visited_ring(heap))
    heap.counts[0] = 0
    heap.counts[1 + heap.visited] += 1
    end(heap, YOUNG, collected, uncollectable)
    return collected


@kernel
def collect_all(heap):
    """gc.collect()."""
    begin(heap, OLD)
    heads, visited = heap.heads, _visited_ring(heap)
    untrack(heap, YOUNG, TUPLES)
    merge(heads, YOUNG, _other_ring(heap))
    _set_space(heap, _other_ring(heap), heap.visited)
    merge(heads, _other_ring(heap), visited)
    collected, uncollectable = look_through(heap, visited, visited)
    for generation in range(GENERATIONS):
        heap.counts[generation] = 0
    _next_round(heap)
    end(heap, OLD, collected, uncollectable)
    return collected


@kernel
def frozen_space(heap):
    """Before all rings become permanent: what is frozen counts as visited."""
    for ring in (YOUNG, MIDDLE, OLD):
        _set_space(heap, ring, heap.visited)
