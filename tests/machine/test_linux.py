"""The verbs on Linux itself put areas where the model puts them, and the memory is really there."""

import ctypes
import random
import sys

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED, kernel
from heapwright.compiler.system import MREMAP, MUNMAP, system_call
from heapwright.machine import address_space as model
from heapwright.machine import linux, tables
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    BREAK_LIMIT,
    CEILING,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_BYTES,
    PEAK_MAPPED_BYTES,
    SPACE_BYTES,
    SYSCALLS,
    machine,
)

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's verbs")

ORIGIN = 0x2800_0000_0000  # nothing lies there; nothing is left there


@kernel
def unmap(address, length):
    return system_call(MUNMAP, address, length)


def real_machine():
    words = (ctypes.c_int64 * (SPACE_BYTES >> 3)).from_address(ORIGIN)
    return machine()._replace(words=np.ctypeslib.as_array(words))


@pytest.fixture
def both():
    real, counted = real_machine(), machine()
    areas = {}
    ends = ORIGIN, ORIGIN + SPACE_BYTES - PAGE_BYTES  # what pytest prints of a large array
    for end in ends:
        assert linux.take(end, PAGE_BYTES)
    yield real, counted, areas
    for address, length in areas.items():
        linux.munmap(real, address, length)
    linux.brk(real, BREAK_BASE)
    for end in ends:
        assert unmap(end, PAGE_BYTES) == 0
    assert real.meters[MAPPED_BYTES] == 0


def mark(real, address, length, value):
    for place in (address, address + length - 8):
        real.words[place >> 3] = value


def holds(real, address, length, value):
    return [int(real.words[place >> 3]) for place in (address, address + length - 8)] == [value] * 2


@pytest.mark.parametrize("seed", range(5))
def test_areas_lie_where_the_model_says(both, seed):
    real, counted, areas = both
    draw = random.Random(seed)
    marks = {}
    for step in range(1, 150):
        what = draw.choice(["mmap", "mmap", "munmap", "mremap", "mremap", "brk"])
        length = draw.randrange(1, 40) * PAGE_BYTES
        if what == "brk":
            end = BREAK_BASE + draw.randrange(1 << 20)
            assert linux.brk(real, end) == model.brk(counted, end) == end == real.meters[BREAK]
            if end > BREAK_BASE:
                real.words[end - 1 >> 3] = step
        elif what == "mmap":
            address = linux.mmap(real, 0, length)
            assert address == model.mmap(counted, 0, length) and address > 0
            assert holds(real, address, length, 0)
            areas[address], marks[address] = length, step
            mark(real, address, length, step)
        elif areas:
            address = draw.choice(sorted(areas))
            old, value = areas.pop(address), marks.pop(address)
            assert holds(real, address, old, value)
            if what == "munmap":
                linux.munmap(real, address, old)
                model.munmap(counted, address, old)
                continue
            moved = linux.mremap(real, address, old, length)
            assert moved == model.mremap(counted, address, old, length) and moved > 0
            kept = min(old, length)
            assert real.words[moved >> 3] == value
            assert length < old or real.words[moved + kept - 8 >> 3] == value
            areas[moved], marks[moved] = length, value
            mark(real, moved, length, value)
        for meter in (MAPPED_BYTES, PEAK_MAPPED_BYTES):
            assert real.meters[meter] == counted.meters[meter]


