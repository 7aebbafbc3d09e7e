"""PyTorch's snapshots: what lay there at the start, every address, and pickles made to do harm."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.api.advising import advise
from heapwright.api.maps import maps
from heapwright.api.selection import selected
from heapwright.api.why import why
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import MAPPED_TOP
from heapwright.trace.importers import import_file, pickled, snapshot_start, torch_snapshot
from heapwright.trace.schema import MALLOC
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay
from torch_snapshots import BASE, history, snapshot

MIB = 1 << 20


def imported(tmp_path, made, name="s.pickle"):
    """The trace of a snapshot."""
    path, output = tmp_path / name, tmp_path / "s.heap.parquet"
    path.write_bytes(pickle.dumps(made))
    torch_snapshot.write(torch_snapshot.read(path), path, output, lambda share: None)
    return Trace.open(output)


def replayed(trace, settings=None):
    """The twin after the trace, and each event's address."""
    twin = Replay("cuda-caching", trace, settings or {}, Conditions("none"))
    twin.heap.device.next = MAPPED_TOP - (4 << 30)
    ledger, found = twin.ledger(), []
    for batch in trace.batches(("op", "slot", "size", "thread", "align", "field")):
        placed = np.zeros((len(batch.op), 2), np.int64)
        twin.loop.survey(twin.heap, twin.run, batch, ledger, placed)
        found.append(placed[:, 0])
    return twin, np.concatenate(found)


@pytest.mark.parametrize("keep", [1.0, 0.4])
def test_every_address_is_the_recorded_one_whenever_the_history_begins(keep, tmp_path):
    trace = imported(tmp_path, snapshot(keep=keep))
    twin, placed = replayed(trace, {"capacity_mb": 4096})
    parts = list(trace.batches(("op", "address")))
    op, address = (np.concatenate([getattr(part, c) for part in parts]) for c in ("op", "address"))
    made = op == MALLOC
    assert (placed[made] - (MAPPED_TOP - (4 << 30)) == address[made] - BASE).all()
    assert made.sum() > 250 and not trace.unmatched_frees
    _, live, segments = history()
    state = twin.module.statistics(twin.heap)
    assert state["allocated_bytes"] == sum(length for length, _, _ in live.values())
    assert state["reserved_bytes"] == sum(size for size, _ in segments.values())
    began = any("blocks that were there before" in note for note in trace.notes)
    assert began == (keep < 1)


def test_streams_and_python_stacks_are_kept(tmp_path):
    trace = imported(tmp_path, snapshot())
    assert trace.threads == 3 and trace.origin["device"] == "cuda"
    assert selected(trace, None) == ["cuda-caching"]
    assert set(trace.sites()) == {"forward (/app/model.py:12)", "main (/app/train.py:40)"}
    assert trace.stack_nodes == 2
    with pytest.raises(HeapwrightError, match="which no malloc serves"):
        advise(trace)
    assert maps(trace).of == why(trace).result.manager == "cuda-caching"
    mends = [one.mend for one in why(trace).diagnosis.findings]
    assert any("empty_cache" in mend for mend in mends)
    assert not any(word in mend for mend in mends for word in ("GLIBC", "malloc_trim"))


def out_of_memory():
    """Eight blocks of 60 MiB fill a device; four become of 40, and 70 MiB find no room."""

    def event(action, at, size):
        return {"action": action, "addr": at, "size": size * MIB, "stream": 0, "frames": []}

    places = [BASE + number * 60 * MIB for number in range(8)]
    told = [event(what, at, 60) for at in places for what in ("segment_alloc", "alloc")]
    told += [event("free_completed", at, 60) for at in places[:4]]
    told += [event("alloc", at, 40) for at in places[:4]]
    told.append({"action": "oom", "size": 70 * MIB, "device_free": 20 * MIB, "stream": 0})
    segments = []
    for at in places:
        blocks = [{"size": 60 * MIB, "state": "active_allocated"}]
        if at in places[:4]:
            blocks = [{"size": 40 * MIB, "state": "active_allocated"}]
            blocks.append({"size": 20 * MIB, "state": "inactive"})
        segments.append({"address": at, "total_size": 60 * MIB, "stream": 0, "blocks": blocks})
    return {"segments": segments, "device_traces": [told], "allocator_settings": {}}


def test_it_says_which_setting_would_have_avoided_the_error(tmp_path):
    trace = imported(tmp_path, out_of_memory())
    assert trace.settings == {"capacity_mb": 500}
    assert any("out-of-memory error: capacity_mb" in note for note in trace.notes)
    ended, _ = replayed(trace)
    assert ended.run.progress[ended.loop.REFUSED] == 1
    went_on, _ = replayed(trace, {"expandable_segments": 1})
    state = went_on.module.statistics(went_on.heap)
    assert went_on.run.progress[went_on.loop.REFUSED] == 0 and state["reserved_bytes"] <= 500 * MIB


