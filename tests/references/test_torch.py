"""The caching allocator's twin beside the addresses of a snapshot."""

import pickle

import pytest

from heapwright.errors import HeapwrightError
from heapwright.references import reference
from heapwright.trace.importers import torch_snapshot
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import replay
from malloc_programs import trace as malloc_trace
from torch_snapshots import BASE, snapshot

MIB = 1 << 20


def imported(tmp_path, made):
    path, output = tmp_path / "s.pickle", tmp_path / "s.heap.parquet"
    path.write_bytes(pickle.dumps(made))
    torch_snapshot.write(torch_snapshot.read(path), path, output, lambda share: None)
    return Trace.open(output)


def agree(trace, settings=None):
    return reference("heapwright.references.torch").agree("cuda-caching", trace, settings, None)


def test_a_snapshot_is_its_own_key(tmp_path):
    found = agree(imported(tmp_path, snapshot(keep=0.5)))
    assert found.agrees and found.addresses.compared > 250
    assert found.segments > 20 and found.first_difference is None
    assert found.to_json()["addresses"]["equal"] == found.addresses.compared


def test_nothing_is_said_of_what_is_written_on_a_device(tmp_path):
    result = replay("cuda-caching", imported(tmp_path, snapshot(keep=0.5)))
    assert result.conditions == {}
    assert not [note for note in result.notes if "calloc" in note or "huge" in note]


def test_another_setting_places_blocks_elsewhere_and_the_first_is_told(tmp_path):
    found = agree(imported(tmp_path, snapshot()), {"roundup_power2_divisions": 2})
    assert not found.agrees
    assert any("First difference at event" in said for said in found.sentences())
    assert len(found.rows()) == 3 and "cuda-caching on" in found.title


def test_what_was_given_back_is_an_event_unless_the_device_was_full(tmp_path):
    """A segment of 60 MiB goes back before one of 66: by the program, or, where an error tells that
    the device has but 70, by the allocator."""

    def event(action, at, size, **more):
        return {"action": action, "addr": at, "size": size * MIB, "stream": 0} | more

    second = BASE + (1 << 28)
    told = [event("segment_alloc", BASE, 60), event("alloc", BASE, 60)]
    told += [event("free_completed", BASE, 60), event("segment_free", BASE, 60)]
    told += [event("segment_alloc", second, 66), event("alloc", second, 66)]
    block = {"size": 66 * MIB, "state": "active_allocated"}
    segments = [{"address": second, "total_size": 66 * MIB, "stream": 0, "blocks": [block]}]
    made = {"segments": segments, "device_traces": [told]}
    trace = imported(tmp_path, made)
    assert trace.events == 4 and any("empty_cache" in note for note in trace.notes)
    assert agree(trace).agrees
    told.append({"action": "oom", "size": 50 * MIB, "device_free": 4 * MIB, "stream": 0})
    trace = imported(tmp_path, made)
    assert trace.settings == {"capacity_mb": 70} and trace.events == 5
    assert not any("empty_cache" in note for note in trace.notes)
    assert agree(trace).agrees


def test_a_trace_of_no_device_and_one_that_is_too_wide_are_a_sentence(tmp_path):
    with pytest.raises(HeapwrightError, match="is no snapshot of a GPU's memory"):
        agree(malloc_trace("small", tmp_path))
    made = snapshot(keep=0.1)
    far = [
        {"action": "alloc", "addr": BASE + (n << 28), "size": 1 << 28, "stream": 0}
        for n in range(300)
    ]
    made["device_traces"][0] += far
    with pytest.raises(HeapwrightError, match="more than the model's address space"):
        agree(imported(tmp_path, made))
