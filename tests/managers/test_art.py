"""ART's heap: what is counted, what is emptied; targets held to a naive reading of the rules."""

import numpy as np
import pytest

from heapwright.collectors.android.history import rows
from heapwright.collectors.regions import USED
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.art.lines import line, size_text, time_text
from heapwright.managers.runtime.art.state import (
    BACKGROUND,
    CLAMP,
    EXPLICIT,
    FOR_ALLOC,
    LARGE_SHIFT,
    NATIVE,
    OOM,
)
from heapwright.trace.schema import NEW, POP, PUSH, ROOT, UNROOT, WRITE, events
from trial import FREE, MALLOC, CollectedTrial

KIB, MIB = 1 << 10, 1 << 20
SMALL = {
    "heapsize": 8 * MIB,
    "heapgrowthlimit": 4 * MIB,
    "heapstartsize": 1 * MIB,
    "heapminfree": 128 * KIB,
    "heapmaxfree": 512 * KIB,
}


def trial_of(**knobs):
    return CollectedTrial("art", SMALL | knobs, graph=False)


def told(trial):
    return [(what, figures[:5]) for _, what, *figures in rows(trial.heap).tolist()]


def replay(trial, wanted):
    """Rows (op, slot, size); what was logged."""
    op, slot, size = np.array(wanted).T
    trial.replay(events(op=op, slot=slot, size=size))
    assert trial.broken() == 0
    return [what for what, _ in told(trial)]


