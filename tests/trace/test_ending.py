"""Where a program has settled and its exit begins, of programs made to end so."""

import itertools

import numpy as np
import pytest

from heapwright.trace import ending as module
from heapwright.trace.ending import clock, ending
from heapwright.trace.process import COLUMNS, Process
from heapwright.trace.schema import FREE, MALLOC, REALLOC, THREAD_EXIT, events
from heapwright.trace.store import Trace, TraceWriter

BLOCK = 1000  # bytes


def written(path, rows, **columns):
    """A trace of (op, slot, size, thread) rows."""
    op, slot, size, thread = (np.array(column) for column in zip(*rows, strict=True))
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size, thread=thread, **columns))
    return Trace.open(path)


def taken(slots, thread=0, size=BLOCK):
    return [(MALLOC, slot, size, thread) for slot in slots]


def freed(slots, thread=0):
    return [(FREE, slot, 0, thread) for slot in slots]


def blips(slot, count, thread=0):
    """What a program that idles still does: a small block that comes and goes."""
    return (taken([slot], thread, 10) + freed([slot], thread)) * count


def live_after(rows):
    """int64[event], the slow way."""
    held, total, found = {}, 0, []
    for op, slot, size, _ in rows:
        if op == FREE:
            total -= held.pop(slot)
        elif op != THREAD_EXIT and slot >= 0:
            total += size - held.get(slot, 0)
            held[slot] = size
        found.append(total)
    return found


def test_a_load_that_is_freed_and_then_idle(tmp_path):
    rows = taken(range(100)) + freed(range(100)) + blips(0, 60)
    found = ending(written(tmp_path / "t", rows))
    assert found.end >= len(rows) - 3  # the last of its quiet
    assert found.end_live_bytes <= 10
    assert found.exit >= len(rows) - 1
    assert found.note(Trace.open(tmp_path / "t")) == []


def test_a_service_that_keeps_a_cache(tmp_path):
    cache = taken(range(50))
    request = taken(range(50, 80)) + freed(range(50, 80))
    rows = cache + request * 12 + taken(range(50, 65))  # stopped within a request
    found = ending(written(tmp_path / "t", rows))
    quiet = len(cache) + 12 * len(request) - 1
    assert found.end_live_bytes <= 50 * BLOCK + 30 * BLOCK // 16 + 1
    assert quiet - 1 <= found.end <= quiet + 1
    assert found.exit == len(rows)


def test_a_program_that_frees_everything_at_exit(tmp_path):
    rows = taken(range(200)) + blips(300, 50) + freed(range(200))
    trace = written(tmp_path / "t", rows)
    found = ending(trace)
    # the last blip's free is of the same run, as far as anybody can tell
    assert found.exit == len(rows) - 201
    assert found.end == found.exit - 2 or found.end == found.exit - 1
    assert found.end_live_bytes >= 200 * BLOCK
    assert (found.exit_live_bytes, found.last_live_bytes) == (200 * BLOCK + 10, 0)
    (sentence,) = found.note(trace)
    assert "195 KiB by one thread" in sentence


def test_a_request_within_the_exit_does_not_end_it(tmp_path):
    out = freed(range(100)) + blips(300, 1) + freed(range(100, 200))
    found = ending(written(tmp_path / "t", taken(range(200)) + out))
    assert found.exit == 200


def test_frees_by_several_threads_are_no_exit(tmp_path):
    """Workers free their load; the process goes on."""
    turns = [row for n in range(100) for row in freed([n], 1) + freed([100 + n], 2)]
    rows = taken(range(100), 1) + taken(range(100, 200), 2) + turns
    found = ending(written(tmp_path / "t", rows))
    assert found.end_live_bytes <= 200 * BLOCK // 16
    assert found.exit >= len(rows) - 1


def test_frees_before_a_threads_end_are_no_exit(tmp_path):
    rows = taken(range(100), 1) + freed(range(100), 1) + [(THREAD_EXIT, -1, 0, 1)]
    found = ending(written(tmp_path / "t", rows))
    assert found.exit == len(rows)
    assert found.end_live_bytes <= 100 * BLOCK // 16
    assert found.end == len(rows) - 1


