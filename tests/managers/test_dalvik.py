"""Dalvik's heap: the ladder of an allocation, and sizes held to a naive reading of the rules."""

import numpy as np
import pytest
from typer.testing import CliRunner

from android_programs import DALVIK, bitmaps
from heapwright.cli import app
from heapwright.collectors.android.history import rows
from heapwright.collectors.references import logged
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.dalvik.lines import line
from heapwright.managers.runtime.dalvik.state import (
    BEFORE_OOM,
    CLAMP,
    CONCURRENT,
    EXPLICIT,
    FOR_ALLOC,
    FORCE,
    GROW,
    NONE,
    OOM,
)
from heapwright.references.android.agreement import offsets, resident_pages
from heapwright.trace.schema import (
    FINALISABLE,
    NEW,
    POP,
    PUSH,
    REFER,
    ROOT,
    SOFT,
    WEAK,
    WRITE,
    events,
)
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.runtime_log import log_lines
from malloc_programs import FOLDER
from naive.graph_program import random_rows
from trial import FREE, MALLOC, CollectedTrial

KIB, MIB = 1 << 10, 1 << 20
PAGE = 4096
SMALL = {
    "heapsize": 4 * MIB,
    "heapgrowthlimit": 3 * MIB,
    "heapstartsize": 256 * KIB,
    "heapminfree": 128 * KIB,
    "heapmaxfree": 512 * KIB,
}


def batch_of(wanted):
    columns = ("op", "slot", "size", "field", "target")
    return events(**dict(zip(columns, np.array(wanted).T, strict=True)))


def trial_of(graph=False, references=0, **knobs):
    return CollectedTrial("dalvik", SMALL | knobs, graph=graph, references=references)


def told(trial):
    """(what, figures) of the history, without the collection's pause."""
    return [(what, values[:5]) for _, what, *values in rows(trial.heap).tolist()]


def replay(trial, wanted):
    trial.replay(batch_of(wanted))
    assert trial.broken() == 0
    return [what for what, _ in told(trial)]


def naive_sizes(live, footprint, limit, knobs):
    """Ideal size and soft limit that a collection leaves, of one space."""
    share = knobs.get("heaptargetutilization", 50) * 1024 // 100
    target = live // share * 1024
    target = min(max(target, live + knobs["heapminfree"]), live + knobs["heapmaxfree"])
    ideal = min(target, limit)
    return ideal, ideal if ideal < footprint else NONE


@pytest.mark.parametrize("utilization", [50, 75])
def test_sizes_after_every_collection_are_those_of_the_rules(utilization):
    """A heap that grows, and shrinks, and grows beyond what may be had."""
    limit, share = 1 * MIB, {"heaptargetutilization": utilization}
    trial = trial_of(**share, heapgrowthlimit=limit, concurrent=0)
    wanted, live = [], []
    for number in range(900):
        if live and (number % 3 == 2 or 450 < number < 600):
            wanted.append((FREE, live.pop(number % len(live)), 0, 0, -1))
        else:
            live.append(number)
            wanted.append((MALLOC, number, 500 + number * 37 % 9000, 0, -1))
    replay(trial, wanted)
    collections = [values for what, values in told(trial) if what <= BEFORE_OOM]
    for _, used, footprint, ideal, soft in collections:
        sizes = naive_sizes(used, footprint, limit, SMALL | share)
        assert (ideal, soft) == sizes
    assert len(collections) > 5 and any(values[4] != NONE for values in collections)
    assert any(what == CLAMP for what, _ in told(trial)) or utilization != 50


