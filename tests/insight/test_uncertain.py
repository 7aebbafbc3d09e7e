"""How far figures may be off, by what it comes from."""

import pytest

from heapwright.insight.advice import Candidate, Row
from heapwright.insight.standing import Standing
from heapwright.insight.uncertain import DRAWN, REORDERED, agreements, luck, uncertainty
from heapwright.managers.deploying import Deployment
from heapwright.result import Footprint

MIB = 1 << 20


def held(end: float, mean: float, peak: float) -> Footprint:
    return Footprint(int(peak * MIB), int(mean * MIB), int(end * MIB), 1000, 1.0)


def row(name: str, footprint: Footprint, **more) -> Row:
    return Row(Candidate(name, more.pop("settings", {}), Deployment({}), **more), footprint)


def test_each_cause_has_its_share_and_all_twins_have_those_of_the_present_state():
    present, other = row("glibc", held(100, 100, 100)), row("jemalloc", held(60, 60, 60))
    real = row("tcmalloc", held(50, 50, 50), kind="measured")
    quarter = 0.25  # MiB: what is no difference
    told = {
        "jemalloc": held(60, 60 + 6 + quarter, 60),
        REORDERED: held(100, 100 / 1.02, 100),
        DRAWN[0]: held(100, 100, 103 + quarter),
        DRAWN[1]: held(92 - quarter, 100, 100),
    }
    found = agreements([present, other, real], told)
    standing = Standing(excess=0.5)
    of_all = {"threads": pytest.approx(0.02, abs=0.003), "layout": 0.08, "written": 0.5}
    assert uncertainty(present, found, standing) == of_all
    assert uncertainty(other, found, standing) == {
        "agreement": pytest.approx(6 / 66.25),
        **of_all,
    }
    assert uncertainty(real, found, standing) == {"written": 0.5}


def test_luck_is_told_as_ranges_of_end_and_peak():
    drawn = [held(81.5, 60, 90), held(73, 60, 84), held(80, 60, 83)]
    said = luck(drawn, 0.1)
    assert "73.0 MiB to 81.5 MiB at the end" in said and "83.0 MiB to 90.0 MiB at the peak" in said
    assert "in 3 processes" in said
    assert luck(drawn, 0.01) == ""
