"""One replay: parts, timeline, assumptions, addresses."""

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE
from heapwright.result import PARTS, TIMELINE
from heapwright.trace.ending import ending
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, SIZE_LIMIT, TRIM, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel import replay as replaying
from heapwright.tunnel.replay import addresses, placements, replay
from heapwright.words import title


def write_trace(path, rows):
    """A trace of (op, slot, size) rows."""
    op, slot, size = (
        (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    )
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size))
    return Trace.open(path)


def random_rows(seed, count, live):
    """Rows of a program that allocates, resizes and frees up to `live` objects at random."""
    draw = np.random.default_rng(seed)
    free, used, rows = list(range(live)), [], []
    for _ in range(count):
        size = int(2 ** draw.uniform(0, 13))
        kind = draw.random()
        if free and (not used or kind < 0.5):
            used.append(free.pop())
            rows.append((MALLOC if draw.random() < 0.8 else CALLOC, used[-1], size))
        elif kind < 0.6:
            rows.append((REALLOC, used[draw.integers(len(used))], size))
        else:
            free.append(used.pop(draw.integers(len(used))))
            rows.append((FREE, free[-1], 0))
    return rows


@pytest.fixture
def trace(tmp_path):
    return write_trace(tmp_path / "random.heap.parquet", random_rows(1, 600, 60))


def test_parts_sum_to_resident_at_every_sample_and_at_the_peak(trace):
    result = replay("linear", trace, samples=100)
    resident = result.timeline[:, TIMELINE.index("resident_bytes")]
    parts = result.timeline[:, TIMELINE.index("live_bytes") :]
    assert (parts.sum(axis=1) == resident).all()
    assert (parts >= 0).all()
    assert sum(result.peak[f"{part}_bytes"] for part in PARTS) == result.peak["resident_bytes"]
    assert result.peak["resident_bytes"] == resident.max() > 0


def test_timeline_is_evenly_spaced_and_holds_the_first_event_of_the_peak(trace):
    result = replay("linear", trace, samples=10)
    every = replay("linear", trace, samples=trace.events).timeline
    assert every[:, 0].tolist() == list(range(trace.events))
    peak_event = int(every[every[:, 2].argmax(), 0])
    spread = np.linspace(0, trace.events - 1, 10).astype(int).tolist()
    assert result.timeline[:, 0].tolist() == sorted({*spread, peak_event, result.end_event})
    assert result.end_event == ending(trace).end
    assert (result.timeline == every[result.timeline[:, 0]]).all()


def test_batches_may_end_anywhere(trace, monkeypatch):
    """The same result whether the trace comes in one batch or in slices of 7 events."""
    whole = replay("linear", trace, samples=50)
    batches = trace.batches

    def slices(columns):
        for batch in batches(columns):
            for first in range(0, len(batch.op), 7):
                yield replaying._cut(batch, first, first + 7)

    monkeypatch.setattr(trace, "batches", slices)
    sliced = replay("linear", trace, samples=50)
    assert (sliced.timeline == whole.timeline).all()
    assert (sliced.peak, sliced.page_faults, sliced.events) == (
        whole.peak,
        whole.page_faults,
        whole.events,
    )


def test_figures_of_a_program_small_enough_to_count(tmp_path):
    """Three objects of a page each; the second freed: its page stays resident, a hole."""
    rows = [(MALLOC, 0, 4096), (MALLOC, 1, 4096), (FREE, 1, 0), (MALLOC, 1, 4096)]
    result = replay("linear", write_trace(tmp_path / "t.parquet", rows))
    assert result.page_faults == 3
    assert result.peak == {
        "resident_bytes": 3 * 4096,
        "live_bytes": 2 * 4096,
        "rounding_bytes": 0,
        "header_bytes": 0,
        "cached_bytes": 0,
        "partial_bytes": 0,
        "retained_bytes": 4096,
        "garbage_bytes": 0,
    }
    assert result.timeline[:, 3].tolist() == [4096, 8192, 4096, 8192]
    assert result.paths["bump"] == 3
    assert (result.events, result.refused) == (4, 0)


def test_untouched_memory_is_not_resident(trace):
    touched, untouched = replay("linear", trace), replay("linear", trace, touch="none")
    assert untouched.page_faults < touched.page_faults
    assert untouched.peak["resident_bytes"] < touched.peak["resident_bytes"]
    assert any("writes nothing" in note for note in untouched.notes)
    assert any("writes all" in note for note in touched.notes)


