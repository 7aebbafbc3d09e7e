"""The game of placement: an adversary asks and frees, a policy places, and the heap only grows.

    a state is the set of live blocks: two masks of HEAP_UNITS bits, starts << HEAP_UNITS | occupied
    moves      ask for a block of one of the sizes while at most M units stay live; free any block
    explore    every state that a fixed policy can be driven to, breadth first
    settle     every state that any policy could reach, and those in which it is not yet lost

For a policy whose next placement depends on the live blocks alone (immediate merging, address
order) this is the whole game, exactly; nothing is sampled.

Source     Robson 1974, "Bounds for some functions concerning dynamic storage allocation": the game
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count, bit_length
from heapwright.compiler.reserve import reserve

HEAP_UNITS = 31  # of a mask: two of them fill an int64 that is never negative
OCCUPIED = (1 << HEAP_UNITS) - 1

FIRST_FIT, BEST_FIT, LOWEST_ALIGNED = range(3)

# Table.fields
(
    COUNT,  # states found
    NEXT,  # the first state whose moves were not yet made
    WORST_UNITS,  # highest end of any block so far
    WORST_STATE,  # from which state
    WORST_SIZE,  # by asking for how many units
    CUT,  # 1 when a placement went past HEAP_UNITS or the table was full: not exhaustive
    FIELDS,
) = range(7)


class Table(NamedTuple):
    """The states found, in the order of their discovery, and where each is."""

    state: np.ndarray  # int64[row]
    parent: np.ndarray  # int32[row]  row of the state that led here
    row: np.ndarray  # int32[slot]  row + 1 of the state that hashes here, 0 while empty
    lost: np.ndarray  # uint8[row]  1 when the adversary wins from here; of `settle` only
    fields: np.ndarray  # int64[FIELDS]


def table(rows: int) -> Table:
    """Room for `rows` states, a power of two; the memory is not used before it is needed."""
    fresh = Table(
        reserve(rows, np.int64),
        reserve(rows, np.int32),
        reserve(2 * rows, np.int32),
        reserve(rows, np.uint8),
        np.zeros(FIELDS, np.int64),
    )
    fresh.fields[COUNT] = 1  # the empty heap
    fresh.row[0] = 1  # where `_find` looks for state 0
    return fresh


@kernel
def _find(states, state):
    """The slot of `state`: its row's, or the empty one where it belongs."""
    low, high = state & OCCUPIED, state >> HEAP_UNITS
    mask = len(states.row) - 1
    slot = ((low * 1_640_531_527 + high * 2_036_219_321) >> 17) & mask
    while True:
        row = states.row[unsigned(slot)]
        if row == 0 or states.state[unsigned(row - 1)] == state:
            return slot
        slot = (slot + 1) & mask


@kernel
def _enter(states, state, parent):
    """Note `state` if it is new and there is room."""
    slot = _find(states, state)
    if states.row[unsigned(slot)]:
        return
    row = states.fields[COUNT]
    if row == len(states.state):
        states.fields[CUT] = 1
        return
    states.state[unsigned(row)] = state
    states.parent[unsigned(row)] = parent
    states.row[unsigned(slot)] = row + 1
    states.fields[COUNT] = row + 1


@kernel
def place(policy, occupied, size):
    """Where the policy puts `size` units; the open end of the heap is its last resort."""
    if policy == LOWEST_ALIGNED:
        start = 0
        while (occupied >> start) & ((1 << size) - 1):
            start += size
        return start
    top = bit_length(occupied)
    chosen, least = top, HEAP_UNITS + 1
    start = 0
    while start < top:
        if (occupied >> start) & 1:
            start += 1
            continue
        past = start
        while not (occupied >> past) & 1:
            past += 1
        if size <= past - start < least:
            chosen, least = start, past - start
            if policy == FIRST_FIT:
                break
        start = past
    return chosen


