"""A device's areas: where they lie, what is counted, what is refused, and what comes back."""

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.machine import address_space as space
from heapwright.machine.address_space import BREAK_BASE, MAPPED_TOP, PAGE_BYTES, machine
from heapwright.machine.device import (
    UNIT_BYTES,
    UPWARDS_BYTES,
    device,
    device_alloc,
    device_free,
    map_span,
    release_span,
    reserve_span,
    unmap_span,
)
from heapwright.machine.gaps import check

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="compiled, a real one's keys hold it")

COUNTED = [
    space.MAPPED_BYTES,
    space.PEAK_MAPPED_BYTES,
    space.RESIDENT_PAGES,
    space.PEAK_RESIDENT_PAGES,
    space.SYSCALLS,
]
FIRST = MAPPED_TOP - UPWARDS_BYTES
PAGES = UNIT_BYTES // PAGE_BYTES


@pytest.fixture
def made():
    """A machine, and a device of three units on it."""
    whole = machine()
    yield whole, device(whole, 3 * UNIT_BYTES)
    assert check(whole.gaps)
    free = (whole.gaps.end - whole.gaps.start)[: whole.gaps.count[0]].sum()
    flags = whole.pages[FIRST >> space.PAGE_SHIFT :]
    assert (free, flags.any()) == (MAPPED_TOP - 2 * BREAK_BASE, False), "all has come back"


def counted(whole):
    return whole.meters[COUNTED].tolist()


def test_areas_follow_each_other_and_go_back(made):
    whole, one = made
    areas = [device_alloc(whole, one, bytes_) for bytes_ in (UNIT_BYTES + PAGE_BYTES, UNIT_BYTES)]
    assert areas == [FIRST, FIRST + 2 * UNIT_BYTES], "the next lies at a unit's multiple"
    assert one.held == 2 * UNIT_BYTES + PAGE_BYTES
    held = [one.held, one.held, 2 * PAGES + 1, 2 * PAGES + 1]
    assert counted(whole) == [*held, 2]
    flags = whole.pages[FIRST >> space.PAGE_SHIFT :][: 4 * PAGES] == space.MAPPED | space.RESIDENT
    assert flags.nonzero()[0].tolist() == [*range(PAGES + 1), *range(2 * PAGES, 3 * PAGES)]
    assert device_alloc(whole, one, UNIT_BYTES) == 0, "the device has not as much"
    assert counted(whole) == [*held, 3]
    device_free(whole, one, areas[0], UNIT_BYTES + PAGE_BYTES)
    assert counted(whole) == [UNIT_BYTES, held[1], PAGES, held[3], 4]
    assert reserve_span(whole, one, 1) == FIRST + 3 * UNIT_BYTES, "upwards as long as there is room"
    release_span(whole, FIRST + 3 * UNIT_BYTES, 1)
    device_free(whole, one, areas[1], UNIT_BYTES)
    assert one.held == 0


def test_a_span_is_filled_up_to_what_the_device_has(made):
    whole, one = made
    span = reserve_span(whole, one, 8 * UNIT_BYTES)
    assert (span, one.held, whole.meters[space.SYSCALLS]) == (FIRST, 0, 0)
    assert map_span(whole, one, span, 2 * UNIT_BYTES)
    assert not map_span(whole, one, span + 2 * UNIT_BYTES, UNIT_BYTES + PAGE_BYTES)
    assert map_span(whole, one, span + 2 * UNIT_BYTES, UNIT_BYTES), "to the last byte"
    assert counted(whole) == [3 * UNIT_BYTES] * 2 + [3 * PAGES] * 2 + [3]
    assert whole.meters[space.LOWEST_MAPPED] == FIRST
    unmap_span(whole, one, span, 3 * UNIT_BYTES)
    assert (one.held, whole.meters[space.SYSCALLS]) == (0, 4)
    release_span(whole, span, 8 * UNIT_BYTES - 1)


def test_above_its_end_areas_lie_below(made):
    whole, one = made
    one.next = MAPPED_TOP - UNIT_BYTES
    spans = [reserve_span(whole, one, UNIT_BYTES) for _ in range(3)]
    assert spans == [MAPPED_TOP - turn * UNIT_BYTES for turn in (1, 2, 3)]
    assert one.next == MAPPED_TOP
    assert reserve_span(whole, one, MAPPED_TOP) == 0
    for span in spans:
        release_span(whole, span, UNIT_BYTES)