def test_a_program_that_ends_at_its_peak(tmp_path):
    rows = taken(range(300))
    found = ending(written(tmp_path / "t", rows))
    assert (found.end, found.end_live_bytes, found.exit) == (299, 300 * BLOCK, 300)


def test_a_resize_counts_as_what_it_comes_to(tmp_path):
    rows = [*taken(range(3)), (REALLOC, 1, 7 * BLOCK, 0)]
    found = ending(written(tmp_path / "t", rows))
    assert found.last_live_bytes == 9 * BLOCK


def test_an_empty_trace(tmp_path):
    with TraceWriter(tmp_path / "t", program="rows", kind="synthetic"):
        pass
    found = ending(Trace.open(tmp_path / "t"))
    assert (found.end, found.exit, len(found.clocked)) == (-1, 0, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("blocks", [1 << 16, 40])
def test_as_defined_event_by_event(tmp_path, monkeypatch, seed, blocks):
    """Against the definition, written the slow way; in blocks to within one of them."""
    monkeypatch.setattr(module, "BLOCKS", blocks)
    draw = np.random.default_rng(seed)
    held, rows = [], []
    for slot in itertools.count():
        if slot == 300:
            break
        rows += taken([slot], int(draw.integers(2)), int(draw.integers(1, 5000)))
        held.append(slot)
        while held and draw.random() < 0.45:
            rows += freed([held.pop(int(draw.integers(len(held))))], int(draw.integers(2)))
    rows += freed(held[: int(draw.integers(len(held) + 1))])
    found = ending(written(tmp_path / "t", rows))
    live = live_after(rows)
    last = rows[-1][3]
    run = next((n for n in range(len(rows), 0, -1) if rows[n - 1][3] != last), 0)
    weights = [1 if row[0] == FREE else -16 for row in rows]
    score = {n: sum(weights[n:]) for n in range(run, len(rows) + 1)}
    exits = max(n for n in score if score[n] == max(score.values()))
    assert found.exit == exits
    width = -(-len(rows) // blocks)
    before = live[: max(1, exits // width) * width]
    start = 2 * (len(before) // width) // 3 * width
    most, least = max(before[start:]), min(before[start:])
    near = (most - least) // 16
    if width == 1:
        reached = next(n for n in range(start, len(before)) if before[n] >= most - near)
        floor = min(before[reached:]) + near
        assert found.end == max(n for n in range(reached, len(before)) if before[n] <= floor)
    assert found.end_live_bytes == live[found.end]


def test_moments_are_spread_over_time_and_stand_before_a_pause(tmp_path):
    rows = blips(0, 50)
    times = np.arange(100) * 1000
    times[60:] += 1_000_000  # the program slept
    trace = written(tmp_path / "t", rows, time_ns=times)
    found = ending(trace, 10)
    assert 59 in found.clocked
    assert clock(trace, found.clocked).tolist() == times[found.clocked].tolist()
    assert clock(trace, np.arange(100)).tolist() == times.tolist()
    assert len(ending(written(tmp_path / "u", rows), 10).clocked) == 0
    assert clock(Trace.open(tmp_path / "u"), found.clocked) is None


def test_between_two_readings_of_the_clock_events_are_evenly_apart(tmp_path, monkeypatch):
    rows = blips(0, 50)
    times = np.zeros(100, np.int64)
    times[40:] = 4000
    times[90:] = 5000
    trace = written(tmp_path / "t", rows, time_ns=times)
    expected = [0, 1000, 4000, 4500, 4980, 5000, 5000]
    moments = np.array([0, 10, 40, 65, 89, 90, 99])
    assert clock(trace, moments).tolist() == expected
    whole = trace.batches

    def slices(columns):
        for batch in whole(columns):
            for first in range(0, len(batch.op), 7):
                yield type(batch)(*(column[first : first + 7] for column in batch))

    monkeypatch.setattr(trace, "batches", slices)
    assert clock(trace, moments).tolist() == expected


def looked_at(path, rows, looks, seconds=None):
    """The same trace, its process looked at: (event, seconds) of each look; seconds of its events
    where their clock was read."""
    samples = np.zeros((len(looks), len(COLUMNS)), np.int64)
    samples[:, :2] = [(event, int(seconds * 1e9)) for event, seconds in looks]
    op, slot, size, thread = (np.array(column) for column in zip(*rows, strict=True))
    timed = {} if seconds is None else {"time_ns": (np.array(seconds) * 1e9).astype(np.int64)}
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size, thread=thread, **timed))
        out.process = Process(samples)
    return Trace.open(path)


def test_who_rests_after_its_frees_did_not_leave(tmp_path):
    rows = taken(range(100)) + freed(range(100))
    trace = looked_at(tmp_path / "t", rows, [(0, 0), (100, 0.1), (199, 0.2), (200, 1.0)])
    found = ending(trace)
    assert (found.end, found.exit, found.end_live_bytes) == (199, 200, 0)
    assert found.note(trace) == []


def resting(path, before, rest_s, after):
    """A tenth of a millisecond an event, and a rest between; what is behind it leaves."""
    rows = before + after
    times = np.arange(len(rows)) * 100_000
    times[len(before) :] += int(rest_s * 1e9)
    return written(path, rows, time_ns=times)


def test_what_is_held_while_a_program_rests_is_what_stays(tmp_path):
    """A saw-tooth: its quietest moment is not where it rests, and its leaving asks for memory."""
    saw = [*taken(range(200)), *freed(range(20, 200)), *taken(range(20, 150))]
    leaving = [*taken(range(300, 310)), *freed(range(300, 310)), *freed(range(150))]
    found = ending(resting(tmp_path / "t", saw, 0.2, leaving))
    assert (found.end, found.end_live_bytes) == (len(saw) - 1, 150 * BLOCK)
    assert found.rest_ns[1] - found.rest_ns[0] == pytest.approx(0.2e9, rel=0.01)
    assert found.exit >= len(saw)


def test_a_rest_of_which_more_comes_behind_is_no_end(tmp_path):
    """0.06 s, and then 0.1 s of work."""
    work = [row for slot in range(500) for row in (*taken([slot]), *freed([slot]))]
    found = ending(resting(tmp_path / "t", taken(range(600, 700)), 0.06, work))
    assert found.rest_ns == (0, 0) and found.end > 100


@pytest.mark.parametrize(("last_read", "leaves"), [(190, 200), (110, 100)])
def test_the_clock_of_events_tells_a_rest_that_no_look_began(tmp_path, last_read, leaves):
    """Between the last event whose clock was read and the look at the program's end."""
    rows = taken(range(100)) + freed(range(100))
    seconds = [min(event, last_read) // 10 * 0.001 for event in range(200)]
    trace = looked_at(tmp_path / "t", rows, [(0, 0), (200, 1.0)], seconds)
    assert ending(trace).exit == leaves


def test_who_rests_before_its_frees_leaves(tmp_path):
    rows = taken(range(100)) + freed(range(100))
    trace = looked_at(tmp_path / "t", rows, [(0, 0), (105, 0.2), (200, 1.0)])
    found = ending(trace)
    assert (found.exit, found.end_live_bytes) == (100, 100 * BLOCK)


def test_a_short_look_apart_is_no_rest(tmp_path):
    rows = taken(range(100)) + freed(range(100))
    looks = [(0, 0), (100, 1.0), (199, 1.01), (200, 1.03)]
    assert ending(looked_at(tmp_path / "t", rows, looks)).exit == 100


def test_the_last_block_counts_though_it_is_not_full(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCKS", 4)
    rows = taken(range(100)) + freed(range(100)) + taken([0])  # blocks of 51 events
    looks = [(0, 0), (100, 0.1), (200, 0.2), (201, 1.0)]
    found = ending(looked_at(tmp_path / "t", rows, looks))
    assert (found.exit, found.end_live_bytes) == (201, 0)
    assert found.end == 199