@pytest.mark.parametrize(("utilization", "multiplier"), [(75, 300), (50, 100)])
def test_targets_are_those_of_the_rules(utilization, multiplier):
    limit = 7 * MIB // 4
    trial = trial_of(
        heaptargetutilization=utilization, multiplier=multiplier, heapgrowthlimit=limit
    )
    wanted, live = [], []
    for number in range(480):
        if live and number % 3 == 2:
            wanted.append((FREE, live.pop(number % len(live)), 0))
        else:
            live.append(number)
            wanted.append((MALLOC, number, 500 + number * 37 % 14_000))
    seen = replay(trial, wanted)
    collections = [figures for what, figures in told(trial) if what <= EXPLICIT]
    for *_, allocated, target in collections:
        free = int(allocated * (1 / (utilization / 100) - 1))
        free = max(min(free, 512 * KIB), 128 * KIB)
        assert target == min(allocated + free * multiplier // 100, limit)
    assert len(collections) > 2 and BACKGROUND in seen
    assert (CLAMP in seen) == (multiplier == 300)


def test_a_full_heap_collects_and_then_fails():
    trial = trial_of()
    assert replay(trial, [(MALLOC, slot, 500_000) for slot in range(9)])[-2:] == [FOR_ALLOC, OOM]
    assert trial.run.progress[trial.loop.REFUSED] == 1
    assert "until OOM, target footprint 4194304" in trial.module.lines(trial.heap, [])[-1][1]
    waits = trial_of(concurrent=0)
    churn = [(MALLOC, 0, 9000), (FREE, 0, 0)]
    assert set(replay(waits, churn * 200)) == {FOR_ALLOC}


def test_fresh_regions_are_emptied_and_older_ones_below_three_quarters():
    trial = trial_of(heapstartsize=4 * MIB)
    replay(trial, [(MALLOC, slot, 8000) for slot in range(64)])  # two regions
    before = [int(trial.held.handles[slot]) for slot in range(64)]
    trial.collect_all()
    once = [int(trial.held.handles[slot]) for slot in range(64)]
    assert all(old != new for old, new in zip(before, once, strict=True)), "fresh, though all live"
    trial.collect_all()
    twice = [int(trial.held.handles[slot]) for slot in range(64)]
    assert twice == once
    replay(trial, [(FREE, slot, 0) for slot in range(0, 64, 2)])
    trial.collect_all()
    kept = [int(trial.held.handles[slot]) for slot in range(1, 64, 2)]
    assert all(old != new for old, new in zip(twice[1::2], kept, strict=True))
    assert (trial.heap.regions.kind == USED).sum() == 1


def test_large_objects_without_references_lie_apart_and_buffers_are_counted_whole():
    trial = trial_of()
    replay(trial, [(MALLOC, 0, 100)])
    assert trial.heap.allocated == 16 * KIB
    replay(trial, [(MALLOC, 1, 12 * KIB), (MALLOC, 2, 20_000)])
    assert trial.heap.allocated == 16 * KIB + 16 * KIB + 20 * KIB
    assert trial.heap.large_objects == 2
    replay(trial, [(FREE, 1, 0)])
    trial.collect_all()
    assert trial.heap.allocated == 128 + 20 * KIB
    assert told(trial)[-1][1][2] == 16 * KIB << LARGE_SHIFT | 1
    trial.sizes = {0: 100, 2: 20_000}
    trial.replay(events())  # objects have moved
    assert trial.decompose()["garbage"] == 0


def test_pixels_in_native_memory_go_when_their_bitmap_lets_them_go():
    trial = CollectedTrial("art", SMALL | {"native_pixels_bytes": 12288})
    columns = ("op", "slot", "size", "field", "target")

    def told_of(*wanted):
        trial.replay(events(**dict(zip(columns, np.array(wanted).T, strict=True))))
        assert trial.broken() == 0
        return int(trial.heap.native_bytes), int(trial.heap.paths[-1])

    made = [(PUSH, -1, 0, 0, -1), (NEW, 0, 64, 1, -1), (ROOT, 0, 0, 0, -1), (NEW, 1, 64, 1, -1)]
    pixels = [(PUSH, -1, 0, 0, -1), (NEW, 2, 20_000, 0, -1), (WRITE, 0, 0, 0, 2)]
    assert told_of(*made, *pixels, (WRITE, 1, 0, 0, 2)) == (20_480, 0)
    assert trial.heap.allocated == 16 * KIB, "they are not Java's"
    assert told_of((WRITE, 0, 0, 0, -1)) == (20_480, 0), "another bitmap has them"
    assert told_of((WRITE, 1, 0, 0, -1)) == (20_480, 0), "the program holds them"
    assert told_of((WRITE, 0, 0, 0, 2), (POP, -1, 0, 0, -1)) == (20_480, 0)
    assert told_of((WRITE, 0, 0, 0, -1), (FREE, 2, 0, 0, -1)) == (0, 1)
    again = [(PUSH, -1, 0, 0, -1), (NEW, 2, 20_000, 0, -1), (WRITE, 0, 0, 0, 2)]
    told_of(*again, (POP, -1, 0, 0, -1), (UNROOT, 0, 0, 0, -1), (POP, -1, 0, 0, -1))
    trial.collect_all()
    assert told_of((FREE, 0, 0, 0, -1)) == (0, 1), "with the collection that finds them dead"


def test_many_pixels_make_a_collection_due():
    trial = trial_of(native_pixels_bytes=12288)
    churn = [(MALLOC, 0, 200_000), (FREE, 0, 0)]
    assert set(replay(trial, churn * 60)) == {NATIVE}
    assert 0 < trial.heap.native_bytes < 8 * MIB and trial.heap.allocated < 16 * KIB


def test_lines_are_of_the_documented_form():
    figures = (480, 12, 60 * KIB << LARGE_SHIFT | 3, 3 * MIB, 6 * MIB)
    assert line(BACKGROUND, figures, 5.2004) == (
        "Background concurrent copying GC freed 12(480B) AllocSpace objects, 3(60KB) LOS objects, "
        "50% free, 3072KB/6144KB, paused 5.200ms total 5.200ms"
    )
    assert [size_text(size) for size in (10 * KIB, 10 * MIB, 10 * MIB - 1)] == [
        "10KB",
        "10MB",
        "10239KB",
    ]
    assert [time_text(ns) for ns in (0, 999, 100_000, 2_000_000, 1_050_000_000)] == [
        *("0", "0", "100us", "2ms", "1.050s"),
    ]
    assert line(CLAMP, (12 * MIB, 4 * MIB), 0) == "Clamp target GC heap from 12MB to 4096KB"


def test_bad_knobs_are_a_sentence():
    for wrong, said in (
        ({"heapgrowthlimit": 9 * MIB}, r"art\.heapgrowthlimit is 9,437,184 and heapsize"),
        ({"heapstartsize": 5 * MIB}, r"art\.heapstartsize is 5,242,880"),
        ({"heaptargetutilization": 0}, r"art\.heaptargetutilization is a percentage"),
        ({"heapminfree": 1 * MIB}, r"art\.heapminfree is 1,048,576; it is from 0"),
        ({"multiplier": 50}, r"art\.multiplier is at least 100"),
        ({"native_pixels_bytes": 99}, r"art\.native_pixels_bytes is 0 or at least 12,288"),
    ):
        with pytest.raises(HeapwrightError, match=said):
            trial_of(**wrong)
