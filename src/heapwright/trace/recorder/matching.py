"""Turn logged addresses into slots: which object each event speaks of.

    Window ─► match ─► Events         live: address -> slot        sites: caller -> row

What was written of large blocks (`looks.py`) becomes TOUCH events behind the events that it names.
Invariant  slots in the live table, on the free stack and pending in a realloc: 0 .. SLOTS - 1, once
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace import schema
from heapwright.trace.recorder.log import (
    ARENA,
    FREE,
    LOOK,
    MALLOC,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    REALLOC_FROM,
    SBRK,
    THREAD_EXIT,
    WINDOW_EVENTS,
    Window,
)
from heapwright.trace.recorder.looks import Touches
from heapwright.trace.recorder.tables import Table, copy, delete, insert, place, table

_NOBODY = -1  # slot of a realloc whose old block was never seen allocated
OUT_EVENTS = 2 * WINDOW_EVENTS  # an allocation at a live address also frees the object there


class Threads(NamedTuple):
    """By the recorder's number of the thread; grown between windows."""

    number: np.ndarray  # int32[thread], dense in order of first event; -1 before that
    old_slot: np.ndarray  # int32[thread], of the block in its unfinished realloc
    old_address: np.ndarray  # int64[thread], 0 while it is in none


class Matching(NamedTuple):
    """What is carried from window to window."""

    live: Table  # address -> slot
    free_slots: np.ndarray  # int32[slot], a stack
    domains: np.ndarray  # uint8[slot], that the object was asked of
    sites: Table  # caller -> row of the site table
    callers: np.ndarray  # int64[row], the site table
    threads: Threads
    touches: Touches  # that are told, those before counts[TOUCHED] already
    counts: np.ndarray  # int64[COUNTS]


# Matching.counts
(
    LIVE,  # entries of the live table
    FREE_SLOTS,  # height of the stack
    SLOTS,  # slots ever used
    SITES,
    THREADS,
    NOW_NS,
    START_NS,  # -1 before the first event
    UNMATCHED,  # frees, and reallocs, of objects never seen allocated
    MISSED,  # frees that must have happened and were not seen
    ROW,  # of the window, where to go on
    OUT,  # events written
    FIRST,  # number of the window's first row
    TOUCHED,  # row of the next touch
    LAST_THREAD,  # of the last event
    COUNTS,
) = range(15)


def matching(touches: Touches | None = None, places: int = 1 << 12) -> Matching:
    """Nothing seen yet; `touches` are to be told."""
    none = np.zeros(0, np.int64)
    counts = np.zeros(COUNTS, np.int64)
    counts[START_NS] = -1
    return Matching(
        table(places), np.zeros(places, np.int32), np.zeros(places, np.uint8),
        table(places), np.zeros(places, np.int64),
        _threads(64), touches or Touches(none, none, none), counts,
    )  # fmt: skip


def _threads(rows: int) -> Threads:
    return Threads(np.full(rows, -1, np.int32), np.zeros(rows, np.int32), np.zeros(rows, np.int64))


def made() -> schema.Events:
    """Room for the events of a window."""
    columns = {c: d for c, d in schema.COLUMNS.items() if c not in ("field", "target")}
    return schema.events(**{name: np.empty(OUT_EVENTS, dtype) for name, dtype in columns.items()})


def match_window(
    state: Matching, rows: Window, count: int, out: schema.Events, first: int = 0
) -> tuple[Matching, schema.Events]:
    """The events of the first `count` rows, of which the first has number `first`, and the state
    after them. `out` is written to while it has room.

    Its tables may have grown.
    """
    state.counts[ROW] = state.counts[OUT] = 0
    state.counts[FIRST] = first
    used = rows.thread[:count][rows.op[:count] > 0]
    highest = int(used.max(initial=0))
    if highest >= len(state.threads.number):
        more = _threads(2 * highest)
        joined = (np.concatenate(pair) for pair in zip(state.threads, more, strict=True))
        state = state._replace(threads=Threads(*joined))
    while state.counts[ROW] < count:
        match(state, rows, count, out)
        if state.counts[OUT] + 2 > len(out.op):
            out = schema.Events(*(np.resize(c, 2 * len(c)) for c in out))
        if state.counts[LIVE] * 2 >= len(state.live.key):
            places = len(state.live.key) * 2
            state = state._replace(
                live=_grown(state.live),
                free_slots=np.resize(state.free_slots, places),
                domains=np.resize(state.domains, places),
            )
        if state.counts[SITES] * 2 >= len(state.sites.key):
            places = len(state.sites.key) * 2
            state = state._replace(
                sites=_grown(state.sites), callers=np.resize(state.callers, places)
            )
    return state, schema.Events(*(column[: state.counts[OUT]] for column in out))


def _grown(small: Table) -> Table:
    larger = table(len(small.key) * 2)
    copy(small, larger)
    return larger


@kernel
def _site(state, caller):
    """Row of `caller` in the site table."""
    at = unsigned(place(state.sites, caller))
    if state.sites.key[at] == 0:
        row = state.counts[SITES]
        state.sites.key[at] = caller
        state.sites.value[at] = row
        state.callers[row] = caller
        state.counts[SITES] = row + 1
    return np.int64(state.sites.value[at])


