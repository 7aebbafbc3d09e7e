"""The search among settings: its ranges, and that it finds what no table holds."""

import sys

import pytest

from heapwright.api.searching import LEFT_OUT, ranges_of, scored, search, values
from heapwright.errors import HeapwrightError
from heapwright.insight.advice import Candidate, Row
from heapwright.insight.candidates import Field
from heapwright.managers.deploying import Deployment
from heapwright.result import Footprint
from small_traces import churn, write

MIB = 1 << 20


def held(mib, faults=100):
    return Footprint(mib * MIB, mib * MIB, mib * MIB, faults, 1.0)


@pytest.fixture
def field(tmp_path):
    return Field(write(tmp_path / "t", churn(100)), ["glibc"])


def test_ranges_are_those_of_the_card_in_round_steps(field):
    ranges = ranges_of("glibc", field)
    assert "arena_max" not in ranges, "there is one thread"
    assert ranges["mmap_threshold"][:3] == [LEFT_OUT, 16 << 10, 32 << 10]
    assert ranges["mmap_threshold"][-1] == 32 << 20
    assert values(0, 60_000)[:3] == [0, 1, 2] and len(values(0, 100)) <= 21


def test_what_a_table_does_not_hold_is_found(field):
    """A made-up program that holds least with a threshold of 8 MiB, which no card names."""
    pytest.importorskip("optuna")
    now = held(100)
    asked = []

    def footprints(candidates):
        asked.extend(dict(one.settings) for one in candidates)
        least = {8 << 20: 10, 4 << 20: 40, 16 << 20: 50}
        return [
            (one, held(least.get(one.settings.get("mmap_threshold"), 90))) for one in candidates
        ]

    known = [Row(Candidate("glibc", {"mmap_threshold": 65536}, Deployment({})), held(95))]
    score = scored(None, now, 0.0)
    found = search("glibc", field, known, footprints, score, jobs=2, trials=60)
    best = min(found, key=lambda pair: score(pair[1]))
    assert best[0].settings["mmap_threshold"] == 8 << 20
    assert best[0].deployment.environment["MALLOC_MMAP_THRESHOLD_"] == str(8 << 20)
    assert {"mmap_threshold": 65536} not in asked, "it was known"
    assert len({tuple(sorted(one.items())) for one in asked}) == len(asked)


def test_faults_and_refusals_cost(field):
    score = scored("end", held(100), 1e-4)
    assert score(held(50)) < score(held(50, faults=2000)) < score(held(50, faults=9000))
    refused = held(1)
    refused.refused = 1
    assert score(refused) > 1


def test_without_optuna_it_says_what_to_install(field, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HeapwrightError, match=r"heapwright\[optimise\]"):
        search("glibc", field, [], lambda ones: [], lambda one: 1.0, jobs=1, trials=1)