def test_settings_that_it_tells_are_the_twins(tmp_path):
    made = snapshot(keep=0.05)
    made["allocator_settings"] = {
        "max_split_size": 64 * MIB,
        "garbage_collection_threshold": 0.6,
        "expandable_segments": True,
        "roundup_power2_divisions": {"1": 4, "256": 4},
    }
    knobs = {"max_split_size_mb": 64, "garbage_collection_threshold": 60}
    knobs |= {"expandable_segments": 1, "roundup_power2_divisions": 4}
    trace = imported(tmp_path, made)
    assert trace.settings == knobs
    twin, _ = replayed(trace)
    assert twin.recorded == knobs


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ([{"address": 1}], "holds segments alone"),
        ({"segments": [], "device_traces": [[]]}, "holds no history"),
        ({"weights": [1.0]}, "no snapshot of PyTorch's GPU memory"),
        ({"segments": 3, "device_traces": [[{}]]}, "no snapshot of PyTorch's GPU memory"),
        (7, "no snapshot of PyTorch's GPU memory"),
        (os.system, "names posix.system"),
    ],
)
def test_what_is_no_snapshot_is_a_sentence(made, sentence, tmp_path):
    with pytest.raises(HeapwrightError, match=sentence):
        imported(tmp_path, made)


def test_a_cut_file_and_a_bomb_are_a_sentence_and_leave_nothing(tmp_path):
    """In a process of its own, as ever: an entry of the memo that would take 16 GiB."""
    whole = pickle.dumps(snapshot(keep=0.1))
    bomb = b"\x80\x04\x8c\x08segmentsr\xff\xff\xff\x7f."
    for content, sentence in ((whole[:-900], "damaged or cut short"), (bomb, "more memory")):
        path = tmp_path / "bad.pickle"
        path.write_bytes(content)
        with pytest.raises(HeapwrightError, match=sentence):
            import_file(path, tmp_path / "out.heap.parquet")
        assert sorted(each.name for each in tmp_path.iterdir()) == ["bad.pickle"]


FUZZ = """
import pickle, random, sys
from pathlib import Path
from heapwright.errors import HeapwrightError
from heapwright.trace.importers import pickled, torch_snapshot
from torch_snapshots import snapshot
pickled.limited(1 << 20)
draw, folder = random.Random(5).random, Path(sys.argv[1])
whole = pickle.dumps(snapshot(keep=0.03))
read = 0
for _ in range(int(sys.argv[2])):
    content = bytearray(whole)
    for _ in range(1 + int(draw() * 6)):
        at = int(draw() * len(content))
        if draw() < 0.3:
            del content[at : at + int(draw() * 30)]
        else:
            content[at : at + 1] = bytes([int(draw() * 256)])
    path, output = folder / "f.pickle", folder / "f.heap.parquet"
    path.write_bytes(content)
    try:
        torch_snapshot.write(torch_snapshot.read(path), path, output, lambda share: None)
        read += 1
    except HeapwrightError as error:
        assert len(str(error).splitlines()) == 1, error
print(read)
"""


def test_whatever_comes_in_is_a_trace_or_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(tmp_path), "120"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert int(done.stdout) > 5


def test_blocks_that_lie_nowhere_or_in_each_other_are_counted():
    """Below every segment, beyond the end of one, within the block before."""
    segment = snapshot_start.Segment(8192, True, 0, False)
    live = {100: 512, 4096: 1024, 4608: 512, 12_000: 1024}
    start = snapshot_start._pieces({4096: segment}, live)
    assert start.overlapping == 3 and [p.address for p in start.pieces if p.live] == [4096]
    assert snapshot_start._pieces({4096: segment}, {4096: 8192}).overlapping == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much a process has")
def test_a_reader_may_have_what_it_has_and_what_a_file_can_need(monkeypatch):
    import resource

    endless, told = resource.RLIM_INFINITY, []
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: told.append((what, *limits)))
    for soft in (endless, 1 << 20):
        monkeypatch.setattr(resource, "getrlimit", lambda what, soft=soft: (soft, endless))
        pickled.limited(10_000_000)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    (first, most, hard), second = told
    assert (first, hard) == (resource.RLIMIT_AS, endless)
    room = most - 1024 * MIB - 60 * 10_000_000
    assert 0 <= room - pages * resource.getpagesize() < 8 * MIB
    assert second == (resource.RLIMIT_AS, 1 << 20, endless), "never more than it might"


def test_plain_data_is_read_and_nothing_else():
    data = {"a": [1, 2.5, "x", (True, None)], 3: -(1 << 70)}
    assert pickled.loads(pickle.dumps(data)) == data
    for harm in (b"cos\nsystem\n(S'id'\ntR.", b"\x80\x02cbuiltins\neval\nq\x00.", b"Pid\n."):
        with pytest.raises(pickled.Refused):
            pickled.loads(harm)
    with pytest.raises(pickled.Refused, match=f"names m.{'n' * 78}, and"):
        pickled.loads(b"cm\n" + b"n" * 99 + b"\n.")
