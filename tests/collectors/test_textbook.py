"""What the textbook managers say alike: their knobs, their heaps, and what their checks find."""

import pickle

import numpy as np
import pytest

from heapwright.collectors import textbook
from heapwright.collectors.objects import HEADER_BYTES
from heapwright.managers.textbook.mark_sweep import manager as mark_sweep
from heapwright.trace.schema import NEW, ROOT, WRITE
from trial import CollectedTrial


def test_every_knob_of_the_frame_comes_first():
    config = mark_sweep.Config()
    assert config._fields[:3] == ("heap_bytes", "minimum_bytes", "growth_percent")
    assert config == (0, 4 << 20, 100, mark_sweep.LAZY, 1)
    assert config._replace(sweeping=0).sweeping == 0


def test_knobs_and_heap_are_the_managers_own():
    """Compiled code is kept with the classes of its arguments, by their names."""
    assert pickle.loads(pickle.dumps(mark_sweep.Config)) is mark_sweep.Config
    assert pickle.loads(pickle.dumps(mark_sweep.Heap)) is mark_sweep.Heap
    assert mark_sweep.Heap._fields == (
        *("machine", "mutator", "log", "pace", "space", "stack"),
        *("fields", "paths"),
    )


def test_a_part_that_is_not_given_is_missed():
    with pytest.raises(TypeError, match="stack"):
        textbook.empty(mark_sweep.Heap, ("new", "write"), None, None, None, space=None)


def holding(name, settings=None):
    """A trial of three objects of 32 user bytes, the first of which refers to the second."""
    trial = CollectedTrial(name, settings)
    for slot in range(3):
        trial.step(NEW, slot, 32, 2)
        trial.step(ROOT, slot)
    trial.step(WRITE, 0, 0, 1, 1)
    assert trial.broken() == 0
    return trial


def word(trial, slot, offset):
    """Index of a word of the object in `slot`."""
    return int(trial.held.handles[slot]) + offset >> 3


def without_size(trial):
    trial.machine.words[word(trial, 1, -8)] = 0


def with_a_mark(trial):
    trial.machine.words[word(trial, 1, -8)] |= np.int64(-1) << np.int64(63)


def with_a_stray_reference(trial):
    trial.machine.words[word(trial, 0, 8)] = 4096


def with_a_strange_handle(trial):
    trial.held.handles[2] = trial.held.handles[1]


def with_another_goal(trial):
    trial.heap.pace.goal += 4096


def with_an_entry_on_the_stack(trial):
    trial.heap.stack.chunk = trial.heap.stack.top = 1 << 25


def with_one_reference_too_many_counted(trial):
    trial.machine.words[word(trial, 1, -8)] += 1 << 31


def occupying_more(trial):
    trial.heap.space.occupied += 16


LIMITED = {"heap_bytes": 1 << 20}


@pytest.mark.parametrize(
    ("name", "harm", "number"),
    [
        ("semispace", without_size, 1),
        ("semispace", with_a_mark, 1),
        ("semispace", with_a_stray_reference, 2),
        ("semispace", with_a_strange_handle, 3),
        ("semispace", with_another_goal, 4),
        ("mark-compact", with_a_mark, 1),
        ("mark-compact", with_a_stray_reference, 2),
        ("mark-compact", with_an_entry_on_the_stack, 5),
        ("mark-sweep", occupying_more, 21),
        ("mark-sweep", with_a_mark, 22),
        ("mark-sweep", with_an_entry_on_the_stack, 31),
        ("mark-sweep", with_another_goal, 32),
        ("mark-sweep", with_a_strange_handle, 33),
        ("refcount", with_one_reference_too_many_counted, 34),
        ("generational", with_a_strange_handle, 52),
        ("region-gc", with_a_stray_reference, 3),
        ("region-gc", with_a_strange_handle, 4),
    ],
)
def test_a_check_finds_what_is_broken(name, harm, number):
    trial = holding(name, LIMITED)
    harm(trial)
    assert trial.broken() == number


def test_a_block_begins_at_its_header():
    trial = holding("semispace")
    address = int(trial.held.handles[0])
    assert trial.rows("cached") == []
    assert textbook.usable(trial.heap, address, 32) == 32
    assert tuple(textbook.extent(trial.heap, address, 32)) == (address - HEADER_BYTES, 48)
