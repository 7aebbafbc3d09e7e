"""Ends of threads, moved to where the arenas of later threads show them."""

import itertools

import numpy as np

from heapwright.trace.recorder import ends as module
from heapwright.trace.recorder.ends import Ends
from heapwright.trace.schema import FREE, MALLOC, THREAD_EXIT, Events, events

START = 0x5555_0000_0000
A, B, C = (0x7F00_0000_0000 + (heap << 26) for heap in range(3))


def told(*rows: tuple[int, int, int]) -> Events:
    """Events from (operation, thread, heap); each block has 24 usable bytes."""
    op, thread, heap = (np.array(column) for column in zip(*rows, strict=True))
    born = op == MALLOC
    return events(
        op=op,
        slot=np.where(op == THREAD_EXIT, -1, np.arange(len(op))),
        size=np.where(born, 24, 0),
        thread=thread,
        site=np.full(len(op), -1),
        time_ns=np.arange(len(op)),
        address=np.where(born, heap + 16 * np.arange(len(op)) + 2928, 0),
        slack=np.where(born, 0, -1),
    )._replace(
        align=np.zeros(len(op), np.uint8),
        field=np.zeros(len(op), np.int32),
        target=np.full(len(op), -1, np.int32),
    )


def settled(made: Events, sizes: tuple[int, ...] = ()) -> tuple[list[tuple[int, int]], int]:
    """(operation, thread) in the order found, fed in parts; how many ends were moved."""
    ends = Ends(START)
    cuts = [0, *sizes, len(made.op)]
    parts = [
        ends.settle(Events(*(column[low:high] for column in made)))
        for low, high in itertools.pairwise(cuts)
    ]
    parts.append(ends.rest())
    assert (np.diff(np.concatenate([part.time_ns for part in parts])) >= 0).all()
    op = np.concatenate([part.op for part in parts]).tolist()
    thread = np.concatenate([part.thread for part in parts]).tolist()
    return list(zip(op, thread, strict=True)), ends.moved


FIRST = [(MALLOC, 0, START), (MALLOC, 1, A), (MALLOC, 2, B)]


def test_ends_that_explain_what_follows_stay() -> None:
    made = told(*FIRST, (THREAD_EXIT, 1, 0), (MALLOC, 3, A), (THREAD_EXIT, 2, 0), (MALLOC, 4, B))
    order, moved = settled(made)
    assert moved == 0
    assert order == list(zip(made.op.tolist(), made.thread.tolist(), strict=True))


def test_an_end_that_came_after_the_next_thread_stands_after_it() -> None:
    made = told(*FIRST, (THREAD_EXIT, 1, 0), (THREAD_EXIT, 2, 0), (MALLOC, 3, A), (MALLOC, 4, B))
    order, moved = settled(made)
    assert moved == 1
    assert order[3:] == [(THREAD_EXIT, 1), (MALLOC, 3), (THREAD_EXIT, 2), (MALLOC, 4)]


def test_a_new_arena_shows_that_none_was_free() -> None:
    made = told(*FIRST, (THREAD_EXIT, 1, 0), (MALLOC, 3, C), (MALLOC, 4, A))
    order, moved = settled(made)
    assert moved == 1
    assert order[3:] == [(MALLOC, 3), (THREAD_EXIT, 1), (MALLOC, 4)]


def test_an_arena_that_is_taken_already_shows_an_end_that_is_logged_late() -> None:
    made = told(*FIRST, (MALLOC, 3, A), (THREAD_EXIT, 1, 0), (MALLOC, 3, A))
    order, moved = settled(made)
    assert moved == 1
    assert order[3:] == [(THREAD_EXIT, 1), (MALLOC, 3), (MALLOC, 3)]


def test_a_thread_that_goes_on_was_not_over() -> None:
    made = told(*FIRST, (MALLOC, 3, A), (MALLOC, 1, A), (THREAD_EXIT, 1, 0))
    assert settled(made)[1] == 0


def test_a_block_that_may_come_from_the_cache_tells_nothing() -> None:
    """The thread frees what another one allocated, and is given it back."""
    made = told(*FIRST, (THREAD_EXIT, 1, 0), (THREAD_EXIT, 2, 0), (FREE, 3, 0), (MALLOC, 3, A))
    made.slot[5] = 2
    assert settled(made)[1] == 0


def test_no_end_is_moved_over_parts_that_are_settled(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "WINDOW", 8)
    filler = [(MALLOC, 0, START)] * 40
    made = told(*FIRST, (THREAD_EXIT, 1, 0), (THREAD_EXIT, 2, 0), *filler, (MALLOC, 3, A))
    order, moved = settled(made, (10, 20, 25))
    assert moved == 0
    assert order == list(zip(made.op.tolist(), made.thread.tolist(), strict=True))


def test_parts_give_what_the_whole_gives(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "WINDOW", 6)
    rows = list(FIRST)
    for turn in range(3, 60, 2):
        old, new = (turn - 2, turn - 1), (turn, turn + 1)
        rows += [(THREAD_EXIT, old[0], 0), (THREAD_EXIT, old[1], 0)]
        rows += [(MALLOC, new[0], A), (MALLOC, new[1], B)]
    made = told(*rows)
    whole = settled(made)
    assert whole[1] == 29
    for cuts in ((5, 11, 60), tuple(range(1, len(rows)))):
        assert settled(made, cuts) == whole
