"""The twin of an address space: known outcomes, and random calls beside a real process."""

import errno
import platform
import re
import sys

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.linux.areas import PAGE_BYTES, READ, WRITE, File
from heapwright.linux.calls import (
    COLLAPSE,
    DONTFORK,
    DONTNEED,
    FIXED,
    FREE,
    HUGEPAGE,
    NOHUGEPAGE,
    PRIVATE,
    CallError,
    SegmentationFault,
)
from heapwright.linux.page_table import Cache, Frame
from heapwright.linux.process import GUARD_BYTES, Process
from heapwright.linux.smaps import as_pmap, as_smaps, read_smaps, rows_of

TOP, BOTH = 1 << 40, READ | WRITE
KIB, MIB = 1 << 10, 1 << 20
HEAP = 1 << 30


def page(number):
    return number * PAGE_BYTES


@pytest.fixture
def process():
    return Process(TOP, (TOP + MIB, TOP + MIB + page(4)), HEAP)


def mapped(process, pages, protection=BOTH, flags=PRIVATE, hint=0):
    return process.mmap(hint, page(pages), protection, flags)


def resident(process):
    return sum(row.resident_bytes for row in rows_of(process))


def test_memory_comes_at_the_first_touch(process):
    start = process.mmap(0, 64 * MIB, BOTH, PRIVATE)
    assert resident(process) == 0
    process.write(start, 64 * MIB)
    assert (process.minor_faults, resident(process)) == (16_384, 64 * MIB)
    process.write(start, 64 * MIB)
    assert process.minor_faults == 16_384


def test_a_page_that_is_only_read_shows_zeros_and_costs_nothing(process):
    start = mapped(process, 4)
    process.read(start, page(4))
    assert (process.minor_faults, resident(process)) == (4, 0)
    process.write(start)
    assert (process.minor_faults, resident(process)) == (5, PAGE_BYTES)


def test_mappings_lie_from_the_top_down_and_neighbours_are_one(process):
    first, second = mapped(process, 2), mapped(process, 3)
    assert (first, second) == (TOP - page(2), TOP - page(5))
    assert next((row.start, row.end) for row in rows_of(process)) == (TOP - page(5), TOP)


def test_private_memory_of_whole_huge_pages_begins_at_one(process):
    mapped(process, 1)
    large = process.mmap(0, 2 * MIB, BOTH, PRIVATE)
    assert large == TOP - 4 * MIB
    between = mapped(process, 2)
    assert between == TOP - page(3)  # the gap above it is used first


def test_a_hole_splits_and_a_protection_too_and_its_end_joins_again(process):
    start = mapped(process, 8)
    process.write(start, page(8))
    process.munmap(start + page(2), page(1))
    process.mprotect(start + page(5), page(1), READ)
    told = [(row.start - start, row.permissions) for row in rows_of(process)][:4]
    assert told == [
        (0, "rw-p"),
        (page(3), "rw-p"),
        (page(5), "r--p"),
        (page(6), "rw-p"),
    ]
    with pytest.raises(SegmentationFault):
        process.write(start + page(5))
    process.mprotect(start + page(5), page(1), BOTH)
    assert len(rows_of(process)) == 3
    with pytest.raises(CallError) as error:
        process.mprotect(start, page(4), READ)
    assert error.value.number == errno.ENOMEM
    assert [row.permissions for row in rows_of(process)][:2] == ["r--p", "rw-p"]


def test_neighbours_whose_pages_were_written_apart_stay_apart(process):
    low = process.mmap(HEAP * 8, page(2), BOTH, PRIVATE | FIXED)
    high = process.mmap(HEAP * 8 + page(4), page(2), BOTH, PRIVATE | FIXED)
    process.write(low), process.write(high)
    process.mmap(HEAP * 8 + page(2), page(2), BOTH, PRIVATE | FIXED)
    assert [row.bytes for row in rows_of(process)][:2] == [page(4), page(2)]


def test_an_area_grows_in_place_or_moves_with_its_pages(process):
    start = mapped(process, 4)
    process.write(start, page(4))
    faults = process.minor_faults
    with pytest.raises(CallError):
        process.mremap(start, page(4), page(8), 0)
    moved = process.mremap(start, page(4), page(8))
    assert moved == TOP - page(12)
    assert process.mremap(moved, page(8), page(2)) == moved
    process.read(moved, page(2))
    assert process.minor_faults == faults
    assert resident(process) == page(2)
    assert process.mremap(moved, page(2), page(6)) == moved


def test_what_is_given_back_is_zero_again_and_what_is_given_up_stays(process):
    start = mapped(process, 4)
    process.write(start, page(4))
    process.madvise(start, page(2), DONTNEED)
    process.madvise(start + page(2), page(2), FREE)
    (row, _) = rows_of(process)
    assert (row.resident_bytes, row.dirty_bytes) == (page(2), 0)
    process.write(start + page(2))
    assert rows_of(process)[0].dirty_bytes == PAGE_BYTES
    process.madvise(start, page(1), HUGEPAGE)
    assert len(rows_of(process)) == 3