@kernel
def with_block(state, start, size):
    """The state with a block of `size` units at `start`."""
    return state | (1 << (start + HEAP_UNITS)) | (((1 << size) - 1) << start)


@kernel
def block_units(state, start):
    """Units of the block at `start`."""
    occupied, starts = state & OCCUPIED, state >> HEAP_UNITS
    past = start + 1
    while (occupied >> past) & 1 and not (starts >> past) & 1:
        past += 1
    return past - start


@kernel
def without_block(state, start):
    """The state without the block at `start`."""
    units = block_units(state, start)
    return state & ~(1 << (start + HEAP_UNITS)) & ~(((1 << units) - 1) << start)


@kernel
def explore(states, policy, most_live, sizes, rows):
    """Make every move from the next `rows` states; whether any are left after that."""
    fields = states.fields
    stop = fields[NEXT] + rows
    while fields[NEXT] < min(stop, fields[COUNT]):
        parent = fields[NEXT]
        state = np.int64(states.state[unsigned(parent)])
        occupied, starts = state & OCCUPIED, state >> HEAP_UNITS
        live = bit_count(occupied)
        for i in range(len(sizes)):
            size = np.int64(sizes[i])
            if live + size > most_live:
                continue
            start = place(policy, occupied, size)
            if start + size > fields[WORST_UNITS]:
                fields[WORST_UNITS] = start + size
                fields[WORST_STATE], fields[WORST_SIZE] = parent, size
            if start + size > HEAP_UNITS:
                fields[CUT] = 1
                continue
            _enter(states, with_block(state, start, size), parent)
        for start in range(bit_length(starts)):
            if (starts >> start) & 1:
                _enter(states, without_block(state, start), parent)
        fields[NEXT] += 1
    return fields[NEXT] < fields[COUNT]


@kernel
def spread(states, heap_units, most_live, sizes, rows):
    """`explore` for a policy that may place anywhere below `heap_units`."""
    fields = states.fields
    stop = fields[NEXT] + rows
    while fields[NEXT] < min(stop, fields[COUNT]):
        state = np.int64(states.state[unsigned(fields[NEXT])])
        live = bit_count(state & OCCUPIED)
        for i in range(len(sizes)):
            size = np.int64(sizes[i])
            if live + size > most_live:
                continue
            for start in range(heap_units - size + 1):
                if not (state >> start) & ((1 << size) - 1):
                    _enter(states, with_block(state, start, size), fields[NEXT])
        fields[NEXT] += 1
    return fields[NEXT] < fields[COUNT]


@kernel
def _is_lost(states, state, heap_units, most_live, sizes):
    """Whether one move of the adversary leads to nothing but lost states."""
    for start in range(heap_units):
        if (state >> (start + HEAP_UNITS)) & 1:
            freed = states.row[unsigned(_find(states, without_block(state, start)))] - 1
            if states.lost[unsigned(freed)]:
                return True
    live = bit_count(state & OCCUPIED)
    for i in range(len(sizes)):
        size = np.int64(sizes[i])
        if live + size > most_live:
            continue
        saved = False
        for start in range(heap_units - size + 1):
            if not (state >> start) & ((1 << size) - 1):
                placed = states.row[unsigned(_find(states, with_block(state, start, size)))] - 1
                if not states.lost[unsigned(placed)]:
                    saved = True
                    break
        if not saved:
            return True
    return False


@kernel
def settle(states, heap_units, most_live, sizes):
    """Mark the lost states, from which the adversary forces a request that finds no room; how many
    were newly found in this sweep, fullest heaps first. At 0 the others are safe for ever."""
    found = 0
    for i in range(states.fields[COUNT]):
        row = states.fields[COUNT] - 1 - i
        if not states.lost[unsigned(row)]:
            state = np.int64(states.state[unsigned(row)])
            if _is_lost(states, state, heap_units, most_live, sizes):
                states.lost[unsigned(row)] = 1
                found += 1
    return found
