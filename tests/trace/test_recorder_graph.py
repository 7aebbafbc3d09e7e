"""Graphs recorded from real Python programs: what was held is reachable, what was dropped died."""

import subprocess
import sys

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.graph import record_graph
from heapwright.trace.schema import FREE, HOLD, NEW, OPERATIONS, POP, PUSH, ROOT, UNROOT, WRITE
from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "field", "target", "site")

PROGRAM = """
import os
class Ring:
    def __init__(self):
        self.payload, self.other = {"key": [1.5, 2.5]}, None
def pair():
    a, b = Ring(), Ring()
    a.other, b.other = b, a
    return a
kept = None
for i in range(400):
    pair()  # a cycle that nothing refers to
    one = pair()
    one.payload["before"] = kept
    kept = one
held = [bytearray(1000) for _ in range(50)]
junk = [str(i) * 3 for i in range(40000)]
del junk
junk = [str(i) * 3 for i in range(40000)]
tables = [[] for _ in range(4000)]
class Wide:
    __slots__ = ("a", "b", "c", "d")
wide = [Wide() for _ in range(1000)]
del wide  # tables of one item each then lie where these did, and have their type behind it
for table in tables:
    table.append(None)
os._exit(3) if EXIT else None
"""


def recorded(folder, text, **options):
    script = folder / "script.py"
    script.write_text(text)
    status, converted = record_graph(
        [sys.executable, str(script)], folder / "t.parquet", look_every=5_000, **options
    )
    trace = Trace.open(converted.path)
    assert trace.events == converted.events
    return status, trace


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("graph"), PROGRAM.replace("EXIT", "False"))


def of_type(trace, name):
    """The sites of objects of a type, whatever line made them."""
    return [site for site, label in enumerate(trace.sites()) if label == name]


def graph_when(trace, site, alive_at_least):
    """The graph at the last birth with so many objects of `site` alive: what dies later lets go of
    all that it refers to before.

    Fields by slot, sites by slot; and how many objects there were of each site.
    """
    columns = [np.concatenate([getattr(b, c) for b in trace.batches(COLUMNS)]) for c in COLUMNS]
    born = np.where((columns[0] == NEW) & np.isin(columns[5], of_type(trace, site)), 1, 0)
    holder, alive, deltas = {}, 0, []
    for op, slot, is_one in zip(
        columns[0].tolist(), columns[1].tolist(), born.tolist(), strict=True
    ):
        if op == NEW:
            holder[slot] = is_one
            alive += is_one
        elif op == FREE:
            alive -= holder.pop(slot)
        deltas.append(alive)
    births = (np.array(deltas) >= alive_at_least) & (columns[0] == NEW)
    end = int(np.flatnonzero(births)[-1]) + 1
    fields, sites = {}, {}
    for op, slot, _, field, target, of in zip(*(c[:end].tolist() for c in columns), strict=True):
        if op == NEW:
            fields[slot], sites[slot] = {}, of
        elif op == FREE:
            del fields[slot]
        elif op == WRITE:
            fields[slot][field] = target
    return fields, {slot: sites[slot] for slot in fields}, np.bincount(columns[5][columns[5] >= 0])


def test_objects_have_their_types_as_sites(rings):
    status, trace = rings
    assert status == 0 and trace.graph and trace.kind == "recording"
    _, _, made = graph_when(trace, "Ring", 780)
    names = trace.sites()
    assert made[of_type(trace, "Ring")].sum() == 4 * 400
    assert made[of_type(trace, "bytearray")].sum() >= 50
    assert made[of_type(trace, "str")].sum() > 80_000
    assert {"dict", "list", "function", "type", "tuple"} <= set(names)


def test_what_an_object_left_in_a_table_makes_it_none(rings):
    _, trace = rings
    wide = of_type(trace, "Wide")
    born = sum(int(((b.op == NEW) & np.isin(b.site, wide)).sum()) for b in trace.batches(COLUMNS))
    assert born == 1000


def test_objects_have_the_line_that_made_them(rings):
    _, trace = rings
    stacks = {site: trace.stack(site) for site in of_type(trace, "Ring")}
    lines = {stack[0].rpartition("/")[2] for stack in stacks.values()}
    assert lines == {"script.py:7)"} and len(stacks) == 1
    (letters,) = {
        trace.stack(site)[0]
        for site in of_type(trace, "bytearray")
        if len(trace.stack(site)) > 1 and "<listcomp>" in trace.stack(site)[0]
    }
    assert letters.endswith("script.py:16)")


