"""Another order of threads keeps each thread's own, and each object's."""

import numpy as np

from heapwright.trace.schema import FREE, MALLOC, THREAD_EXIT, events
from heapwright.tunnel.reordered import WINDOW, reordered


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
