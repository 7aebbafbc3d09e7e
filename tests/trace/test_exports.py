"""Exports: what goes out and comes back is the same trace, but for what was said to be lost."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.errors import HeapwrightError
from heapwright.result import PARTS
from heapwright.trace import exports, schema
from heapwright.trace.doors import CACHE, PAGES, Door
from heapwright.trace.importers import import_file
from heapwright.trace.notes import of_kind
from heapwright.trace.schema import (
    CALLOC,
    COLUMNS,
    FREE,
    MALLOC,
    MEMALIGN,
    OPERATIONS,
    REALLOC,
    SIZE_LIMIT,
    THREAD_EXIT,
    events,
)
from heapwright.trace.store import Trace, TraceWriter
from small_traces import SMALL


def made_up(path, count, seed):
    """A trace with every operation, refused requests, 7 threads and three call sites."""
    rng = np.random.default_rng(seed)
    rows, live, unused, slots = [], [], [], 0
    time_ns = 0
    for _ in range(count):
        time_ns += int(rng.integers(1, 2000))
        thread, site = int(rng.integers(7)), int(rng.integers(-1, 3))
        kind, size = rng.random(), int(rng.integers(0, 1 << rng.integers(1, 20)))
        if live and kind < 0.4:
            slot = live.pop(int(rng.integers(len(live))))
            unused.append(slot)
            rows.append((FREE, slot, 0, 0, thread, -1, time_ns))
        elif live and kind < 0.5:
            rows.append((REALLOC, live[-1], size + 1, 0, thread, site, time_ns))
        elif kind < 0.52 and len(rows) > 200:
            rows.append((MALLOC, -1, SIZE_LIMIT - 1, 0, thread, site, time_ns))
        else:
            op = int(rng.choice([MALLOC, CALLOC, MEMALIGN]))
            slot = unused.pop() if unused else slots
            slots = max(slots, slot + 1)
            live.append(slot)
            align = int(rng.integers(0, 13)) if op == MEMALIGN else 0
            rows.append((op, slot, size, align, thread, site, time_ns))
    rows += [(THREAD_EXIT, -1, 0, 0, thread, -1, time_ns) for thread in range(7)]
    order, renamed = {}, []
    for op, slot, size, align, thread, site, when in rows:
        renamed.append((op, slot, size, align, order.setdefault(thread, len(order)), site, when))
    names = ("op", "slot", "size", "align", "thread", "site", "time_ns")
    columns = {n: np.array(c) for n, c in zip(names, zip(*renamed, strict=True), strict=True)}
    with TraceWriter(path, program="made up", kind="synthetic") as writer:
        writer.write(events(**columns))
        writer.sites = ["main (a.c:1)", 'read, "or not" (b.c:2)', "run (c.c:3)"]
    return Trace.open(path)


def columns_of(trace, names):
    """Each named column of the whole trace; where it is constant, nothing."""
    batches = list(trace.batches(names))
    return {name: np.concatenate([getattr(b, name) for b in batches]) for name in names}


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp("made") / "made.parquet", 5000, 11)


def there_and_back(trace, to, tmp_path):
    losses = exports.export(trace, to, tmp_path / "out")
    import_file(tmp_path / "out", tmp_path / "back.parquet")
    return Trace.open(tmp_path / "back.parquet"), losses


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_tables_hold_everything(to, trace, tmp_path):
    back, losses = there_and_back(trace, to, tmp_path)
    names = tuple(COLUMNS)
    before, after = columns_of(trace, names), columns_of(back, names)
    for name in names:
        if name != "site":
            assert np.array_equal(before[name], after[name]), name
    labels = [
        np.array([*t.sites(), ""])[columns_of(t, ("op", "site"))["site"]] for t in (trace, back)
    ]
    assert np.array_equal(*labels) and losses == []


def test_android_holds_all_but_refusals_sites_and_time(trace, tmp_path):
    back, losses = there_and_back(trace, "android", tmp_path)
    names = ("op", "slot", "size", "align", "thread")
    before, after = columns_of(trace, names), columns_of(back, names)
    held = (before["slot"] >= 0) | (before["op"] == THREAD_EXIT)
    for name in names:
        assert np.array_equal(before[name][held], after[name]), name
    assert losses == [
        f"memory_replay knows no refused requests, left out: {trace.refused:,}",
        "memory_replay knows no call sites",
    ]
    assert back.unmatched_frees == 0 and trace.refused > 10


def test_the_malloc_lab_holds_operations_slots_and_sizes(trace, tmp_path):
    back, losses = there_and_back(trace, "csapp", tmp_path)
    names = ("op", "slot", "size")
    before, after = columns_of(trace, names), columns_of(back, names)
    held = before["slot"] >= 0
    before = {name: column[held] for name, column in before.items()}
    before["op"][np.isin(before["op"], (CALLOC, MEMALIGN))] = MALLOC
    for name in names:
        assert np.array_equal(before[name], after[name]), name
    assert not any("another number of operations" in note for note in back.notes)
    told = " ".join(losses)
    for what in (
        "callocs",
        "aligned requests",
        "refused requests",
        "ends of threads",
        "7 became one",
    ):
        assert what in told


def test_a_thread_that_ended_and_goes_on_is_told(tmp_path):
    op = np.array([MALLOC, THREAD_EXIT, FREE])
    with TraceWriter(tmp_path / "t.parquet", program="p") as writer:
        writer.write(events(op=op, slot=np.array([0, -1, 0]), size=np.array([5, 0, 0])))
    losses = exports.export(Trace.open(tmp_path / "t.parquet"), "android", tmp_path / "out")
    assert "takes for new threads: 1" in losses[0]


def test_perfetto_counts_live_memory_by_the_recordings_clock(trace, tmp_path):
    losses = exports.export(trace, "perfetto", tmp_path / "out.json")
    entries = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    shown = [e for e in entries if e["name"] == "live bytes"]
    assert max(e["args"]["bytes"] for e in shown) == trace.peak_live_bytes
    live = [e["args"]["objects"] for e in entries if e["name"] == "live objects"]
    assert max(live) == trace.peak_live_objects
    assert [e["ts"] for e in shown] == sorted(e["ts"] for e in shown) and shown[-1]["ts"] > 4000
    assert len(losses) == 1


def test_perfetto_shows_the_timelines_of_managers(trace, tmp_path):
    out = tmp_path / "out.json"
    command = ["export", str(trace.path), "--to", "perfetto", "--managers", "linear,buddy", "-o"]
    done = CliRunner().invoke(app, [*command, str(out)])
    assert done.exit_code == 0, done.output
    assert "time is counted in events" in done.output
    entries = json.loads(out.read_text())["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in entries if e["ph"] == "M"}
    assert names == {1: "made up", 2: "linear (twin)", 3: "buddy (twin)"}
    resident = [e for e in entries if e["name"] == "resident bytes" and e["pid"] == 2]
    assert len(resident) > 900 and set(resident[0]["args"]) == set(PARTS)
    assert max(e["args"]["live"] for e in resident) <= trace.peak_live_bytes


def test_what_cannot_be_exported_is_one_sentence_and_leaves_nothing(trace, tmp_path):
    with pytest.raises(HeapwrightError, match="--to 'massif' is no format: choose one of csapp"):
        exports.export(trace, "massif", tmp_path / "out")
    with pytest.raises(HeapwrightError, match="cannot be written over"):
        exports.export(trace, "csv", trace.path)
    with pytest.raises(HeapwrightError, match=r"cannot write .*No such file or directory"):
        exports.export(trace, "csv", tmp_path / "nowhere" / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_trace_is_exported(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="p"):
        pass
    for to in exports.FORMATS:
        exports.export(Trace.open(tmp_path / "t.parquet"), to, tmp_path / "out")


def test_operations_are_words_in_tables(trace, tmp_path):
    exports.export(trace, "csv", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == '"op","slot","size","align","thread","site","time_ns"'
    words = {line.split(",")[0].strip('"') for line in lines[1:]}
    assert words == set(OPERATIONS[: THREAD_EXIT + 1])


def test_notes_go_through_a_parquet_table_and_are_told_lost_in_csv(tmp_path):
    with TraceWriter(tmp_path / "t.heap.parquet", program="p") as out:
        out.write(SMALL)
        out.note("It stops.", "cut", 3)
    trace = Trace.open(tmp_path / "t.heap.parquet")
    assert exports.export(trace, "parquet", tmp_path / "t.parquet") == []
    import_file(tmp_path / "t.parquet", tmp_path / "back.heap.parquet")
    (cut,) = of_kind(Trace.open(tmp_path / "back.heap.parquet").notes, "cut")
    assert (cut, cut.cases) == ("It stops.", 3)
    (lost,) = exports.export(trace, "csv", tmp_path / "t.csv")
    assert lost == "a CSV table has no place for the trace's notes: 1"


def test_what_steers_the_allocator_is_exported_or_told(tmp_path):
    """A table with slots keeps it; a format without such words says how many it left out."""
    op = [schema.MALLOPT, schema.MALLOC, schema.SBRK, schema.FREE, schema.TRIM]
    size = [schema.mallopt_size(-3, -1), 100, schema.sbrk_size(-4096), 0, 12]
    slot, address = [-1, 0, -1, 0, -1], [0, 0x5000, 0x9001, 0, 0]
    with TraceWriter(tmp_path / "t.heap.parquet", program="p") as out:
        out.write(schema.events(op=op, slot=slot, size=size, address=address))
    trace = Trace.open(tmp_path / "t.heap.parquet")
    assert (trace.allocations, trace.frees, trace.refused) == (1, 1, 0)
    for to in ("parquet", "csv"):
        assert exports.export(trace, to, tmp_path / f"t.{to}") == []
        import_file(tmp_path / f"t.{to}", tmp_path / "back.heap.parquet")
        back = Trace.open(tmp_path / "back.heap.parquet")
        (events,) = back.batches(("op", "slot", "size", "address"))
        assert [c.tolist() for c in (events.op, events.slot, events.size, events.address)] == [
            op, slot, size, address,
        ]  # fmt: skip
    for to in ("csapp", "android"):
        told = exports.export(trace, to, tmp_path / f"t.{to}")
        assert any("mallopt, malloc_trim and sbrk, left out: 3" in loss for loss in told)
        assert not any("refused" in loss for loss in told)


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_a_kernels_doors_are_told_lost_and_the_table_is_a_plain_trace_again(to, tmp_path):
    path, table = tmp_path / "k.heap.parquet", tmp_path / f"k.{to}"
    with TraceWriter(path, program="linux", kind="imported") as out:
        out.write(
            events(
                op=np.array([MALLOC, MALLOC, MALLOC, FREE]),
                slot=np.array([0, 1, 2, 0]),
                size=np.array([64, 4096, 100, 0]),
                field=np.array([1, 2, 0, 0]),
            )
        )
        out.doors = [Door(CACHE, 0xCC0, "dentry", 192), Door(PAGES, 0xCC0)]
    losses = exports.export(Trace.open(path), to, table)
    assert any("doors: 2 requests" in loss and "1 cache" in loss for loss in losses)
    import_file(table, tmp_path / "again.parquet")
    again = Trace.open(tmp_path / "again.parquet")
    assert not again.of_kernel and again.events == 4
    assert sum(len(batch.op) for batch in again.batches(("op", "size"))) == 4
