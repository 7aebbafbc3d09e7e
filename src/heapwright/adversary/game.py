"""The worst-case game against a real manager; `bind` makes a copy of this file for each.

    a state is a sequence of moves, kept as its last move and the state before
    EXPAND    back to boot ─► replay the state's moves ─► each next move from there ─► fingerprint
    merging   two sequences are one state when the words of the manager's state, and the live
              blocks with their sizes, are equal: their futures are equal too

A manager's state is the words of its heap's arrays that ever change, found by the caller. Counters
are left out of the fingerprint, a hash of 63 bits. The program clears each block that it gets, so
that what lies in live blocks never tells two states apart.

This file is bound to the linear manager; in a copy the import below names another one.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import bare, kernel, unsigned
from heapwright.machine import store
from heapwright.machine.address_space import BREAK_LIMIT, MAPPED_BYTES
from heapwright.managers.textbook.linear import manager

MIN_ALIGN = 16  # bytes; what malloc promises

alloc, free, usable, extent = manager.alloc, manager.free, manager.usable, manager.extent


class State(NamedTuple):
    """The words that make the manager's state, wherever its arrays lie."""

    memory: np.ndarray  # int64[...]  the process's memory from the lowest of them on
    where: np.ndarray  # int64[word]  index in `memory`; those of the fingerprint come first
    boot: np.ndarray  # int64[word]  at boot
    kept: np.ndarray  # int64[word]  of the state that is being expanded


class Nodes(NamedTuple):
    """The states found, in the order of discovery; row 0 is boot."""

    parent: np.ndarray  # int32[row]
    move: np.ndarray  # int32[row]  units asked for, or -1 - slot freed
    print: np.ndarray  # int64[row]  fingerprint
    score: np.ndarray  # int64[row]  see `promise`
    row: np.ndarray  # int32[slot]  row + 1 of the state that hashes here, 0 while empty


class Game(NamedTuple):
    """The rules, the subject and the states found."""

    state: State
    nodes: Nodes
    address: np.ndarray  # int64[slot]  of live blocks, 0 when dead
    units: np.ndarray  # int64[slot]  asked for
    path: np.ndarray  # int64[move]  scratch: moves from boot on
    sizes: np.ndarray  # int64[kind]  setting: units that may be asked for, ascending
    fields: np.ndarray  # int64[FIELDS]


# Game.fields
(
    COUNT,  # states found
    ROWS,  # states there is room for, a power of two
    WORDS,  # of the state
    HASHED,  # of them in the fingerprint
    UNIT,  # setting: bytes
    OVERHEAD,  # setting: bytes that a request of k units is short of k * UNIT
    MOST_LIVE,  # setting: units
    LIVE,  # units
    LOW,  # setting: where blocks begin in the heap of brk
    HIGH,  # end of the highest block so far; LOW while there was none
    MAPPED_LOW,  # setting: the same in mapped areas
    MAPPED_HIGH,
    STRAY,  # 1 when a block lay below LOW or MAPPED_LOW: states then span what their path did
    WORST,  # bytes: most that any sequence costs
    WORST_PARENT,  # reached from this row
    WORST_MOVE,  # by this move
    FULL,  # 1 when there was no room for a state
    REFUSED,  # requests that the manager refused
    KINDS,  # of sizes
    LOWEST,  # start of the lowest block so far; LOW while none lay below it
    MAPPED_LOWEST,
    TAKES_AREAS,  # setting: what counts, 0 the span of the blocks, 1 what the machine has given
    FIELDS,
) = range(23)

FAR_BYTES = 1 << 30  # between two blocks: they lie in different zones


@kernel
def reset(game):
    """Back to boot."""
    state, fields = game.state, game.fields
    for i in range(fields[WORDS]):
        state.memory[unsigned(state.where[unsigned(i)])] = state.boot[unsigned(i)]
    for slot in range(fields[MOST_LIVE]):
        game.address[unsigned(slot)] = 0
    fields[LIVE] = 0
    fields[HIGH], fields[MAPPED_HIGH] = fields[LOW], fields[MAPPED_LOW]
    fields[LOWEST], fields[MAPPED_LOWEST] = fields[LOW], fields[MAPPED_LOW]


