"""What was really written of large blocks: a recording's looks, and where the trace tells each.

    LOOK records ─► place: behind which event ─► Touches ─► matching.py makes TOUCH events of them

    seen first at        told right behind the allocation: an upper bound, as written at once
    grown since          told right behind the look before, at this block or at all of them; where
                         it may have been there then already, behind the first look that allows it
    not sure             between a least and a most: a heap's pages may be there from blocks before:
                         as the last of its size that was sure, else the most; told when it goes
    never seen           taken as the last seen one of its size, else as written whole; counted

Invariant  a look belongs to the block that lives at its address then; Touches ascend by number
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.trace.notes import Note
from heapwright.trace.recorder.log import (
    FREE,
    LOOK,
    MALLOC,
    MEMALIGN,
    REALLOC_FROM,
    WINDOW_EVENTS,
    Log,
    Window,
    windows,
)
from heapwright.trace.recorder.tables import Table, copy, delete, insert, place, table
from heapwright.trace.schema import LARGE_BYTES
from heapwright.words import bytes_text, counted

# Columns of a large block int64[BLOCK]: numbers of its allocation, of its last look, and of what
# that is told behind; bytes: asked, surely written, written at most, told; whether they have holes
NUMBER, LAST, BEHIND, SIZE, LEAST, MOST, TOLD, HOLES, BLOCK = range(9)

TELLING = 4  # one part in so many is told


class Touches(NamedTuple):
    """Where TOUCH events go: behind the event of a number, for the block at an address."""

    number: np.ndarray  # int64[touch], ascending
    address: np.ndarray  # int64[touch]
    size: np.ndarray  # int64[touch], bytes


class Looking(NamedTuple):
    """What is carried from window to window."""

    live: Table  # address of a large block -> its row
    block: np.ndarray  # int64[row, BLOCK]
    free_rows: np.ndarray  # int32[row], a stack
    like: np.ndarray  # int64[bits of size, 2], bytes of the last block seen: asked, written
    made: np.ndarray  # int64[touch, 3], as in Touches
    counts: np.ndarray  # int64[COUNTS]


# Looking.counts
(
    LIVE,
    ROWS,  # rows ever used
    FREE_ROWS,  # height of the stack
    MADE,
    ROUND,  # number before which the last whole round of looks began; -1 before the first
    ROW,  # of the window, where to go on
    LARGE,  # large blocks
    UNSEEN,  # that were never looked at
    GUESSED,  # of these, with a block of their size that was seen before
    UNSEEN_BYTES,
    WRITTEN,  # bytes of those that were
    UNSURE,  # blocks of which a part may be what blocks before wrote there
    UNSURE_BYTES,  # such parts
    SCATTERED,  # that were not written from their start on
    COUNTS,
) = range(15)


def _looking(places: int = 1 << 10) -> Looking:
    counts = np.zeros(COUNTS, np.int64)
    counts[ROUND] = -1
    return Looking(
        table(places),
        np.zeros((places, BLOCK), np.int64),
        np.zeros(places, np.int32),
        np.zeros((64, 2), np.int64),
        np.zeros((2 * WINDOW_EVENTS, 3), np.int64),
        counts,
    )


@kernel
def _tell(state, number, address, size):
    row = unsigned(state.counts[MADE])
    state.made[row, 0], state.made[row, 1], state.made[row, 2] = number, address, size
    state.counts[MADE] += 1


@kernel
def _gone(state, address, at):
    """The block at place `at` of the table is freed, or the recording ends."""
    counts = state.counts
    row = np.int64(state.live.value[unsigned(at)])
    block = state.block[unsigned(row)]
    size, least, most, behind = block[SIZE], block[LEAST], block[MOST], block[BEHIND]
    like = state.like[unsigned(bit_length(size))]
    guess = like[1] * size // like[0] if like[0] else size
    if least < 0:
        most, behind = size, block[NUMBER]
        counts[GUESSED] += 1 if like[0] else 0
        counts[UNSEEN] += 1
        counts[UNSEEN_BYTES] += size
    elif least < most:
        counts[UNSURE] += 1
        counts[UNSURE_BYTES] += most - least
    else:
        like[0], like[1] = size, least
        guess = least
    written = min(max(guess, least), most)
    if written > block[TOLD]:
        _tell(state, behind, address, written)
    if least >= 0:
        counts[WRITTEN] += written
        counts[SCATTERED] += block[HOLES]
    state.free_rows[unsigned(counts[FREE_ROWS])] = row
    counts[FREE_ROWS] += 1
    counts[LIVE] -= 1


@kernel
def _follow(state, rows, count, first):
    """Follow rows from counts[ROW] on; stops early when the table is half full."""
    counts = state.counts
    row = counts[ROW]
    while row < count and counts[LIVE] < len(state.live.key) >> 1:
        i = unsigned(row)
        number, op, address = first + row, np.int64(rows.op[i]), rows.address[i]
        row += 1
        if op in (FREE, REALLOC_FROM):
            if counts[LIVE]:
                at = place(state.live, address)
                if state.live.key[unsigned(at)]:
                    _gone(state, address, at)
                    delete(state.live, at)
        elif op == LOOK:
            if not address:
                counts[ROUND] = max(counts[ROUND], rows.size[i])
                continue
            at = place(state.live, address)
            if state.live.key[unsigned(at)]:
                block = state.block[unsigned(state.live.value[unsigned(at)])]
                least = min(rows.size[i], block[SIZE])
                behind = block[NUMBER]
                if block[LEAST] >= 0:  # what may have been there at the look before was there
                    behind = max(block[LAST], counts[ROUND])
                    behind = block[BEHIND] if least <= block[MOST] else behind
                if least and least > block[TOLD]:
                    _tell(state, behind, address, least)
                    block[TOLD] = least
                block[LAST], block[BEHIND], block[LEAST] = number, behind, least
                block[MOST] = max(least, min(rows.caller[i], block[SIZE]))
                block[HOLES] = rows.slack[i] == 1
        elif MALLOC <= op <= MEMALIGN and address and rows.size[i] >= LARGE_BYTES:
            at = place(state.live, address)
            if state.live.key[unsigned(at)]:  # its free was not seen
                _gone(state, address, at)
                delete(state.live, at)
            if counts[FREE_ROWS]:
                counts[FREE_ROWS] -= 1
                new = np.int64(state.free_rows[unsigned(counts[FREE_ROWS])])
            else:
                new = counts[ROWS]
                counts[ROWS] += 1
            block = state.block[unsigned(new)]
            block[NUMBER] = block[LAST] = number
            block[SIZE], block[HOLES] = rows.size[i], 0
            block[LEAST] = block[MOST] = block[TOLD] = -1
            insert(state.live, address, new)
            counts[LIVE] += 1
            counts[LARGE] += 1
    counts[ROW] = row


@kernel
def _rest(state):
    """The blocks that are alive at the end."""
    for at in range(len(state.live.key)):
        if state.live.key[unsigned(at)]:
            _gone(state, state.live.key[unsigned(at)], at)


def placed(logs: list[Log]) -> tuple[Touches, list[str]]:
    """Where the looks of a history are told, and what a reader must know of them.

    Memory is 24 bytes a look beside the live large blocks.
    """
    state = _looking()
    done: list[np.ndarray] = []
    for rows, count, first, _ in windows(logs):
        state = _window(state, rows, count, first)
        if state.counts[MADE]:
            done.append(state.made[: state.counts[MADE]].copy())
            state.counts[MADE] = 0
    if len(state.made) < state.counts[LIVE]:
        state = state._replace(made=np.zeros((int(state.counts[LIVE]), 3), np.int64))
    _rest(state)
    made = np.concatenate([*done, state.made[: state.counts[MADE]]])
    order = made[np.argsort(made[:, 0], kind="stable")]
    touches = Touches(*(np.ascontiguousarray(order[:, column]) for column in range(3)))
    return touches, sentences(state.counts, sum(log.unseen for log in logs))


def _window(state: Looking, rows: Window, count: int, first: int) -> Looking:
    """Follow the window's rows; the state, whose tables may have grown."""
    state.counts[ROW] = 0
    while state.counts[ROW] < count:
        _follow(state, rows, count, first)
        if state.counts[LIVE] * 2 >= len(state.live.key):
            larger = table(2 * len(state.live.key))
            copy(state.live, larger)
            state = state._replace(
                live=larger,
                block=np.concatenate([state.block, np.zeros_like(state.block)]),
                free_rows=np.resize(state.free_rows, 2 * len(state.free_rows)),
            )
    return state


