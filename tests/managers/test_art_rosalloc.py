"""RosAlloc against what ART's own library answered, and by hand."""

import numpy as np
import pytest

from android_programs import CASES
from heapwright.errors import HeapwrightError
from heapwright.managers import named
from heapwright.references.android.agreement import offsets, resident_pages
from malloc_programs import FOLDER, batch
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

NAME = "art-rosalloc"
PAGE = 4096


def trial_of(space):
    knobs = ("capacity_bytes", "page_release_mode", "page_release_size_threshold_bytes")
    return Trial(NAME, dict(zip(knobs, [space[0], *space[1]], strict=True)))


@pytest.mark.parametrize("program", CASES[NAME])
def test_every_address_is_the_real_ones(program):
    with np.load(FOLDER / f"{NAME}-{program}.npz") as kept:
        key = {column: kept[column] for column in kept.files}
    space = CASES[NAME][program]
    trial = trial_of(space)
    ours = offsets(trial.heap, trial.replay(batch(program)))
    assert np.flatnonzero(ours[:, 0] != key["offset"]).tolist() == []
    assert (ours[:, 1] == key["usable"]).all()
    assert int(trial.run.progress[trial.loop.REFUSED]) == key["refused"] > 20
    assert resident_pages(trial.heap, space.zone_bytes) == key["resident"]
    assert trial.module.space(trial.heap) == space
    assert str(key["version"]) in named(NAME).card.versions
    assert "would collect and try again" in trial.module.notes(trial.heap)[0]
    trial.verify()


def test_a_threads_run_uses_what_was_freed_of_it_when_it_is_out_of_slots():
    trial = Trial(NAME)
    slots = int(trial.heap.slots[15])  # of 128 bytes
    first = [trial.step(MALLOC, slot, 128)[0] for slot in range(slots)]
    assert first == sorted(first) and first[0] % PAGE == (PAGE - 80) % 128 + 80
    trial.step(FREE, 3)
    trial.step(FREE, 9)
    assert trial.step(MALLOC, 3, 128, thread=1)[0] // PAGE != first[0] // PAGE
    assert [trial.step(MALLOC, slot, 128)[0] for slot in (100, 101)] == [first[9], first[3]]
    trial.verify()


def test_a_shared_run_has_the_newest_slot_first_and_a_spare_one_the_lowest_address():
    trial = Trial(NAME)
    slots = int(trial.heap.slots[-1])
    assert slots == 7
    made = [trial.step(MALLOC, slot, 2048)[0] for slot in range(3 * slots)]
    for slot in (2, 9, 8, 1):  # of the first two runs, which are full
        trial.step(FREE, slot)
    for slot in range(2 * slots, 3 * slots):  # the current one is free as a whole
        trial.step(FREE, slot)
        trial.verify()
    again = [trial.step(MALLOC, 30 + each, 2048)[0] for each in range(4)]
    assert again == [made[1], made[2], made[8], made[9]]


def test_pages_are_the_lowest_and_merge():
    trial = trial_of((1 << 20, (0, 0)))
    runs = [trial.step(MALLOC, slot, 3 * PAGE)[0] for slot in range(4)]
    for slot in (0, 2, 1):
        trial.step(FREE, slot)
        trial.verify()
    assert trial.step(MALLOC, 5, 9 * PAGE)[0] == runs[0]
    assert trial.step(MALLOC, 6, 1 << 20) == (0, 0)
    assert trial.step(REALLOC, 5, 1 << 20) == (runs[0], 9 * PAGE), "the old block stays"
    assert trial.step(MEMALIGN, 7, 40, align=6)[1] == 64
    sizes = (129, 512, 513, 1024, 1025)
    usable = [trial.step(MALLOC, slot, size)[1] for slot, size in enumerate(sizes, 10)]
    assert usable == [144, 512, 1024, 1024, 2048]
    assert trial.step(MEMALIGN, 8, 8, align=13) == (0, 0), "nothing lies beyond a page's multiple"


def test_bad_knobs_are_a_sentence():
    for knob, value in (
        ("capacity_bytes", 4096),
        ("capacity_bytes", (1 << 20) + 1),
        ("page_release_mode", 5),
        ("page_release_size_threshold_bytes", 100),
    ):
        with pytest.raises(HeapwrightError, match=rf"art-rosalloc\.{knob}|{knob}"):
            Trial(NAME, {knob: value})


def test_a_run_at_the_end_of_the_space_has_nothing_above():
    trial = trial_of((1 << 20, (0, 0)))
    fill = [slot for slot in range(300) if trial.step(MALLOC, slot, PAGE)[0]]
    assert len(fill) == 256, "of every page"
    for slot in (*fill[:100], *fill[:99:-1]):
        trial.step(FREE, slot)
    assert trial.step(MALLOC, 0, 256 * PAGE)[0], "one run again"
    trial.verify()