@kernel
def make(heap, game, move):
    """Ask for `move` > 0 units or free slot -1 - `move`; the slot, -1 when refused."""
    fields = game.fields
    if move < 0:
        slot = -1 - move
        free(heap, 0, game.address[unsigned(slot)])
        game.address[unsigned(slot)] = 0
        fields[LIVE] -= game.units[unsigned(slot)]
        return slot
    size = move * fields[UNIT] - fields[OVERHEAD]
    address = alloc(heap, 0, size, MIN_ALIGN)
    if not address:
        fields[REFUSED] += 1
        return -1
    slot = 0
    while game.address[unsigned(slot)]:
        slot += 1
    game.address[unsigned(slot)] = address
    game.units[unsigned(slot)] = move
    fields[LIVE] += move
    start, length = extent(heap, address, size)
    if start < BREAK_LIMIT:
        fields[HIGH] = max(fields[HIGH], start + length)
        fields[LOWEST] = min(fields[LOWEST], start)
        fields[STRAY] |= start < fields[LOW]
    else:
        fields[MAPPED_HIGH] = max(fields[MAPPED_HIGH], start + length)
        fields[MAPPED_LOWEST] = min(fields[MAPPED_LOWEST], start)
        fields[STRAY] |= start < fields[MAPPED_LOW]
    for word in range(address, address + (usable(heap, address, size) & ~7), 8):
        store(heap.machine, word, 0)
    return slot


@kernel
def span(game):
    """Bytes from the lowest to the highest that any block has covered since boot."""
    fields = game.fields
    return fields[HIGH] - fields[LOWEST] + fields[MAPPED_HIGH] - fields[MAPPED_LOWEST]


@kernel
def cost(heap, game):
    """What the adversary is after, in bytes: the span of the blocks. Where they lie in areas, what
    was taken for these as well: it grows by whole areas, and within one the span tells."""
    if game.fields[TAKES_AREAS]:
        return heap.machine.meters[MAPPED_BYTES] + span(game)
    return span(game)


@kernel
def fingerprint(game):
    """Hash of what decides the future."""
    state, fields = game.state, game.fields
    mask = (1 << 63) - 1
    whole = 0
    for i in range(fields[HASHED]):
        word = int(state.memory[unsigned(state.where[unsigned(i)])])
        word ^= word >> 20  # a mark may be the sign, which the mask would cut off
        whole = ((whole ^ word) * 0x2545F4914F6CDD1D) & mask
        whole ^= whole >> 32
    blocks = 0  # a sum, since slots may be numbered either way
    for slot in range(fields[MOST_LIVE]):
        if game.address[unsigned(slot)]:
            block = int(game.address[unsigned(slot)]) * 128 + int(game.units[unsigned(slot)])
            block = (block * 0x2545F4914F6CDD1D) & mask
            blocks = (blocks + (block ^ (block >> 29))) & mask
    whole = ((whole ^ blocks) * 0x2545F4914F6CDD1D) & mask
    return whole ^ (whole >> 32)


@kernel
def promise(game):
    """How far the heap would reach if all that may still live were asked for in one size, summed
    over the sizes and in units: gaps that are too small for a size are the adversary's gain."""
    fields, unit = game.fields, game.fields[UNIT]
    spare, top, total = fields[MOST_LIVE] - fields[LIVE], 0, 0
    for slot in range(fields[MOST_LIVE]):
        if game.address[unsigned(slot)]:
            end = game.address[unsigned(slot)] + game.units[unsigned(slot)] * unit
            top = max(top, end)
    for kind in range(fields[KINDS]):
        size = game.sizes[unsigned(kind)]
        fit = 0  # into gaps
        for slot in range(-1, fields[MOST_LIVE]):
            low = fields[LOW]
            if slot >= 0:
                low = game.address[unsigned(slot)] + game.units[unsigned(slot)] * unit
                if low == game.units[unsigned(slot)] * unit:
                    continue
            gap = FAR_BYTES
            for other in range(fields[MOST_LIVE]):
                if game.address[unsigned(other)] >= low:
                    gap = min(gap, game.address[unsigned(other)] - low)
            if gap < FAR_BYTES:
                fit += gap // unit // size
        total += top // unit + size * max(0, spare // size - fit)
    return total