def sentences(counts: Iterable[int], left_out: int) -> list[str]:
    """What is not exact about what was seen."""
    known = list(map(int, counts))
    found: list[str] = []
    if known[UNSEEN]:
        whole = known[UNSEEN] - known[GUESSED]
        taken = "taken as the last of their size that was seen"
        if whole:
            taken += f", {whole:,} of them as written whole"
        found.append(
            Note(
                f"Of {counted(known[UNSEEN], 'large block')} ({bytes_text(known[UNSEEN_BYTES])}) "
                "was not seen what the program wrote, as looks are let go where they would slow it "
                f"down: {taken}.",
                "unwritten",
                known[UNSEEN],
            )
        )
    if left_out > known[UNSEEN]:
        found.append(
            Note(
                f"{counted(left_out - known[UNSEEN], 'look')} at large blocks that had been seen "
                "before were let go too: what was seen last counts.",
                "unwritten",
                left_out - known[UNSEEN],
            )
        )
    if known[UNSURE_BYTES] * TELLING > known[WRITTEN]:
        found.append(
            Note(
                f"{counted(known[UNSURE], 'large block')} lay where blocks before had written: "
                f"whether {bytes_text(known[UNSURE_BYTES])} of "
                f"{'it was' if known[UNSURE] == 1 else 'them were'} written again is not known; as "
                "much counts as of the last of its size of which it was.",
                "at most",
                known[UNSURE],
            )
        )
    if known[SCATTERED]:
        found.append(
            Note(
                f"{counted(known[SCATTERED], 'large block')} "
                f"{'was' if known[SCATTERED] == 1 else 'were'} not written from the start on: as "
                "many pages count, at the start.",
                "scattered",
                known[SCATTERED],
            )
        )
    return found