def test_a_byte_of_a_page_is_the_page(both):
    real, _, areas = both
    address = linux.mmap(real, 0, PAGE_BYTES + 1)
    areas[address] = 2 * PAGE_BYTES
    assert real.meters[MAPPED_BYTES] == 2 * PAGE_BYTES
    assert linux.mremap(real, address, PAGE_BYTES + 1, 1) == address
    areas[address] = PAGE_BYTES
    assert real.meters[MAPPED_BYTES] == PAGE_BYTES
    linux.munmap(real, areas.popitem()[0], 1)
    assert real.meters[MAPPED_BYTES] == 0
    for end in (1, 2, PAGE_BYTES, PAGE_BYTES + 1):
        assert linux.brk(real, BREAK_BASE + end) == BREAK_BASE + end
    assert real.meters[SYSCALLS] == 3 + 2, "a break within a page is no call"
    address = linux.mmap(real, 0, PAGE_BYTES)
    areas[address] = PAGE_BYTES
    moved = linux.mremap(real, address, PAGE_BYTES, 3 * PAGE_BYTES)
    del areas[address]
    areas[moved] = 3 * PAGE_BYTES
    assert linux.mremap(real, moved, 3 * PAGE_BYTES, 3 * PAGE_BYTES - 1) == moved
    assert real.meters[SYSCALLS] == 5 + 2, "as many pages as before are no call"


def test_moved_pages_keep_their_content_and_leave_zeros(both):
    real, _, areas = both
    pages = 6 * PAGE_BYTES
    address = linux.mmap(real, 0, pages)
    areas[address] = pages
    for page in range(6):
        real.words[(address >> 3) + page * 512] = page + 1
    assert linux.move(real, address, address + 4 * PAGE_BYTES, 2 * PAGE_BYTES)
    assert [int(real.words[(address >> 3) + page * 512]) for page in range(6)] == [0, 0, 3, 4, 1, 2]
    # What was moved in parts is several mappings to Linux; refused or not, all stays mapped.
    moved = linux.move(real, address + 3 * PAGE_BYTES, address, 2 * PAGE_BYTES)
    assert [int(real.words[(address >> 3) + page * 512]) for page in range(6)] == (
        [4, 1, 3, 0, 0, 2] if moved else [0, 0, 3, 4, 1, 2]
    )
    mark(real, address, pages, 9)


@pytest.mark.skipif(not INTERPRETED, reason="compiled, nobody stands between it and Linux")
def test_a_target_that_linux_unmapped_is_mapped_again(monkeypatch):
    taken = []
    monkeypatch.setattr(linux, "system_call", lambda *arguments: -14)
    monkeypatch.setattr(linux, "take", lambda start, length: taken.append((start, length)))
    real = real_machine()
    assert not linux.move(real, BREAK_LIMIT, BREAK_LIMIT + (1 << 20), 8 * PAGE_BYTES)
    assert real.meters[SYSCALLS] == 1
    assert taken == [(ORIGIN + BREAK_LIMIT + (1 << 20), 8 * PAGE_BYTES)]


@pytest.mark.skipif(not INTERPRETED, reason="compiled, it is decided when it is built")
@pytest.mark.parametrize(("ahead", "room"), [(False, False), (True, False), (True, True)])
def test_a_table_grows_by_what_is_missing_in_flight_alone(monkeypatch, ahead, room):
    asked = []
    monkeypatch.setattr(tables, "AHEAD", ahead)
    monkeypatch.setattr(tables, "real_address", lambda table: ORIGIN)
    monkeypatch.setattr(tables, "take", lambda *where: asked.append(where) or room)
    assert tables.extend_table(None, PAGE_BYTES, 3 * PAGE_BYTES) is (room or not ahead)
    assert asked == [(ORIGIN + PAGE_BYTES, 2 * PAGE_BYTES)] * ahead


def test_dropped_pages_are_zero_again(both):
    real, _, areas = both
    address = linux.mmap(real, 0, 4 * PAGE_BYTES)
    areas[address] = 4 * PAGE_BYTES
    mark(real, address, 4 * PAGE_BYTES, 7)
    linux.madvise(real, address, 2 * PAGE_BYTES, model.ADVISE_DONTNEED)
    assert real.meters[SYSCALLS] == 2
    assert real.words[address >> 3] == 0
    assert real.words[address + 4 * PAGE_BYTES - 8 >> 3] == 7