def test_huge_pages_take_fewer_faults_and_more_memory(trace):
    grown_at_once = {"growth_bytes": 1 << 23}  # a huge page must fit what is mapped
    small = replay("linear", trace, grown_at_once)
    huge = replay("linear", trace, grown_at_once, huge_pages="always")
    assert huge.page_faults < small.page_faults
    assert huge.peak["resident_bytes"] >= small.peak["resident_bytes"]


def test_a_manager_that_runs_out_of_memory_says_so(tmp_path):
    rows = [(MALLOC, 0, 100), (MALLOC, 1, SIZE_LIMIT - 1), (FREE, 1, 0), (FREE, 0, 0)]
    result = replay("linear", write_trace(tmp_path / "t.parquet", rows))
    assert result.refused == 1
    assert any("refused 1 request that" in note for note in result.notes)


def test_an_empty_trace_flies(tmp_path):
    result = replay("linear", write_trace(tmp_path / "t.parquet", []))
    assert result.events == 0
    assert set(result.peak.values()) == {0}
    assert result.timeline.shape == (0, len(TIMELINE))


def test_progress_counts_both_passes(trace):
    seen = []
    replay("linear", trace, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == replaying.steps_of_replay(trace)


def test_addresses_do_not_overlap_and_start_at_the_break(trace):
    placed = np.concatenate(list(placements("linear", trace)))
    assert len(placed) == trace.events
    batch = next(iter(trace.batches(("op", "slot", "size"))))
    live = {}
    for op, slot, size, (address, usable) in zip(
        batch.op, batch.slot, batch.size, placed, strict=True
    ):
        if op == FREE:
            assert (address, usable) == (0, 0)
            del live[slot]
            continue
        live.pop(slot, None)
        assert usable >= size
        assert address >= BREAK_BASE
        assert all(address + usable <= a or a + n <= address for a, n in live.values())
        live[slot] = (address, usable)
    assert (np.concatenate(list(addresses("linear", trace))) == placed[:, 0]).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"manager_name": "no-such"}, "no manager is named 'no-such'"),
        ({"settings": {"no_such": 1}}, "no knob named 'no_such'"),
        ({"touch": "some"}, "touch is one of none, all"),
        ({"huge_pages": "some"}, "huge_pages is one of never, madvise, always"),
    ],
)
def test_mistakes_are_sentences(trace, arguments, sentence):
    with pytest.raises(HeapwrightError, match=sentence):
        replay(**{"manager_name": "linear", "trace": trace} | arguments)


def test_what_the_recorded_environment_set_holds_for_its_own_manager(tmp_path):
    path = tmp_path / "t.parquet"
    rows = [(MALLOC, 0, 200_000), (FREE, 0, 0), (MALLOC, 1, 200_000)]
    op, slot, size = zip(*rows, strict=True)
    with TraceWriter(path, program="rows", kind="synthetic") as out:
        out.write(events(op=op, slot=slot, size=size))
        out.facts.settings = {"mmap_threshold": 131_072, "perturb": 1}
        out.facts.origin = {"cores": "1"}
    trace = Trace.open(path)
    placed = [
        next(addresses("glibc", trace, settings))[2]
        for settings in ({}, {"mmap_threshold": 1 << 20}, {"mmap_max": 0})
    ]
    assert [address > 1 << 35 for address in placed] == [True, False, False]
    result = replay("glibc", trace, {"mmap_max": 0})
    assert result.recorded == result.to_json()["recorded_settings"]
    assert result.recorded["mmap_threshold"] == 131_072
    assert title(result) == "glibc (as recorded, mmap_max=0)"
    assert any(note.startswith("As recorded: mmap_threshold=131072") for note in result.notes)
    assert title(replay("first-fit", trace)) == "first-fit"
    assert any(
        "tcache_count=-1 is ignored" in n
        for n in replay("glibc", trace, {"tcache_count": -1}).notes
    )


def test_calls_that_steer_the_allocator_are_done_or_told(tmp_path):
    rows = [(MALLOC, 0, 1 << 16), (MALLOC, 1, 24), (FREE, 0, 0), (TRIM, -1, 0), (MALLOC, 2, 1)]
    trace = write_trace(tmp_path / "t.parquet", rows)
    done, passed_over = replay("glibc", trace), replay("first-fit", trace)
    assert not any("Passed over" in note for note in done.notes)
    assert any("Passed over 1 calls of mallopt" in note for note in passed_over.notes)
    plain = replay("glibc", write_trace(tmp_path / "u.parquet", [r for r in rows if r[0] != TRIM]))
    resident = TIMELINE.index("resident_bytes")
    assert plain.timeline[-1, resident] - done.timeline[-1, resident] == 15 * 4096