def test_references_are_those_of_the_program(rings):
    """Each ring that is kept refers to its pair, through its values, which refers back."""
    _, trace = rings
    fields, sites, _ = graph_when(trace, "Ring", 780)
    rings = of_type(trace, "Ring")
    # What dies together is freed one by one, so a few of the last may refer to what is gone.
    beyond = {slot: {t for t in row.values() if t in sites} for slot, row in fields.items()}
    assert sum(site in rings for site in sites.values()) >= 780
    paired = 0
    for slot in (s for s, site in sites.items() if site in rings):
        near = beyond[slot] | {further for t in beyond[slot] for further in beyond[t]}
        mates = {t for t in near if sites[t] in rings and t != slot}
        paired += any(
            slot in beyond[mate] | {further for t in beyond[mate] for further in beyond[t]}
            for mate in mates
        )
    assert paired > 700


def test_what_is_told_is_consistent(rings):
    """The audit holds, and each kind of event is there."""
    _, trace = rings
    counts = np.zeros(len(OPERATIONS), np.int64)
    for batch in trace.batches(COLUMNS):
        counts += np.bincount(batch.op, minlength=len(OPERATIONS))
    assert (counts[[NEW, WRITE, ROOT, UNROOT, PUSH, POP, FREE, HOLD]] > 0).all()
    assert counts[NEW] == trace.allocations > 80_000
    assert trace.allocations - trace.frees < 3_000  # a program that ends frees nearly all
    assert "looks" in trace.notes[0] and "reach" in trace.notes[1]


def test_a_program_that_leaves_at_once_keeps_what_it_held(tmp_path):
    status, trace = recorded(tmp_path, PROGRAM.replace("EXIT", "True"))
    assert status == 3 and trace.allocations - trace.frees > 40_000
    assert not any("stops before" in note for note in trace.notes)


def test_a_program_that_is_killed_says_so(tmp_path):
    text = PROGRAM.replace("os._exit(3)", "os.kill(os.getpid(), 9)").replace("EXIT", "True")
    status, trace = recorded(tmp_path, text)
    assert status == 137 and trace.notes[-1] == "The recording stops before the program's end."


def test_the_limit_of_memory_ends_the_recording_and_is_told(tmp_path):
    text = "kept = [[i] for i in range(600_000)]\n"
    status, trace = recorded(tmp_path, text, limit_bytes=9_000_000)
    assert status == 0 and 10_000 < trace.allocations < 600_000
    assert trace.peak_live_objects <= 1 << 16  # what the first books have room for
    assert "its books took as much memory as they may" in trace.notes[-1]


def test_the_limit_of_the_log_ends_the_recording_and_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("heapwright.trace.recorder.graph.LOG_TIMES", 1)
    text = "for i in range(10**6): x = [i, str(i)]\n"
    status, trace = recorded(tmp_path, text, limit_bytes=20_000_000)
    assert status == 0 and 100_000 < trace.allocations < 10**6
    assert "its log became as long as it may" in trace.notes[-1]


def test_a_program_that_is_no_python(tmp_path):
    with pytest.raises(HeapwrightError, match="recorded no graph of true"):
        record_graph(["true"], tmp_path / "t.parquet")
    with pytest.raises(HeapwrightError, match="there is no such program"):
        record_graph(["no-such-program"], tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


def test_threads_and_forks_do_no_harm(tmp_path):
    text = """
import os, threading
def work():
    kept = [[i] for i in range(20000)]
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
if os.fork() == 0:
    x = [[i] for i in range(50000)]
    os._exit(0)
os.wait()
import subprocess, sys
subprocess.run([sys.executable, "-c", "pass"], check=True)
"""
    status, trace = recorded(tmp_path, text)
    assert status == 0 and 240_000 < trace.allocations < 340_000
    assert sum(len(batch.op) for batch in trace.batches(COLUMNS)) == trace.events


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--graph", "--children"], "--graph goes without --children"),
        (["--graph", "--look-every", "0"], "give at least 1"),
        (["--look-every", "5k"], "give both"),
        (["--graph", "--limit", "1M"], "give at least 8,388,608 bytes"),
        (["--limit", "5M"], "--limit says in what memory --graph looks: give both"),
    ],
)
def test_options_that_contradict(words, sentence, tmp_path):
    command = [sys.executable, "-m", "heapwright", "record", *words, "--", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0 and sentence in done.stderr
    assert "Traceback" not in done.stderr