def test_a_fork_shares_pages_until_one_writes(process):
    start = mapped(process, 2)
    other = process.mmap(HEAP * 8, page(1), BOTH, PRIVATE | FIXED)
    process.write(start, page(2)), process.write(other)
    process.madvise(other, page(1), DONTFORK)
    child = process.fork()
    assert child.areas.at(other) is None
    before = child.minor_faults
    child.read(start, page(2))
    assert child.minor_faults == before
    child.write(start)
    assert child.minor_faults == before + 1
    assert (child.check(), process.check()) == ("", "")
    faults = process.minor_faults
    process.write(start)  # it is the last that shows the page
    assert process.minor_faults == faults


def test_a_file_is_mapped_sixteen_pages_at_a_time_and_copied_when_written(process):
    file = File("/a/file", 40)
    process.caches[file.name] = Cache({number: Frame(False) for number in range(40)})
    start = process.mmap(0, page(64), BOTH, PRIVATE, file)
    process.read(start + page(3))
    assert (process.minor_faults, resident(process)) == (1, page(16))
    process.write(start + page(3))
    row = rows_of(process)[0]
    assert (row.anonymous_bytes, row.dirty_bytes) == (PAGE_BYTES, PAGE_BYTES)
    with pytest.raises(SegmentationFault, match="beyond the file's end"):
        process.read(start + page(40))


def test_the_heap_and_the_stack_grow(process):
    assert process.brk(HEAP + 5000) == HEAP + 5000
    process.write(HEAP, 5000)
    assert rows_of(process)[0].name == "[heap]"
    assert process.brk(HEAP) == HEAP
    assert resident(process) == 0
    stack = TOP + MIB
    process.write(stack - page(3))
    assert process.areas.at(stack - page(3)).name == "[stack]"
    with pytest.raises(SegmentationFault):
        process.write(stack + page(4) - 9 * MIB)  # beyond its limit
    lowest = process.areas.at(stack).start
    process.mmap(lowest - GUARD_BYTES - page(1), page(1), BOTH, PRIVATE | FIXED)
    with pytest.raises(SegmentationFault):
        process.write(lowest - page(2))


def test_what_linux_refuses(process):
    for call, number in (
        (lambda: process.mmap(0, 0, BOTH, PRIVATE), errno.EINVAL),
        (lambda: process.mmap(100, page(1), BOTH, PRIVATE | FIXED), errno.EINVAL),
        (lambda: process.mmap(PAGE_BYTES, page(1), BOTH, PRIVATE | FIXED), errno.EPERM),
        (lambda: process.mmap(0, 1 << 46, BOTH, PRIVATE), errno.ENOMEM),
        (lambda: process.munmap(5, page(1)), errno.EINVAL),
        (lambda: process.mremap(HEAP, page(1), page(2)), errno.EFAULT),
        (lambda: process.madvise(HEAP, page(1), DONTNEED), errno.ENOMEM),
    ):
        with pytest.raises(CallError) as error:
            call()
        assert error.value.number == number


def test_smaps_is_written_as_it_is_read(process):
    start = mapped(process, 3)
    process.write(start, page(2))
    text = as_smaps(rows_of(process))
    assert [row.to_json() for row in read_smaps(text, "it")] == [
        row.to_json() for row in rows_of(process)
    ]
    pmap = as_pmap(rows_of(process)).splitlines()
    assert pmap[1] == f"{start:016x}      12       8       8 rw---   [ anon ]"
    assert pmap[-1].split() == ["total", "kB", "28", "8", "8"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("what is this", "line 1: this is no smaps: 'what is this'"),
        ("2000-1000 rw-p 0 00:00 0", "line 1: areas do not ascend"),
        ("1000-3000 rw-p 0 00:00 0\n2000-4000 rw-p 0 00:00 0", "line 2: areas do not ascend"),
    ],
)
def test_no_smaps_is_a_sentence(text, said):
    with pytest.raises(HeapwrightError, match=re.escape(said)):
        read_smaps(text, "a file")


def kernel():
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(found[1]), int(found[2])) if found else (0, 0)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64" or kernel() < (6, 18),
    reason="the rules are those of Linux 6.18 on x86-64",
)
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled: once is enough")
@pytest.mark.parametrize(("seed", "forks"), [(1, 0), (2, 2), (3, 2)])
def test_random_calls_do_what_they_do_to_a_real_process(seed, forks):
    from heapwright.references.address_space import differences

    assert list(differences(seed, calls=100, forks=forks)) == []


