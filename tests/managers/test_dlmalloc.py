"""dlmalloc against what Doug Lea's own code answered, and by hand."""

import numpy as np
import pytest

from android_programs import CASES
from heapwright.errors import HeapwrightError
from heapwright.managers import named
from heapwright.references.android.agreement import offsets, resident_pages
from malloc_programs import FOLDER, batch
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

NAME = "dlmalloc"
PAGE = 4096
KNOBS = (
    *("word_bytes", "alignment", "granularity", "trim_threshold", "footprint_limit"),
    "space_bytes",
)


@pytest.mark.parametrize("program", CASES[NAME])
def test_every_address_is_the_real_ones(program):
    with np.load(FOLDER / f"{NAME}-{program}.npz") as kept:
        key = {column: kept[column] for column in kept.files}
    space = CASES[NAME][program]
    trial = Trial(NAME, dict(zip(KNOBS, space.told, strict=True)))
    placed = trial.replay(batch(program))
    ours = offsets(trial.heap, placed)
    assert np.flatnonzero(ours[:, 0] != key["offset"]).tolist() == []
    assert (ours[:, 1] == key["usable"]).all()
    assert int(trial.run.progress[trial.loop.REFUSED]) == key["refused"]
    assert int(trial.heap.space.peak) == key["peak"]
    assert resident_pages(trial.heap, space.zone_bytes) == key["resident"]
    assert trial.module.space(trial.heap) == space
    assert str(key["version"]) in named(NAME).card.versions
    trial.verify()


def test_a_small_request_is_cut_from_what_the_last_one_left():
    trial = Trial(NAME)
    blocks = [trial.step(MALLOC, slot, 200)[0] for slot in range(4)]
    assert blocks == [blocks[0] + 208 * each for each in range(4)]
    trial.step(FREE, 1)
    assert trial.step(MALLOC, 9, 40)[0] == blocks[1], "of the only list"
    assert trial.step(MALLOC, 10, 40)[0] == blocks[1] + 48, "of dv"
    trial.verify()
    assert trial.step(MALLOC, 11, 100)[0] == blocks[1] + 96, "all that is left: 112 bytes"
    assert trial.step(MALLOC, 12, 100)[0] == blocks[3] + 208


def test_the_best_fit_of_a_tree_and_equal_sizes_in_a_ring():
    trial = Trial(NAME)
    sizes = (1000, 400, 1000, 700, 1000, 600)
    made = []
    for slot, size in enumerate(sizes):
        made.append(trial.step(MALLOC, slot, size)[0])
        trial.step(MALLOC, 50 + slot, 24)  # holds them apart
    for slot in range(len(sizes)):
        trial.step(FREE, slot)
        trial.verify()
    assert trial.step(MALLOC, 10, 590)[0] == made[5]
    assert trial.step(MALLOC, 11, 1000)[0] in (made[0], made[2], made[4])
    assert trial.step(MALLOC, 12, 696)[0] == made[3]
    assert trial.step(MEMALIGN, 13, 100, align=9)[0] % 512 == 0
    trial.verify()


def test_it_grows_where_it_lies_and_a_large_top_is_cut():
    trial = Trial(NAME, {"trim_threshold": 1 << 16})
    first = trial.step(MALLOC, 0, 100)[0]
    assert trial.step(REALLOC, 0, 3000)[0] == first
    assert trial.step(REALLOC, 0, 1 << 18)[0] > first, "the system is not asked for it"
    held = int(trial.heap.space.footprint)
    trial.step(FREE, 0)
    assert trial.heap.space.footprint == PAGE < held
    assert trial.step(MALLOC, 1, 1 << 40) == (0, 0) and not trial.heap.space.contiguous
    trial.verify()


def test_a_space_that_was_given_memory_goes_on_in_segments():
    trial = Trial(NAME, {"space_bytes": PAGE, "word_bytes": 4})
    blocks = [trial.step(MALLOC, slot, 1200)[0] for slot in range(6)]
    assert blocks[1] // PAGE != blocks[2] // PAGE and trial.heap.space.older
    trial.verify()
    assert trial.decompose()["header"] > 480
    for slot in range(6):
        trial.step(FREE, slot)
        trial.verify()


def test_bad_knobs_are_a_sentence():
    for knob, value in (
        ("word_bytes", 6),
        ("alignment", 24),
        ("granularity", 1000),
        ("trim_threshold", -1),
        ("space_bytes", 100),
    ):
        with pytest.raises(HeapwrightError, match=knob):
            Trial(NAME, {knob: value})
