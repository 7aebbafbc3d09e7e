"""tcmalloc by hand; `test_malloc_keys.py` holds it to what the real one answered."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.machine.address_space import (
    FAULTS,
    FIRST_BREAK,
)
from heapwright.managers import named
from heapwright.managers.malloc.tcmalloc.size_classes import class_of, classes
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

MIB = 1 << 20


def test_size_classes():
    """Where candidates merge, the larger stays; a request gets the least class that holds it."""
    table = classes(32)
    bytes_ = table.bytes_of[: table.count[0]].tolist()
    assert bytes_[:11] == [0, 8, 16, 32, 48, 64, 80, 96, 112, 128, 144] and bytes_[-1] == 256 << 10
    assert all(2 <= batch <= 32 for batch in table.batch_of[1 : table.count[0]])
    for size in (0, 1, 8, 9, 17, 1000, 1024, 1025, 4096, 5000, 32768, 100_000, 256 << 10):
        fitting = next(each for each in bytes_[1:] if each >= size)
        assert bytes_[class_of(table, size)] == fitting
    assert class_of(table, (256 << 10) + 1) == class_of(table, 1 << 46) == 0


def test_the_constructor_leaves_a_cache_that_nobody_finds():
    trial = Trial("tcmalloc")
    first = trial.step(MALLOC, 0, 8)[0]
    heap = trial.heap
    assert (first - int(trial.machine.meters[FIRST_BREAK])) == 8 * MIB + 8, "after the metadata"
    assert int(heap.total - heap.unclaimed) == 2 * (64 << 10), "the lost one keeps its share"
    assert int(heap.reserves) == 1 and int(heap.system) == MIB


def test_a_thread_without_a_cache_frees_into_the_span():
    trial = Trial("tcmalloc")
    block = trial.step(MALLOC, 0, 40)[0]
    before = trial.rows("cached")
    trial.step(FREE, 0, thread=3)
    assert trial.rows("cached") == before
    assert trial.step(MALLOC, 1, 40, thread=3)[0] == block, "the span's newest"
    trial.step(FREE, 1, thread=3)
    assert len(trial.rows("cached")) == len(before) + 1
    trial.verify()


def test_an_ending_thread_gives_all_back_and_its_limit_to_the_others():
    trial = Trial("tcmalloc")
    for slot in range(40):
        trial.step(MALLOC, slot, 100, thread=1)
    for slot in range(40):
        trial.step(FREE, slot, thread=1)
    unclaimed = int(trial.heap.unclaimed)
    trial.step(5, -1, thread=1)
    assert int(trial.heap.unclaimed) > unclaimed
    assert trial.step(MALLOC, 0, 100, thread=1)[0], "its number may be another's"
    trial.verify()


def test_realloc_grows_by_a_quarter_and_shrinks_from_a_half():
    trial = Trial("tcmalloc")
    block, room = trial.step(MALLOC, 0, 1000)
    assert trial.step(REALLOC, 0, room // 2) == (block, room)
    assert trial.step(REALLOC, 0, room + 1)[1] >= room + room // 4
    large = trial.step(REALLOC, 0, 300_000)[1]
    assert large == 37 * 8192
    assert trial.step(REALLOC, 0, large // 2 - 1)[1] < large
    trial.verify()


def test_an_alignment_beyond_a_page_gives_the_ends_back():
    trial = Trial("tcmalloc")
    trial.step(MALLOC, 1, 8)
    before = int(trial.heap.normal)
    address, usable = trial.step(MEMALIGN, 0, 0, align=16)
    assert address % (1 << 16) == 0 and usable == 8192
    assert before - int(trial.heap.normal) == 8192
    trial.step(FREE, 0)
    assert int(trial.heap.normal) == before
    trial.verify()


def test_calloc_clears_to_the_end_of_the_block():
    trial = Trial("tcmalloc")
    trial.step(MALLOC, 1, 8)
    before = int(trial.machine.meters[FAULTS])
    trial.step(CALLOC, 0, 300_000)
    assert int(trial.machine.meters[FAULTS]) - before == 2 * 37


@pytest.mark.parametrize(("rate", "given"), [(0, 0), (1, 1), (10, 1)])
def test_pages_go_back_after_two_gibibytes_of_frees(rate, given):
    """A run at a time, the longer ago the less is freed: the first wait is 2^18 pages."""
    trial = Trial("tcmalloc", {"release_rate": rate})
    trial.run.progress[trial.loop.TOUCH] = 0
    size, times = 1 << 30, 3
    for _ in range(times):
        trial.step(MALLOC, 0, size)
        trial.step(FREE, 0)
    assert int(trial.heap.decommits) == given
    assert (int(trial.heap.decommitted) >= size) == bool(given)
    trial.verify()


def test_aggressive_decommit_leaves_nothing_normal():
    trial = Trial("tcmalloc", {"aggressive_decommit": 1})
    for slot in range(6):
        trial.step(MALLOC, slot, 300_000 + 8192 * slot)
    for slot in (1, 3, 2, 5, 0, 4):
        trial.step(FREE, slot)
        assert int(trial.heap.normal) == 0
        trial.verify()


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"transfer_num_obj": 1}, "transfer_num_obj is 2 to 8192, not 1"),
        ({"release_rate": -1}, "is not negative"),
        ({"aggressive_decommit": 2}, "aggressive_decommit is 0 or 1, not 2"),
        ({"version": 2_009_000}, "no version 2.9 here; it has: 2.10"),
    ],
)
def test_a_knob_that_does_not_fit_is_refused(knobs, said):
    manager = named("tcmalloc")
    with pytest.raises(HeapwrightError, match=said):
        manager.module.boot(machine(), manager.configured(knobs))


def test_refused_metadata_ends_the_program():
    trial = Trial("tcmalloc")
    assert trial.module.fatal(trial.heap) == ""
    trial.heap.broken = 1
    assert "refused memory" in trial.module.fatal(trial.heap)
