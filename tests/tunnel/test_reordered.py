"""Another order of threads keeps each thread's own, and each object's."""

from types import SimpleNamespace

import numpy as np

from heapwright.managers.malloc.jemalloc import manager as jemalloc
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    LARGE_BYTES,
    MALLOC,
    REALLOC,
    THREAD_EXIT,
    events,
)
from heapwright.tunnel.reordered import (
    LONGER_BYTES,
    START,
    START_SHARE,
    STRINGS,
    WINDOW,
    Another,
    reordered,
    start_of,
)


def batch(rows):
    op, slot, thread = (np.array(column) for column in zip(*rows, strict=True))
    return events(op=op, slot=slot, thread=thread, size=np.where(op == MALLOC, slot + 1, 0))


def own(found, thread):
    mine = found.thread == thread
    return list(zip(found.op[mine].tolist(), found.slot[mine].tolist(), strict=True))


def test_each_thread_keeps_its_own_order():
    turns = [(MALLOC, 3 * n + thread, thread) for n in range(60) for thread in range(3)]
    given = batch(turns)
    found = reordered(given, np.random.default_rng(1))
    assert found.slot.tolist() != given.slot.tolist()
    for thread in range(3):
        assert own(found, thread) == own(given, thread)
    for first in range(0, len(turns), WINDOW):  # no event leaves its window
        rows = slice(first, first + WINDOW)
        assert sorted(found.slot[rows].tolist()) == sorted(given.slot[rows].tolist())


def test_an_object_that_goes_from_thread_to_thread_keeps_its_window_as_it_is():
    handed = [(MALLOC, 0, 0), (FREE, 0, 1), (MALLOC, 1, 1)]
    ends = [(MALLOC, 0, 0), (THREAD_EXIT, -1, 0), (MALLOC, 1, 1)]
    for rows in (handed, ends):
        given = batch(rows)
        found = reordered(given, np.random.default_rng(1))
        assert found.slot.tolist() == given.slot.tolist()


def test_one_thread_has_one_order():
    given = events(op=np.array([MALLOC]), slot=np.array([0]), size=np.array([8]))
    assert reordered(given, np.random.default_rng(1)) is given


def test_another_run_has_its_own_pace_and_lies_elsewhere():
    """jemalloc draws from its addresses: all move together, by pages, as the number says."""
    given = events(op=np.array([MALLOC, MALLOC]), time_ns=np.array([40, 1000]))
    random = np.random.default_rng(1)
    assert Another(pace=0.5).of(given, random).time_ns.tolist() == [20, 500]
    assert Another().of(given, random) is given
    moved = []
    for number in (0, 1, 1, 2):
        heap = SimpleNamespace(main_seed=9 << 40, seed=8 << 40, seed_step=64, origin=0)
        Another(process=number).begin(jemalloc, heap)
        down = -heap.origin
        assert (heap.main_seed, heap.seed) == ((9 << 40) - down, (8 << 40) - down)
        moved.append(down)
    assert moved[0] == 0 and moved[1] == moved[2] != moved[3]
    assert all(0 < down < 1 << 40 and down % 4096 == 0 for down in moved[1:])


def test_in_another_process_some_small_blocks_of_the_start_are_of_other_lengths():
    rows = np.arange(4 * START)
    op = np.where(rows % 4 == 3, REALLOC, np.where(rows % 4 == 2, CALLOC, MALLOC))
    size = np.where(rows % 8 == 1, LARGE_BYTES, 1 + rows % 300)
    given = events(op=op, slot=rows, size=size)
    random, start = np.random.default_rng(1), start_of(4 * START)
    assert start == 4 * START // START_SHARE and start_of(1 << 30) == START
    assert Another(process=1).of(given, random, 0) is given
    one, again, other = (Another(process=n).of(given, random, start).size for n in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()
    changed = np.flatnonzero(one != size)
    assert start / STRINGS / 3 < len(changed) < start / STRINGS
    assert changed.max() < start
    assert (size[changed] < LARGE_BYTES).all() and (op[changed] != REALLOC).all()
    assert one.min() >= 1 and (np.abs(one - size) < LONGER_BYTES).all()
    assert (one > size).any() and (one < size).any()