@pytest.mark.parametrize("name", DALVIK)
def test_every_address_and_collection_is_that_of_real_spaces(name):
    with np.load(FOLDER / f"dalvik-{name}.npz") as kept:
        key = {column: kept[column] for column in kept.files}
    limit, start, share, least, most, concurrent = DALVIK[name].told
    sizes = {"heapsize": 4 * MIB, "heapgrowthlimit": limit, "heapstartsize": start}
    free = {"heapminfree": least, "heapmaxfree": most, "concurrent": concurrent}
    settings = sizes | free | {"heaptargetutilization": share * 100 // 1024}
    trial = CollectedTrial("dalvik", settings)
    ours = offsets(trial.heap, trial.replay(bitmaps()))
    assert not trial.run.progress[trial.loop.REFUSED]
    assert np.flatnonzero(ours[:, 0] != key["offset"]).tolist() == []
    assert (ours[:, 1] == key["usable"]).all()
    counts, digest = trial.module.summary(trial.heap)
    assert list(counts) == key["collections"].tolist() and digest == key["digest"]
    assert int(trial.heap.active.peak) == key["peak"]
    assert resident_pages(trial.heap, 4 * MIB) == key["resident"]
    assert trial.module.space(trial.heap) == DALVIK[name]
    assert sum(counts) > 3


def test_an_allocation_collects_then_grows_then_clears_then_fails():
    trial = trial_of(concurrent=0)
    replay(trial, [(MALLOC, slot, 8000, 0, -1) for slot in range(30)])
    assert told(trial) == []
    assert replay(trial, [(MALLOC, 30, 600_000, 0, -1)]) == [FOR_ALLOC, GROW]
    assert replay(trial, [(MALLOC, 31, 2_500_000, 0, -1)]) == [
        *(FOR_ALLOC, GROW),
        *(FOR_ALLOC, FORCE, BEFORE_OOM, OOM),
    ]
    assert trial.run.progress[trial.loop.REFUSED] == 1
    over = trial_of()
    assert replay(over, [(MALLOC, 0, 3 * MIB, 0, -1)]) == [FORCE, BEFORE_OOM, OOM]


def test_every_other_soft_reference_is_kept_until_memory_runs_out():
    count = 60
    trial = trial_of(graph=True, references=count + 2, concurrent=0)
    wanted = [(NEW, 0, 8 * count + 16, count + 2, -1), (ROOT, 0, 0, 0, -1), (PUSH, -1, 0, 0, -1)]
    for number in range(count):
        tile, softly = 2 * number + 1, 2 * number + 2
        wanted += [(NEW, tile, 40_000, 0, -1), (NEW, softly, 32, 1, -1)]
        wanted += [(REFER, softly, SOFT, 0, tile), (WRITE, 0, 0, number, softly)]
    wanted += [(NEW, 200, 24, 0, -1), (REFER, 200, FINALISABLE, 0, -1)]
    wanted += [(NEW, 201, 16, 1, -1), (REFER, 201, WEAK, 0, 200), (WRITE, 0, 0, count, 201)]
    replay(trial, [*wanted, (POP, -1, 0, 0, -1), (FREE, 200, 0, 0, -1)])
    replay(trial, [(FREE, 2 * number + 1, 0, 0, -1) for number in range(count)])
    seen = replay(trial, [(NEW, 202, 2_200_000, 0, -1)])
    assert seen[-3:] == [FOR_ALLOC, FORCE, BEFORE_OOM]
    refs = trial.heap.references
    kinds = logged(refs)[:, 1].tolist()
    assert (
        kinds.count(SOFT) == refs.cleared_soft == count == 2 * kinds[: count // 2 + 2].count(SOFT)
    )
    assert kinds.count(WEAK) == kinds.count(FINALISABLE) == 1 and refs.entries == 0
    assert not trial.run.progress[trial.loop.REFUSED]


def test_a_concurrent_collection_comes_before_the_limit_does():
    trial = trial_of(heapstartsize=512 * KIB, heapminfree=300 * KIB)
    churn = [(MALLOC, 0, 8000, 0, -1), (FREE, 0, 0, 0, -1)]
    seen = replay(trial, churn * 300)
    assert seen[0] == FOR_ALLOC and set(seen[1:]) == {CONCURRENT}
    bytes_before = [values[0] + values[1] for what, values in told(trial) if what == CONCURRENT]
    assert all(0 < 300 * KIB - 128 * KIB <= each < 300 * KIB for each in bytes_before)


def test_what_the_zygote_had_stays_where_it_is():
    trial = trial_of(zygote_bytes=100_000, concurrent=0)
    replay(trial, [(MALLOC, slot, 1000, 0, -1) for slot in range(120)])
    heap = trial.heap
    assert 0 < heap.zygote.base < heap.active.base and heap.zygote_bytes >= 100_000
    assert heap.active.base - heap.zygote.base == heap.zygote.footprint
    replay(trial, [(FREE, slot, 0, 0, -1) for slot in range(50)])
    held = int(heap.zygote_bytes)
    replay(trial, [(MALLOC, 200, 500_000, 0, -1)])
    assert heap.zygote_bytes == held, "a partial collection takes them for live"
    trial.collect_all()
    assert trial.broken() == 0
    assert heap.zygote_bytes == held - 50 * 1016
    trial.sizes = dict.fromkeys(range(50, 120), 1000) | {200: 500_000}
    assert trial.decompose()["garbage"] >= 50 * 1016, "and a full one only counts them no more"


def test_graphs_through_a_zygote_stay_whole():
    trial = trial_of(graph=True, zygote_bytes=20_000)
    for number, row in enumerate(random_rows(3, 150, 2000)):
        trial.step(*row)
        if number % 20 == 19:
            assert trial.broken() == 0
    assert trial.heap.forked and trial.heap.zygote.base


def test_lines_are_of_the_documented_form():
    assert line(FOR_ALLOC, (702 * KIB, 1344 * KIB, 2048 * KIB, 0, 0), 3) == (
        "GC_FOR_ALLOC freed 702K, 35% free 1344K/2048K, paused 3ms, total 3ms"
    )
    assert line(CONCURRENT, (100, 9 * KIB, 10 * KIB, 0, 0), 2) == (
        "GC_CONCURRENT freed <1K, 10% free 9K/10K, paused 2ms+0ms, total 2ms"
    )
    assert line(EXPLICIT, (0, KIB, KIB, 0, 0), 0).startswith("GC_EXPLICIT freed 0K, 0% free")
    clamped = line(CLAMP, (5_007_998, 4 * MIB), 0)
    assert clamped == "Clamp target GC heap from 4.775MB to 4.000MB"
    assert line(GROW, (2 * MIB, 131088), 0) == (
        "Grow heap (frag case) to 2.000MB for 131088-byte allocation"
    )
    assert line(FORCE, (64,), 0) == "Forcing collection of SoftReferences for 64-byte allocation"
    assert line(OOM, (64,), 0) == "Out of memory on a 64-byte allocation."
    trial = trial_of(concurrent=0)
    replay(trial, [(MALLOC, slot, 8000, 0, -1) for slot in range(60)])
    (event, first), *_ = trial.module.lines(trial.heap, [1.6])
    assert 0 < event < 60 and first.endswith("paused 2ms, total 2ms")


def test_the_log_is_written_by_replay(tmp_path):
    path, log = tmp_path / "t.heap.parquet", tmp_path / "logcat.txt"
    with TraceWriter(path, program="made", kind="synthetic") as out:
        out.write(batch_of([(MALLOC, slot, 9000, 0, -1) for slot in range(300)]))
    result = CliRunner().invoke(app, ["replay", "dalvik", str(path), "--log", str(log)])
    assert result.exit_code == 0 and str(log) in result.output.replace("\n", "")
    first, *_ = log.read_text().splitlines()
    assert first.startswith("GC_FOR_ALLOC freed 0K, 1% free") and first.endswith("ms")
    with pytest.raises(HeapwrightError, match=r"^glibc writes no log"):
        log_lines("glibc", Trace.open(path))


def test_bad_knobs_are_a_sentence():
    for wrong, said in (
        ({"heapgrowthlimit": 8 * MIB}, "heapgrowthlimit is 8,388,608 and heapsize 4,194,304"),
        ({"heapgrowthlimit": 0, "heapstartsize": 5 * MIB}, "heapstartsize is 5,242,880"),
        ({"heaptargetutilization": 100}, "heaptargetutilization is a percentage"),
        ({"heapminfree": 1 * MIB}, "heapminfree is 1,048,576; it is from 0"),
        ({"zygote_bytes": -1}, "not negative"),
    ):
        with pytest.raises(HeapwrightError, match=said):
            trial_of(**wrong)
    assert np.iinfo(np.int64).max > NONE