def test_blocks_are_copied_and_cleared(both):
    real, _, areas = both
    address = linux.mmap(real, 0, PAGE_BYTES)
    areas[address] = PAGE_BYTES
    mark(real, address, 64, 5)
    linux.copy(real, address + 128, address, 64)
    assert holds(real, address + 128, 64, 5)
    linux.clear(real, address, 64)
    assert holds(real, address, 64, 0)


def test_what_there_is_no_room_for_is_refused(both):
    real, _, areas = both
    assert linux.mmap(real, 0, 1 << 40) == linux.mmap(real, 0, 0) == linux.mmap(real, 0, -1) == 0
    whole = MAPPED_TOP - BREAK_LIMIT
    areas[BREAK_LIMIT] = whole
    assert linux.mmap(real, 0, whole) == BREAK_LIMIT
    assert linux.mmap(real, 0, PAGE_BYTES) == 0
    assert linux.brk(real, 1 << 40) == linux.brk(real, BREAK_BASE - 1) == BREAK_BASE
    real.meters[CEILING] = ceiling = BREAK_BASE + PAGE_BYTES + 1
    assert linux.brk(real, ceiling) == linux.brk(real, ceiling + 1) == ceiling
    linux.brk(real, BREAK_BASE)
    linux.munmap(real, areas.popitem()[0], whole)
    highest = MAPPED_TOP - PAGE_BYTES
    taken = linux.take(ORIGIN + highest, PAGE_BYTES)  # by somebody else
    assert taken and linux.mmap(real, 0, PAGE_BYTES) == 0
    assert unmap(ORIGIN + highest, PAGE_BYTES) == 0
    assert linux.mmap(real, 0, 1) == highest, "a byte takes a page"
    areas[highest] = PAGE_BYTES
    taken = linux.take(ORIGIN + BREAK_BASE, PAGE_BYTES)
    assert taken and linux.brk(real, BREAK_BASE + PAGE_BYTES) == BREAK_BASE
    assert unmap(ORIGIN + BREAK_BASE, PAGE_BYTES) == 0


@pytest.mark.skipif(not INTERPRETED, reason="compiled, nobody stands between it and Linux")
@pytest.mark.parametrize("hemmed", [False, True])
def test_a_refused_resize_changes_nothing(both, monkeypatch, hemmed):
    """As under a limit of address space: where it would have gone is free again."""
    real, counted, areas = both
    lengths = [2 * PAGE_BYTES, 3 * PAGE_BYTES, PAGE_BYTES]
    places = [linux.mmap(real, 0, length) for length in lengths]
    assert places == [model.mmap(counted, 0, length) for length in lengths]
    areas.update(zip(places, lengths, strict=True))
    if not hemmed:  # above the last there is room now
        linux.munmap(real, places[1], lengths[1])
        model.munmap(counted, places[1], lengths[1])
        del areas[places[1]]
    refuse = {"on": True}

    def refusing(number, *arguments):
        return -12 if number == MREMAP and refuse["on"] else system_call(number, *arguments)

    monkeypatch.setattr(linux, "system_call", refusing)
    before = real.meters.copy()
    assert linux.mremap(real, places[2], PAGE_BYTES, 4 * PAGE_BYTES) == 0
    assert real.meters.tolist() == before.tolist()
    refuse["on"] = False
    resized = linux.mremap(real, places[2], PAGE_BYTES, 4 * PAGE_BYTES)
    assert resized == model.mremap(counted, places[2], PAGE_BYTES, 4 * PAGE_BYTES) != 0
    assert (resized == places[2]) is not hemmed
    del areas[places[2]]
    areas[resized] = 4 * PAGE_BYTES
    for length in (PAGE_BYTES, 2 * PAGE_BYTES, 5 * PAGE_BYTES):
        found = linux.mmap(real, 0, length)
        assert found == model.mmap(counted, 0, length)
        areas[found] = length