@kernel
def _new_slot(state):
    counts = state.counts
    if counts[FREE_SLOTS]:
        counts[FREE_SLOTS] -= 1
        return np.int64(state.free_slots[unsigned(counts[FREE_SLOTS])])
    counts[SLOTS] += 1
    return counts[SLOTS] - 1


@kernel
def _take(state, address):
    """Take the object at `address` out of the live table: its slot, or _NOBODY."""
    at = place(state.live, address)
    if state.live.key[unsigned(at)] == 0:
        return _NOBODY
    slot = np.int64(state.live.value[unsigned(at)])
    delete(state.live, at)
    state.counts[LIVE] -= 1
    return slot


@kernel
def _emit(state, out, op, slot, thread):
    """Begin an event: its row in `out`, whose other columns say nothing yet."""
    i = unsigned(state.counts[OUT])
    state.counts[OUT] += 1
    out.op[i], out.slot[i], out.thread[i] = op, slot, thread
    out.size[i], out.align[i], out.site[i], out.address[i], out.slack[i] = 0, 0, -1, 0, -1
    out.domain[i] = 0
    out.time_ns[i] = state.counts[NOW_NS] - state.counts[START_NS]
    return i


@kernel
def _push_free(state, out, slot, thread):
    i = _emit(state, out, schema.FREE, slot, thread)
    out.domain[i] = state.domains[unsigned(slot)]
    state.free_slots[unsigned(state.counts[FREE_SLOTS])] = slot
    state.counts[FREE_SLOTS] += 1


@kernel
def _push_touch(state, out):
    """Tell the next touch, if its block is there."""
    touches, row = state.touches, unsigned(state.counts[TOUCHED])
    state.counts[TOUCHED] += 1
    at = unsigned(place(state.live, touches.address[row]))
    if state.live.key[at]:
        slot = np.int64(state.live.value[at])
        j = _emit(state, out, schema.TOUCH, slot, state.counts[LAST_THREAD])
        out.size[j] = touches.size[row]


@kernel
def match(state, rows, count, out):
    """Turn rows from counts[ROW] on into events; stops early when a table is half full, or `out`
    is full."""
    counts, threads, touches = state.counts, state.threads, state.touches
    live_room, site_room = len(state.live.key) >> 1, len(state.sites.key) >> 1
    row = counts[ROW]
    while row < count and counts[LIVE] < live_room and counts[SITES] < site_room:
        if counts[OUT] + 2 > len(out.op):
            break
        touch = counts[TOUCHED]
        if touch < len(touches.number) and touches.number[unsigned(touch)] < counts[FIRST] + row:
            _push_touch(state, out)
            continue
        i = unsigned(row)
        row += 1
        if rows.time_ns[i]:
            counts[NOW_NS] = max(counts[NOW_NS], rows.time_ns[i])
        op, owner, address = np.int64(rows.op[i]), unsigned(rows.thread[i]), rows.address[i]
        if op == 0:
            continue
        if op == ARENA:  # where it stands among the window's events
            rows.slack[i] = counts[OUT]
            continue
        if counts[START_NS] < 0:
            counts[START_NS] = counts[NOW_NS]
        thread = np.int64(threads.number[owner])
        if thread < 0:
            thread = counts[THREADS]
            counts[THREADS] = thread + 1
            threads.number[owner] = thread
        if op == LOOK:
            continue
        counts[LAST_THREAD] = thread
        if op == FREE:
            slot = _take(state, address)
            if slot == _NOBODY:
                counts[UNMATCHED] += 1
            else:
                _push_free(state, out, slot, thread)
        elif op == REALLOC_FROM:
            threads.old_slot[owner] = _take(state, address)
            threads.old_address[owner] = address
        elif op == THREAD_EXIT:
            _emit(state, out, schema.THREAD_EXIT, -1, thread)
        elif op >= MALLOPT:
            j = _emit(state, out, op - MALLOPT + schema.MALLOPT, -1, thread)
            out.size[j] = rows.size[i]
            out.address[j] = rows.caller[i] if op == SBRK else 0
        else:
            old_address, slot, kind = np.int64(0), np.int64(_NOBODY), op - MALLOC + schema.MALLOC
            if op == REALLOC:
                slot, old_address = np.int64(threads.old_slot[owner]), threads.old_address[owner]
                threads.old_address[owner] = 0
                if address == 0:  # refused: the old block stays
                    if slot != _NOBODY:
                        insert(state.live, old_address, slot)
                        counts[LIVE] += 1
                    continue
                if slot == _NOBODY:
                    counts[UNMATCHED] += 1
                    kind = schema.MALLOC
            if address:
                stale = _take(state, address)
                if stale != _NOBODY:
                    counts[MISSED] += 1
                    _push_free(state, out, stale, thread)
                if slot == _NOBODY:
                    slot = _new_slot(state)
                insert(state.live, address, slot)
                counts[LIVE] += 1
            j = _emit(state, out, kind, slot, thread)
            out.size[j], out.address[j], out.slack[j] = rows.size[i], address, rows.slack[i]
            out.align[j] = rows.align[i] if op == MEMALIGN else 0
            out.site[j] = _site(state, rows.caller[i])
            out.domain[j] = rows.domain[i]
            if slot >= 0:
                state.domains[unsigned(slot)] = rows.domain[i]
    counts[ROW] = row
