"""Direct memory against what a JVM's pool of buffers said after each event."""

import numpy as np
import pytest

from direct_programs import LIMIT, SETTINGS, program
from heapwright.errors import HeapwrightError
from heapwright.trace.schema import events
from malloc_programs import FOLDER
from trial import FREE, MALLOC, Trial

COUNTED = ("buffers", "capacity", "reserved")


@pytest.mark.parametrize("name", SETTINGS)
def test_buffers_collections_and_refusals_are_the_jvms(name):
    with np.load(FOLDER / "java-direct.npz") as key:
        told, refused = key[f"{name}_counts"], key[f"{name}_refused"]
    trial, asked = Trial("java-direct over linear", SETTINGS[name][0]), program()
    answered, sizes = [], []
    for op, slot, size in zip(asked.op, asked.slot, asked.size, strict=True):
        placed = trial.replay(events(op=[op], slot=[slot], size=[size]))
        heap = trial.heap
        answered.append([int(getattr(heap, word)) for word in COUNTED])
        sizes.append(op == MALLOC and not placed[0, 0])
    assert np.flatnonzero((np.array(answered) != told[:, :3]).any(axis=1)).tolist() == []
    assert np.flatnonzero(sizes).tolist() == np.flatnonzero(refused != "").tolist() != []
    first = str(refused[refused != ""][0])
    assert first.startswith("Cannot reserve") and first in " ".join(trial.module.notes(trial.heap))
    trial.verify()


def test_a_dropped_buffer_waits_for_a_collection():
    trial = Trial("java-direct over linear", {"max_direct_memory": LIMIT, "collect_every": 2})
    trial.step(MALLOC, 0, 100)
    trial.step(FREE, 0)
    assert (int(trial.heap.buffers), int(trial.heap.waiting_count)) == (1, 1)
    trial.step(MALLOC, 1, 100)
    assert int(trial.heap.buffers) == 2
    trial.step(MALLOC, 2, 100)
    assert (int(trial.heap.buffers), int(trial.heap.waiting_count)) == (2, 0)
    trial.verify()
    trial.decompose()


@pytest.mark.parametrize("settings", [{"page_align": 2}, {"max_direct_memory": -1}])
def test_knobs_out_of_range(settings):
    with pytest.raises(HeapwrightError, match="page_align is 0 or 1"):
        Trial("java-direct over linear", settings)