@pytest.fixture
def advised(process):
    """A process that may have huge pages, and 4 MiB that ask for them."""
    process.huge_pages = "madvise"
    start = process.mmap(0, 4 * MIB, BOTH, PRIVATE)
    process.madvise(start, 4 * MIB, HUGEPAGE)
    return process, start


def huge(process):
    return sum(row.huge_bytes for row in rows_of(process))


def test_the_first_write_of_what_asks_for_huge_pages_brings_one(advised):
    process, start = advised
    process.write(start + page(7))
    assert (process.minor_faults, resident(process), huge(process)) == (1, 2 * MIB, 2 * MIB)
    process.write(start, 4 * MIB)
    assert (process.minor_faults, huge(process)) == (2, 4 * MIB)
    other = process.mmap(0, 4 * MIB, BOTH, PRIVATE)
    process.write(other, 2 * MIB)  # has not asked
    assert (process.minor_faults, huge(process)) == (2 + 512, 4 * MIB)
    assert "AnonHugePages:      4096 kB" in as_smaps(rows_of(process))


def test_a_read_shows_the_huge_page_of_zeros_and_a_write_of_it_brings_memory(advised):
    process, start = advised
    process.read(start, 2 * MIB)
    assert (process.minor_faults, resident(process)) == (1, 0)
    process.write(start)
    assert (process.minor_faults, huge(process)) == (2, 2 * MIB)


@pytest.mark.parametrize(
    ("call", "left"),
    [
        (lambda process, start: process.munmap(start + page(3), page(1)), 511),
        (lambda process, start: process.mprotect(start, page(1), READ), 512),
        (lambda process, start: process.madvise(start, page(5), DONTNEED), 507),
        (lambda process, start: process.madvise(start, page(5), NOHUGEPAGE), 512),
        (lambda process, start: process.mremap(start, 2 * MIB, 2 * MIB + page(1)), 512),
        # Linux looks through what it breaks up to give a part back: zeros are not kept
        (lambda process, start: process.madvise(start, page(5), FREE), 1),
    ],
)
def test_what_splits_a_huge_page_and_what_stays_of_it(advised, call, left):
    process, start = advised
    process.write(start)
    call(process, start)
    assert (huge(process), resident(process)) == (0, page(left))
    assert process.check() == ""


def test_a_huge_page_moves_whole_to_a_multiple_of_its_length(advised):
    process, start = advised
    process.write(start)
    moved = process.mremap(start, 4 * MIB, 6 * MIB)
    assert (moved % (2 * MIB), moved != start, huge(process)) == (0, True, 2 * MIB)
    process.write(moved, 2 * MIB)
    assert process.minor_faults == 1


def test_a_child_copies_a_page_of_a_huge_one_and_its_parent_keeps_it(advised):
    process, start = advised
    process.write(start)
    child = process.fork()
    assert huge(child) == 2 * MIB
    child.write(start, page(2))
    assert (child.minor_faults, huge(child), resident(child)) == (2, 0, 2 * MIB)
    assert huge(process) == 2 * MIB
    child.madvise(start, 2 * MIB, COLLAPSE)
    assert (huge(child), child.check()) == (2 * MIB, "")


def test_collapse_makes_one_of_what_is_there_and_refuses_what_never_was(process):
    start = process.mmap(0, 4 * MIB, BOTH, PRIVATE)
    process.write(start)
    process.madvise(start, 2 * MIB, COLLAPSE)
    assert (process.minor_faults, huge(process)) == (1, 2 * MIB)
    process.write(start, 2 * MIB)
    assert process.minor_faults == 1
    for address, length in ((start + 2 * MIB, 2 * MIB), (start + page(1), page(2))):
        with pytest.raises(CallError) as error:
            process.madvise(address, length, COLLAPSE)
        assert error.value.number == errno.EINVAL


def test_page_tables_take_memory_of_their_own_until_nothing_lies_there(process):
    start = process.mmap(HEAP * 8, 4 * MIB, BOTH, PRIVATE | FIXED)
    process.write(start), process.write(start + 2 * MIB)
    assert process.table.tables.bytes == page(2 + 1 + 1)
    process.madvise(start, 2 * MIB, DONTNEED)  # a table that is emptied whole goes at once
    assert process.table.tables.bytes == page(1 + 1 + 1)
    process.munmap(start, 4 * MIB)
    assert process.table.tables.bytes == 0


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() != "x86_64" or kernel() < (6, 18),
    reason="the rules are those of Linux 6.18 on x86-64",
)
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled: once is enough")
@pytest.mark.parametrize(("seed", "forks"), [(7, 1), (16, 0)])
def test_huge_pages_come_and_go_as_in_a_real_process(seed, forks):
    from heapwright.references.huge_pages import huge_differences, policy

    if policy() != "madvise":
        pytest.skip("this system gives huge pages to everyone, or to nobody")
    assert list(huge_differences(seed, calls=50, forks=forks)) == []
