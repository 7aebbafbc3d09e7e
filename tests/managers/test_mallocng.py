"""mallocng by hand; `test_malloc_keys.py` holds it to what the real one answered."""

from heapwright.machine.address_space import (
    FAULTS,
    LAZY_PAGES,
    MAPPED_BYTES,
    MAPPED_TOP,
    RESIDENT_PAGES,
)
from heapwright.managers.malloc.mallocng.blocks import nominal
from heapwright.managers.malloc.mallocng.state import SLOT_UNITS, class_of
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

PAGE = 4096


def path(trial, name):
    """How often a path was taken."""
    return int(trial.heap.paths[trial.module.PATHS.index(name)])


def test_sizes_go_in_four_steps_a_doubling():
    assert len(SLOT_UNITS) == 48 and SLOT_UNITS[-1] * 16 - 4 > 131_052 - 16
    heap = Trial("mallocng").heap
    for class_, units in enumerate(SLOT_UNITS[:-1]):
        assert class_of(heap, units * 16 - 4) == class_
        assert class_of(heap, units * 16 - 3) == class_ + 1


def test_a_small_group_lies_in_a_slot_of_a_larger_class():
    trial = Trial("mallocng")
    first, room = trial.step(MALLOC, 0, 10)
    assert room == 10, "what was asked for, to the byte"
    assert trial.step(MALLOC, 1, 10)[0] == first + 16
    assert path(trial, "nested") > 0 and path(trial, "group") == 1
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    trial.verify()
    assert path(trial, "nested_freed") == path(trial, "nested")
    assert trial.machine.meters[MAPPED_BYTES] == 2 * PAGE, "records and the page before them"


def test_a_block_begins_later_than_the_one_before_it():
    trial = Trial("mallocng")
    first, _ = trial.step(MALLOC, 0, 200_000)
    assert first % PAGE == 16 + 16, "one mapping was made: one unit"
    trial.step(FREE, 0)
    assert trial.step(MALLOC, 0, 200_000)[0] == first + 16, "two were"


def test_a_mapped_block_grows_into_the_hole_above():
    trial = Trial("mallocng")
    trial.step(MALLOC, 0, 150_000)
    low, _ = trial.step(MALLOC, 1, 150_000)
    trial.step(FREE, 0)
    assert trial.step(REALLOC, 1, 250_000)[0] == low and path(trial, "remapped") == 1
    moved, _ = trial.step(REALLOC, 1, 900_000)
    assert moved < low and moved % PAGE == low % PAGE
    trial.verify()


def test_whole_pages_of_a_freed_slot_go_back_lazily():
    trial = Trial("mallocng")
    for slot in range(30):  # of the first each has pages of its own
        trial.step(MALLOC, slot, 21_800)
    trial.step(FREE, 24)
    trial.step(FREE, 27)
    assert path(trial, "lazily_freed") >= 1 and trial.machine.meters[LAZY_PAGES] >= 3
    trial.verify()


def test_calloc_writes_only_the_ends_of_untouched_pages():
    trial = Trial("mallocng")
    for slot in range(5):  # a class that is in use has groups of several slots
        trial.step(MALLOC, slot, 30_000)
    resident = int(trial.machine.meters[RESIDENT_PAGES])
    trial.step(CALLOC, 9, 30_000)
    assert trial.machine.meters[RESIDENT_PAGES] - resident <= 3
    assert trial.machine.meters[FAULTS] > 8


def test_an_aligned_block_far_from_its_group_is_found_again():
    trial = Trial("mallocng")
    block, room = trial.step(MEMALIGN, 0, 50, align=21)  # beyond two bytes of units
    assert block % (2 << 20) == 0 and room == 50
    start, bytes_ = trial.block_of(block, 50)
    assert nominal(trial.machine, block, start + bytes_) == 50
    trial.step(FREE, 0)
    trial.verify()
    assert trial.machine.meters[MAPPED_BYTES] == 2 * PAGE and block < MAPPED_TOP