@kernel
def _enter(game, parent, move, print_):
    """Note the state if it is new and there is room."""
    nodes, fields = game.nodes, game.fields
    mask = 2 * fields[ROWS] - 1
    slot = print_ & mask
    while True:
        row = nodes.row[unsigned(slot)]
        if row == 0:
            break
        if nodes.print[unsigned(row - 1)] == print_:
            return
        slot = (slot + 1) & mask
    row = fields[COUNT]
    if row == fields[ROWS]:
        fields[FULL] = 1
        return
    nodes.parent[unsigned(row)], nodes.move[unsigned(row)] = parent, move
    nodes.print[unsigned(row)] = print_
    nodes.score[unsigned(row)] = promise(game)
    nodes.row[unsigned(slot)] = row + 1
    fields[COUNT] = row + 1


@kernel
def moves_to(game, row):
    """Write the moves from boot to state `row` into `path`; their number."""
    count, at = 0, row
    while at:
        count += 1
        at = game.nodes.parent[unsigned(at)]
    at = row
    for i in range(count):
        game.path[unsigned(count - 1 - i)] = game.nodes.move[unsigned(at)]
        at = game.nodes.parent[unsigned(at)]
    return count


@kernel
def _try(heap, game, parent, move):
    """Make one move, note where it leads, and take it back."""
    state, fields = game.state, game.fields
    high, mapped_high = fields[HIGH], fields[MAPPED_HIGH]
    lowest, mapped_lowest = fields[LOWEST], fields[MAPPED_LOWEST]
    freed = game.address[unsigned(-1 - move)] if move < 0 else 0
    slot = make(heap, game, move)
    if slot >= 0:
        if cost(heap, game) > fields[WORST]:
            fields[WORST] = cost(heap, game)
            fields[WORST_PARENT], fields[WORST_MOVE] = parent, move
        _enter(game, parent, move, fingerprint(game))
        game.address[unsigned(slot)] = freed
        units = game.units[unsigned(slot)]
        fields[LIVE] += units if move < 0 else -units
    fields[HIGH], fields[MAPPED_HIGH] = high, mapped_high
    fields[LOWEST], fields[MAPPED_LOWEST] = lowest, mapped_lowest
    for i in range(fields[WORDS]):
        state.memory[unsigned(state.where[unsigned(i)])] = state.kept[unsigned(i)]


@kernel
def _expand(heap, game, parent):
    """Make every move from state `parent`."""
    state, fields = game.state, game.fields
    reset(game)
    for i in range(moves_to(game, parent)):
        make(heap, game, game.path[unsigned(i)])
    for i in range(fields[WORDS]):
        state.kept[unsigned(i)] = state.memory[unsigned(state.where[unsigned(i)])]
    for kind in range(fields[KINDS]):
        if fields[LIVE] + game.sizes[unsigned(kind)] <= fields[MOST_LIVE]:
            _try(heap, game, parent, game.sizes[unsigned(kind)])
    for slot in range(fields[MOST_LIVE]):
        if game.address[unsigned(slot)]:
            _try(heap, game, parent, -1 - slot)


@kernel
def _wander(heap, game, draw):
    """Make the move that a random number says, if it is one."""
    fields = game.fields
    size = game.sizes[unsigned((draw >> 8) % fields[KINDS])]
    if draw & 1 and fields[LIVE] + size <= fields[MOST_LIVE]:
        make(heap, game, size)
        return
    slot = (draw >> 8) % fields[MOST_LIVE]
    if game.address[unsigned(slot)]:
        make(heap, game, -1 - slot)


PLAY, WANDER, EXPAND = range(3)


@kernel
def act(heap, game, verb, numbers, placed):
    """One kernel for all that calls the manager, so that it is compiled once; numbers int64[...].

    PLAY    make these moves; `placed` int64[move, 2] gets start and bytes of each block asked for,
            (0, 0) for a move that frees or is refused
    WANDER  make a move for each of these random numbers, which are not negative
    EXPAND  make every move from each of these states, and go back to boot
    """
    count = len(numbers)
    heap, game = bare(heap), bare(game)
    for i in range(count):
        number = numbers[unsigned(i)]
        if verb == EXPAND:
            _expand(heap, game, number)
        elif verb == WANDER:
            _wander(heap, game, number)
        else:
            slot = make(heap, game, number)
            placed[i, 0] = placed[i, 1] = 0
            if number > 0 and slot >= 0:
                address = game.address[unsigned(slot)]
                size = number * game.fields[UNIT] - game.fields[OVERHEAD]
                placed[i, 0], placed[i, 1] = extent(heap, address, size)
    if verb == EXPAND:
        reset(game)
