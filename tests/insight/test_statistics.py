"""What `heapwright info` counts, against a naive count with dictionaries."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.insight import census as c
from heapwright.insight.statistics import statistics
from heapwright.trace.schema import CALLOC, FREE, MALLOC, OPERATIONS, REALLOC, THREAD_EXIT, events
from heapwright.trace.store import Trace, TraceWriter


def made_up(rng, count, slots=20, sites=4, threads=3):
    """Rows (op, slot, size, thread, site) of a sound trace, with refusals and thread ends."""
    live, rows = set(), []
    while len(rows) < count:
        kind = rng.choice(["free", "alloc", "alloc", "realloc", "refused", "exit"])
        thread, site = int(rng.integers(threads)), int(rng.integers(-1, sites))
        size = int(2 ** rng.uniform(0, 20)) - 1
        if kind == "alloc" and len(live) < slots:
            slot = min(set(range(slots)) - live)
            live.add(slot)
            rows.append((int(rng.choice([MALLOC, CALLOC])), slot, size, thread, site))
        elif kind == "realloc" and live:
            rows.append((REALLOC, int(rng.choice(sorted(live))), size, thread, site))
        elif kind == "free" and live:
            slot = int(rng.choice(sorted(live)))
            live.remove(slot)
            rows.append((FREE, slot, 0, thread, -1))
        elif kind == "refused":
            rows.append((MALLOC, -1, size, thread, site))
        elif kind == "exit":
            rows.append((THREAD_EXIT, -1, 0, thread, -1))
    return rows


def bound(value):
    """The end of the bucket that holds `value`."""
    highest = 1
    while highest < value:
        highest *= 2
    return highest


def naive(rows):
    """The same figures, the slow way."""
    objects, lifetimes, sizes, sites = {}, Counter(), Counter(), Counter()
    by_size = Counter()
    chains, copied, elsewhere, refused, requested = [], 0, 0, 0, 0
    for event, (op, slot, size, thread, site) in enumerate(rows):
        if op == THREAD_EXIT:
            continue
        if slot < 0:
            refused += 1
        elif op == FREE:
            born, owner, reallocs, last = objects.pop(slot)
            lifetimes[event - born - 1] += 1
            by_size[bound(last), bound(event - born - 1)] += 1
            elsewhere += owner != thread
            chains.append(reallocs)
        else:
            if op == REALLOC:
                born, owner, reallocs, old = objects[slot]
                copied += min(old, size)
                objects[slot] = (born, owner, reallocs + 1, size)
            else:
                objects[slot] = (event, thread, 0, size)
            requested += size
            sizes[size] += 1
            sites[site, "count"] += 1
            sites[site, "bytes"] += size
    chains += [reallocs for _, _, reallocs, _ in objects.values()]
    for _, _, _, size in objects.values():
        by_size[bound(size), None] += 1
    return {
        "by_size": by_size,
        "lifetimes": lifetimes,
        "sizes": sizes,
        "sites": sites,
        "chained": sum(reallocs > 0 for reallocs in chains),
        "longest": max(chains, default=0),
        "copied": copied,
        "elsewhere": elsewhere,
        "refused": refused,
        "requested": requested,
        "alive": len(objects),
    }


def write(path, rows, labels=("a", "b", "c", "d")):
    columns = dict(
        zip(
            ("op", "slot", "size", "thread", "site"),
            map(np.array, zip(*rows, strict=True)),
            strict=True,
        )
    )
    with TraceWriter(path, program="made up") as writer:
        writer.sites = list(labels)
        writer.write(events(**columns))
    return Trace.open(path)


def refolded(histogram, unit):
    """{value range: count} of a histogram, without its empty rows."""
    return {
        (row[f"from_{unit}"], row[f"to_{unit}"]): row["count"] for row in histogram if row["count"]
    }


def folded(counted):
    """The same from exact values."""
    ranges = Counter()
    for value, count in counted.items():
        highest = bound(value)
        ranges[(0, 1) if highest == 1 else (highest // 2 + 1, highest)] += count
    return dict(ranges)


@pytest.mark.parametrize("seed", range(6))
def test_statistics_are_those_of_a_naive_count(seed, tmp_path):
    rows = made_up(np.random.default_rng(seed), 2_000)
    found, wanted = statistics(write(tmp_path / "t.parquet", rows)), naive(rows)
    assert found["events"] == len(rows) == sum(found["by_operation"].values())
    operations = Counter(OPERATIONS[row[0]] for row in rows)
    assert {name: count for name, count in found["by_operation"].items() if count} == dict(
        operations
    )
    assert refolded(found["size_histogram"], "bytes") == folded(wanted["sizes"])
    assert sum(row["bytes"] for row in found["size_histogram"]) == wanted["requested"]
    assert refolded(found["lifetimes"]["histogram"], "events") == folded(wanted["lifetimes"])
    assert found["lifetimes"]["immortal"] == found["live_at_end"]["objects"] == wanted["alive"]
    cells = {(r["to_bytes"], r["to_events"]): r["count"] for r in found["lifetimes_by_size"]}
    assert cells == dict(wanted["by_size"])
    chains = found["realloc_chains"]
    assert (chains["objects"], chains["longest"]) == (wanted["chained"], wanted["longest"])
    assert chains["bytes_copied_at_worst"] == wanted["copied"]
    assert found["frees_by_another_thread"] == wanted["elsewhere"]
    assert found["requests_refused"] == wanted["refused"]
    names = {"unknown": -1, "a": 0, "b": 1, "c": 2, "d": 3}
    for key, by in (("bytes", "by_bytes"), ("count", "by_count")):
        top = found["top_sites"][by]
        assert [row[key] for row in top] == sorted((row[key] for row in top), reverse=True)
        assert {row["site"] for row in top} == set(names)
        for row in top:
            assert row["count"] == wanted["sites"][names[row["site"]], "count"]
            assert row["bytes"] == wanted["sites"][names[row["site"]], "bytes"]


def test_batches_make_no_difference():
    rows = np.array(made_up(np.random.default_rng(9), 3_000))
    whole, parts = c.census(20, 4), c.census(20, 4)
    names = ("op", "slot", "size", "thread", "site")
    c.count(whole, events(**dict(zip(names, rows.T, strict=True))))
    for piece in np.array_split(rows, 7):
        c.count(parts, events(**dict(zip(names, piece.T, strict=True))))
    for one, other in zip(whole[1:], parts[1:], strict=True):
        assert np.array_equal(one, other)


@settings(max_examples=200, derandomize=True)
@given(st.integers(0, (1 << 62) - 1))
def test_a_bucket_is_bounded_by_powers_of_two(value):
    bucket = int(c.bucket(value))
    if bucket == 0:
        assert value <= 1
    else:
        assert 1 << (bucket - 1) < value <= 1 << bucket


def test_half_the_objects_have_died_by_the_median(tmp_path):
    rows = [(MALLOC, slot, 8, 0, 0) for slot in range(4)] + [
        (FREE, slot, 0, 0, -1) for slot in range(2)
    ]
    lifetimes = statistics(write(tmp_path / "t.parquet", rows))["lifetimes"]
    assert lifetimes["median_events_at_most"] == 4  # both lived through 3 events
    assert lifetimes["immortal_share"] == 0.5
    lifetimes = statistics(write(tmp_path / "u.parquet", rows[:-1]))["lifetimes"]
    assert lifetimes["median_events_at_most"] is None


def test_a_trace_without_events_has_empty_figures(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="nothing"):
        pass
    found = statistics(Trace.open(tmp_path / "t.parquet"))
    assert found["events"] == 0 and found["size_histogram"] == []
    assert found["lifetimes"]["immortal_share"] == 0.0 and found["top_sites"]["by_bytes"] == []
    json.dumps(found)


def test_a_call_site_beyond_the_table_is_a_sentence(tmp_path):
    trace = write(tmp_path / "t.parquet", [(MALLOC, 0, 8, 0, 0), (MALLOC, 1, 8, 0, 7)])
    with pytest.raises(HeapwrightError, match="event 1 names call site 7 of 4"):
        statistics(trace)


def test_progress_hears_of_every_event(tmp_path):
    heard = []
    rows = made_up(np.random.default_rng(1), 500)
    statistics(write(tmp_path / "t.parquet", rows), advance=heard.append)
    assert sum(heard) == 500


def test_call_sites_that_read_the_same_are_one(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="t") as out:
        out.sites = ["a", "b", "a"]
        out.write(events(op=[MALLOC] * 4, slot=range(4), size=[5, 7, 11, 13], site=[0, 1, 2, -1]))
    found = statistics(Trace.open(tmp_path / "t.parquet"))["top_sites"]
    assert found["by_bytes"] == [
        {"site": "a", "count": 2, "bytes": 16},
        {"site": "unknown", "count": 1, "bytes": 13},
        {"site": "b", "count": 1, "bytes": 7},
    ]
    assert found["by_count"][0] == {"site": "a", "count": 2, "bytes": 16}
