"""Ranking and sentences, on figures made up."""

import pytest

from heapwright.insight.advice import (
    Candidate,
    Row,
    applicable,
    headline,
    rank,
    reasons,
    trim_period,
)
from heapwright.managers.deploying import Deployment
from heapwright.result import Footprint

MIB = 1 << 20


def row(name: str, end: int, mean: int, peak: int, faults: int = 1000, **more) -> Row:
    held = Footprint(peak * MIB, mean * MIB, end * MIB, faults, 1.0)
    knobs = more.pop("settings", {})
    return Row(Candidate(name, knobs, Deployment({name.upper(): "1"}), **more), held)


NOW = (100, 100, 100)


def ranked(*rows: Row, by: str | None = None, fault_share: float = 0.0) -> list[str]:
    order = rank(rows, row("now", *NOW), by, fault_share)
    return [one.candidate.manager + ("=" if one.level else "") for one in order]


def test_all_three_count_alike_unless_one_is_asked_for() -> None:
    rows = row("end", 10, 100, 100), row("peak", 90, 90, 60), row("mean", 100, 50, 90)
    assert ranked(*rows) == ["end", "peak", "mean"]
    assert ranked(*rows, by="peak") == ["peak", "mean", "end="]
    assert ranked(*rows, by="end") == ["end", "peak", "mean="]


def test_a_small_difference_is_level_and_so_is_one_within_the_uncertainty() -> None:
    unsure = row("unsure", 85, 90, 90)
    unsure.uncertainty = {"written": 0.2}
    assert ranked(row("little", 99, 99, 99), unsure) == ["unsure=", "little="]


def test_a_mebibyte_is_no_advice() -> None:
    now = row("now", 1, 1, 2)
    (one,) = rank([row("other", 1, 0, 1)], now, None, 0.0)
    assert one.level


def test_what_costs_more_time_than_it_saves_comes_last() -> None:
    greedy, cheap = row("greedy", 40, 40, 40, faults=9000), row("cheap", 60, 60, 60)
    assert ranked(greedy, cheap) == ["greedy", "cheap"]
    assert ranked(greedy, cheap, fault_share=1e-4) == ["cheap", "greedy="]


def test_the_front_holds_what_nothing_else_beats() -> None:
    now = row("now", *NOW)
    rows = [row("best", 50, 50, 50, 2000), row("worse", 60, 60, 60, 2500), row("few", 90, 90, 90)]
    rank(rows, now, None, 0.0)
    assert [one.front for one in rows] == [True, False, True]
    assert not now.front


def test_what_ran_out_of_memory_is_left_out() -> None:
    refused = row("refused", 1, 1, 1)
    refused.predicted.refused = 1
    assert ranked(refused) == []


def test_the_headline_says_what_to_do_and_what_it_saves() -> None:
    now = row("now", 98, 100, 130)
    order = rank([row("lean", 5, 60, 129)], now, None, 0.0)
    assert headline(order, now) == (
        "LEAN=1: 5.00 MiB stay instead of 98.0 MiB (−95 %); the peak is alike."
    )
    assert "saves 20.0 MiB at most" in headline(order, now, 20 * MIB)


def test_nothing_to_change_is_an_answer() -> None:
    now = row("now", *NOW)
    order = rank([row("same", *NOW), row("worse", 120, 120, 120)], now, None, 0.0)
    assert headline(order, now).startswith("Nothing to change: 100 MiB stay")
    assert reasons(order, now) == []


def test_too_little_is_no_matter_of_the_uncertainty() -> None:
    now, small = row("now", 10, 10, 10), row("small", 9, 9, 9)
    (one,) = order = rank([small], now, None, 0.0)
    assert one.level and "none saves more than counts, 1.00 MiB and 2 %" in headline(order, now)
    now, unsure = row("now", *NOW), row("unsure", 85, 90, 90)
    unsure.uncertainty = {"written": 0.2}
    order = rank([unsure], now, None, 0.0)
    assert "what it saves is within the uncertainty (20 %)" in headline(order, now)


def test_the_best_of_another_allocator_is_named() -> None:
    now = row("now", *NOW)
    order = rank([row("one", 50, 50, 50), row("two", 60, 60, 60)], now, None, 0.0)
    assert reasons(order, now) == [
        "Of other allocators the best is two: end −40 %, mean −40 %, peak −40 %."
    ]


@pytest.mark.parametrize(("seconds", "every"), [(0.2, 0), (1, 0.1), (30, 1), (41, 10), (1e4, 60)])
def test_malloc_trim_comes_a_few_times_in_the_program(seconds: float, every: float) -> None:
    assert trim_period(seconds) == every


def test_arenas_matter_to_threads_only() -> None:
    assert not applicable({"arena_max": 1}, ("arena_max",), 1)
    assert applicable({"arena_max": 1}, ("arena_max",), 2)
    assert applicable({"top_pad": 1}, ("arena_max",), 1)
