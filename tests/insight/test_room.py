"""Under a memory limit: whoever is not killed comes first, and the sentence says who would be."""

import numpy as np

from heapwright.insight.advice import Candidate, Row, rank
from heapwright.insight.room import Room, limit_sentence, under
from heapwright.managers.deploying import Deployment
from heapwright.result import Footprint
from heapwright.trace.process import COLUMNS, Process

MIB = 1 << 20


class Recorded:
    """A trace whose process had 30 MiB beside its heap."""

    @staticmethod
    def process() -> Process:
        at_peak = dict.fromkeys(COLUMNS, 0) | {"anon": 130 * MIB, "heap": 100 * MIB}
        return Process(np.array([list(at_peak.values())], np.int64))


def row(name: str, end: int, mean: int, peak: int) -> Row:
    held = Footprint(peak * MIB, mean * MIB, end * MIB, 1000, 1.0)
    return Row(Candidate(name, {}, Deployment({name.upper(): "1"})), held)


def ranked(limit: int) -> tuple[list[str], str]:
    now = row("now", 100, 100, 100)
    tried = [row("lean-end", 20, 60, 105), row("same", 99, 99, 99), row("flat", 97, 98, 90)]
    room = Room.of(limit * MIB, Recorded())  # type: ignore[arg-type]
    order = under(rank(tried, now, None, 0.0), now, room)
    names = [one.candidate.manager + "=" * one.level + "!" * bool(one.killed) for one in order]
    return names, limit_sentence(order, now, room)


def test_who_is_not_killed_is_advised_first() -> None:
    assert ranked(125) == (
        ["flat", "lean-end=!", "same=!"],
        "Under 125 MiB the program would be killed as it is: its heap takes 100 MiB at the peak "
        "beside 30.0 MiB outside of it. 1 of 3 that were tried stay below; flat leaves 4.82 MiB.",
    )


def test_what_would_be_killed_is_no_advice_to_one_that_lives() -> None:
    order, said = ranked(132)
    assert order == ["flat", "same=", "lean-end=!"]
    assert said.startswith("Under 132 MiB the program lives as it is, with 1.80 MiB left: its heap")
    assert said.endswith("; 1 of 3 that were tried would be killed.")


def test_where_all_are_killed_the_order_stays_and_the_nearest_is_named() -> None:
    order, said = ranked(100)
    assert order == ["lean-end!", "flat!", "same=!"]
    assert said.endswith("all 3 that were tried; the least, flat, is over by 20.2 MiB.")
