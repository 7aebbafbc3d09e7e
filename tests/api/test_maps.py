"""Address spaces of twins at events, and of processes that run."""

import os
import sys

import pytest

import heapwright as hw
from heapwright.api.maps import maps_of_process
from heapwright.machine.address_space import (
    BREAK_BASE,
    HUGE_ADVISE,
    HUGE_ADVISED,
    HUGE_PAGE_BYTES,
    LOWEST_MAPPED,
    MAPPED,
    PAGE_BYTES,
    PAGE_SHIFT,
    RESIDENT,
    machine,
)
from heapwright.tunnel.space import rows_of_machine
from small_traces import churn, write


@pytest.fixture
def trace(tmp_path):
    return write(tmp_path / "t.heap.parquet", churn(2000))


def test_a_twins_areas_sum_to_what_its_replay_holds(trace):
    result = hw.replay("glibc", trace, samples=20)
    peak = hw.maps(trace, manager="glibc")
    assert sum(row.resident_bytes for row in peak.areas) == result.peak["resident_bytes"]
    end = hw.maps(trace, manager="glibc", at="end")
    assert end.event == trace.events - 1
    assert sum(row.resident_bytes for row in end.areas) == int(result.timeline[-1][2])
    first = hw.maps(trace, manager="glibc", at=0)
    assert first.event == 0
    assert 0 < sum(row.resident_bytes for row in first.areas) <= 64 << 10
    assert first.totals["heap"]["areas"] == 1
    assert "PROT_NONE" in " ".join(first.notes)


def test_huge_pages_of_a_twin_are_those_that_are_full():
    space = machine(HUGE_ADVISE)
    first = space.meters[LOWEST_MAPPED] = BREAK_BASE
    pages = space.pages[first >> PAGE_SHIFT :]
    pages[:1536] |= MAPPED | HUGE_ADVISED
    pages[512:1535] |= RESIDENT
    (row,) = rows_of_machine(space)
    assert (row.resident_bytes, row.huge_bytes) == (1023 * PAGE_BYTES, HUGE_PAGE_BYTES)
    pages[:] &= MAPPED | RESIDENT
    assert [row.huge_bytes for row in rows_of_machine(space)] == [0]


def test_huge_pages_of_a_replay_are_told_with_what_is_guessed(trace):
    found = hw.maps(trace, manager="glibc", huge_pages="always")
    assert "AnonHugePages are at most" in " ".join(found.notes)


def test_mistakes_are_sentences(trace):
    with pytest.raises(hw.HeapwrightError, match="has no event 9,999,999"):
        hw.maps(trace, manager="glibc", at=9_999_999)
    with pytest.raises(hw.HeapwrightError, match="an event's number, peak or end, not 'noon'"):
        hw.maps(trace, manager="glibc", at="noon")
    with pytest.raises(hw.HeapwrightError, match="no process 99999999"):
        maps_of_process(99_999_999)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_real_process_is_told_by_kind():
    found = maps_of_process(os.getpid())
    assert {"heap", "stack", "file", "mapped"} <= set(found.totals)
    assert found.totals["file"]["resident_bytes"] > 1 << 20
    assert found.as_pmap().splitlines()[-1].startswith("total kB")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_process_that_has_ended_has_no_areas():
    """It waits to be asked for its status: /proc has it still."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(hw.HeapwrightError, match=r"has no address space|no process"):
            maps_of_process(child)
    finally:
        os.waitpid(child, 0)
