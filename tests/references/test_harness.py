"""The harness against what malloc must do: exact pages, exact offsets, exact sums."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.references.malloc import build, systems
from heapwright.references.malloc.harness import (
    PAGE_BYTES,
    Drive,
    Footprint,
    alive_at_once,
    check_memory,
)
from heapwright.references.malloc.measure import installed, measure, parts
from heapwright.trace.ending import ending
from heapwright.trace.process import NOTHING, Process
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MALLOPT,
    MEMALIGN,
    REALLOC,
    SBRK,
    THREAD_EXIT,
    TOUCH,
    TRIM,
    Events,
    events,
    mallopt_size,
    sbrk_size,
)

TCACHE_BYTES = 0x290  # glibc's first chunk holds the thread cache
SIZE_LIMIT_TAKEN = (1 << 48) - 1


class InMemory:
    """Events with the face of a `Trace`."""

    def __init__(self, columns: Events) -> None:
        self.kept, self.columns = columns, ()
        self.events = len(columns.op)
        self.slots = max(1, int(columns.slot.max(initial=0)) + 1)
        self.threads = int(columns.thread.max(initial=0)) + 1
        self.heap_start = 0
        sizes = np.zeros(self.slots, np.int64)
        live = self.peak_live_bytes = 0
        for slot, size in zip(columns.slot, columns.size, strict=True):
            if slot >= 0 and size < SIZE_LIMIT_TAKEN:
                live += int(size) - int(sizes[slot])
                sizes[slot] = size
                self.peak_live_bytes = max(self.peak_live_bytes, live)

    def process(self) -> Process:
        """Nothing is known of one."""
        return NOTHING

    def batches(self, columns: Sequence[str] = ()) -> Iterator[Events]:
        """Three batches, as a reader would stream them."""
        third = self.events // 3 + 1
        for start in range(0, self.events, third):
            yield Events(*(column[start : start + third] for column in self.kept))


def churn(count: int, slots: int, seed: int) -> Events:
    """Log-uniform sizes of 1 byte to 16 KiB that live and die at random; some are reallocated."""
    random = np.random.default_rng(seed)
    slot = random.integers(0, slots, count)
    size = (2 ** random.uniform(0, 14, count)).astype(np.int64)
    dice = random.random(count)
    op = np.zeros(count, np.uint8)
    live = np.zeros(slots, bool)
    for i, s in enumerate(slot):
        if live[s]:
            op[i] = REALLOC if dice[i] < 0.2 else FREE
        else:
            op[i] = CALLOC if dice[i] < 0.1 else MALLOC
        live[s] = op[i] != FREE
    return events(op=op, slot=slot, size=np.where(op == FREE, 0, size))


def drive(
    name: str, *rows: tuple[int, int, int], touch: str = "all"
) -> tuple[np.ndarray, Footprint]:
    """Drive (op, slot, size) rows; heap offsets and usable sizes, and the footprint."""
    op, slot, size = zip(*rows, strict=True)
    trace = InMemory(events(op=op, slot=slot, size=size))
    with Drive(name, trace, placed=True, touch=touch) as real:
        placed = real.replay(trace.kept)
        placed[:, 0] -= np.where(placed[:, 0] > 0, real.heap_start, 0)
        return placed, real.finish()


def test_glibc_places_the_first_block_after_its_thread_cache() -> None:
    placed, footprint = drive("glibc", (MALLOC, 0, 100), (FREE, 0, 0), (MALLOC, 1, 101))
    assert placed.tolist() == [[TCACHE_BYTES + 16, 104], [0, 0], [TCACHE_BYTES + 16, 104]]
    assert footprint.resident_bytes == PAGE_BYTES
    assert footprint.mapped_bytes_peak == 33 * PAGE_BYTES  # M_TOP_PAD and the block, in pages
    assert footprint.page_faults == 1


@pytest.mark.parametrize("touch", ["all", "none"])
def test_every_page_of_a_large_block_is_counted(touch: str) -> None:
    pages = 4096
    _, footprint = drive("glibc", (MALLOC, 0, pages * PAGE_BYTES), touch=touch)
    header, thread_cache = 1, 1
    expected = (pages + header if touch == "all" else header) + thread_cache
    assert footprint.resident_bytes == expected * PAGE_BYTES
    assert footprint.page_faults == expected
    assert footprint.exact


def test_what_was_recorded_as_written_is_written() -> None:
    rows = (
        (MALLOC, 0, 1 << 20),
        (TOUCH, 0, 10 * PAGE_BYTES),
        (MALLOC, 1, 100),
        (TOUCH, 0, 1 << 21),
    )
    _, footprint = drive("glibc", *rows[:3], touch="recorded")
    header, thread_cache = 1, 1
    assert footprint.resident_bytes == (10 + header + thread_cache) * PAGE_BYTES
    _, beyond = drive("glibc", *rows, touch="recorded")  # no more than the block
    assert beyond.resident_bytes == (256 + header + thread_cache) * PAGE_BYTES
    assert drive("glibc", *rows, touch="none")[1].resident_bytes == 2 * PAGE_BYTES


def test_fresh_calloc_memory_stays_untouched() -> None:
    _, footprint = drive("glibc", (CALLOC, 0, 1 << 24))
    assert footprint.resident_bytes == 2 * PAGE_BYTES
    assert footprint.live_bytes == 1 << 24


def test_the_peak_is_not_the_end() -> None:
    _, footprint = drive("glibc", (MALLOC, 0, 1 << 24), (FREE, 0, 0), (MALLOC, 0, 1000))
    assert footprint.peak_event == 0
    assert footprint.live_bytes == 1 << 24
    assert footprint.resident_bytes == (1 << 24) + 2 * PAGE_BYTES


def test_realloc_keeps_count_of_live_bytes() -> None:
    placed, footprint = drive("glibc", (MALLOC, 0, 10), (REALLOC, 0, 5000), (REALLOC, 0, 9000))
    assert footprint.live_bytes == 9000
    assert footprint.usable_bytes == placed[2, 1] == 9000


def test_alignment_is_kept() -> None:
    columns = events(op=[MALLOC, MEMALIGN], slot=[0, 1], size=[1, 100], align=[0, 12])
    for name in installed():
        with Drive(name, InMemory(columns), placed=True) as real:
            assert real.replay(columns)[1, 0] % 4096 == 0


def test_a_refused_request_is_counted_and_keeps_the_old_block() -> None:
    placed, footprint = drive(
        "glibc", (MALLOC, 0, 24), (REALLOC, 0, SIZE_LIMIT_TAKEN), (FREE, 0, 0)
    )
    assert footprint.refused == 1
    assert placed[1].tolist() == placed[0].tolist()


def test_a_request_that_the_program_was_refused_leaves_nothing() -> None:
    placed, footprint = drive("glibc", (MALLOC, -1, SIZE_LIMIT_TAKEN), (MALLOC, -1, 64))
    assert footprint.refused == 0
    assert footprint.live_bytes == 0
    assert not placed.any()


def test_what_the_program_was_refused_is_given_back_at_once() -> None:
    _, once = drive("glibc", (MALLOC, -1, 1 << 20))
    _, often = drive("glibc", *[(MALLOC, -1, 1 << 20)] * 64)
    assert often.refused == 0
    assert often.mapped_bytes_peak - once.mapped_bytes_peak < 4 << 20
    placed, _ = drive("glibc", (MALLOC, 0, 64), (MALLOC, -1, 64), (MALLOC, 1, 64))
    apart, _ = drive("glibc", (MALLOC, 0, 64), (MALLOC, 1, 64))
    assert placed[2, 0] - placed[0, 0] == apart[1, 0] - apart[0, 0]


def test_heap_offsets_repeat_in_every_process() -> None:
    trace = InMemory(churn(20_000, slots=500, seed=3))
    runs = []
    for _ in range(2):
        with Drive("glibc", trace, placed=True) as real:
            offset = real.replay(trace.kept)[:, 0] - real.heap_start
            runs.append(offset[(offset > 0) & (offset < 1 << 35)])
    assert len(runs[0]) > 9000
    assert np.array_equal(*runs)


@pytest.mark.parametrize("name", installed())
def test_parts_sum_to_resident(name: str) -> None:
    trace = InMemory(churn(60_000, slots=2000, seed=5))
    result = measure(name, trace)
    resident = result.peak.pop("resident_bytes")
    assert resident == sum(result.peak.values())
    assert result.peak["live_bytes"] == pytest.approx(trace.peak_live_bytes, rel=0.15)
    assert result.timeline is not None
    assert np.array_equal(result.timeline[:, 2], result.timeline[:, 3:].sum(axis=1))
    assert (np.diff(result.timeline[:, 0]) > 0).all()
    assert result.timeline[-1, 0] == trace.events - 1
    assert result.timeline[:, 2].max() <= resident <= result.mapped_bytes_peak
    assert result.events == trace.events
    assert "cannot be told apart" in result.notes[0]


def test_what_stays_is_sampled_at_the_very_event_the_trace_names() -> None:
    """The end lies between two samples, in a quiet of a few events; the trace ends in a load."""
    load = [(MALLOC, slot, 1 << 20) for slot in range(1, 9)]
    load += [(FREE, slot, 0) for slot in range(1, 9)]
    rows = [(MALLOC, 0, 1 << 20), *load * 200, *load[:12]]
    op, slot, size = (np.array(column) for column in zip(*rows, strict=True))
    trace = InMemory(events(op=op, slot=slot, size=size))
    result, ends = measure("glibc", trace), ending(trace)
    assert ends.end_live_bytes == 1 << 20
    assert result.end_event == ends.end == len(rows) - 13
    assert 1 << 20 <= result.end_resident_bytes < (1 << 20) + (1 << 18)
    assert result.exit_resident_bytes > 4 << 20
    assert 1 << 20 < result.mean_resident_bytes < 9 << 20
    assert result.peak["resident_bytes"] > 9 << 20


def test_live_bytes_that_never_became_resident_are_cut() -> None:
    assert parts(resident=100, live=150, usable=160) == {
        "resident_bytes": 100,
        "live_bytes": 100,
        "rounding_bytes": 0,
        "header_bytes": 0,
        "cached_bytes": 0,
        "partial_bytes": 0,
        "retained_bytes": 0,
        "garbage_bytes": 0,
    }
    assert parts(resident=100, live=60, usable=75)["partial_bytes"] == 25


def test_each_trace_thread_is_a_real_one_with_an_arena_of_its_own() -> None:
    op = [MALLOC, MALLOC, MALLOC, THREAD_EXIT, MALLOC]
    columns = events(op=op, slot=[0, 1, 2, -1, 3], size=[64] * 5, thread=[0, 1, 2, 1, 3])
    with Drive("glibc", InMemory(columns), placed=True) as real:
        address = real.replay(columns)[:, 0]
        assert real.heap_start < address[0] < real.heap_start + (1 << 20)
        first, second, third, _, fourth = (address >> 26).tolist()
        assert len({first, second, third}) == 3
        assert fourth == second  # the arena that the ended thread left
        assert address[3] == 0


def test_many_threads_come_and_go() -> None:
    """Stacks are kept for those alive at once, not for all there ever were."""
    count = 3000
    op = np.tile([MALLOC, FREE, THREAD_EXIT], count)
    thread = np.repeat(np.arange(1, count + 1), 3)
    slot = np.tile([0, 0, -1], count)
    trace = InMemory(events(op=op, slot=slot, size=np.where(op == MALLOC, 50, 0), thread=thread))
    assert alive_at_once(trace) == 2
    result = measure("glibc", trace)
    assert result.mapped_bytes_peak < 1 << 28
    assert any("3,001 threads" in note for note in result.notes)


def test_more_than_a_thousand_threads_are_alive_at_once() -> None:
    """Each has a real thread, and each block comes from where its thread's arena is."""
    count = 1100
    columns = events(op=[MALLOC] * count, slot=range(count), size=[50] * count, thread=range(count))
    trace = InMemory(columns)
    assert alive_at_once(trace) == count
    with Drive("glibc", trace, placed=True) as real:
        placed = real.replay(columns)[:, 0]
    assert len(set(placed.tolist())) == count


def test_the_first_thread_keeps_its_cache_when_it_ends() -> None:
    """As after pthread_exit in main: what it freed is not given to others."""
    placed, _ = drive("glibc", (MALLOC, 0, 24), (FREE, 0, 0), (THREAD_EXIT, -1, 0), (MALLOC, 0, 24))
    assert placed[3].tolist() == placed[0].tolist()


def test_the_heap_starts_where_it_did() -> None:
    trace = InMemory(events(op=[MEMALIGN], slot=[0], size=[100], align=[13]))
    for start in (0x5555_5555_6000, 0x1234_5000, 0):
        trace.heap_start = start
        with Drive("glibc", trace, placed=True) as real:
            assert (real.heap_start - start) % (1 << 24) == 0
            address = int(real.replay(trace.kept)[0, 0])
            assert address % 8192 == 0
            assert address - real.heap_start == (8192 if start & 4096 == 0 else 4096)


def test_what_steers_the_allocator_is_done() -> None:
    first, second = (MALLOC, 0, 100_000), (MALLOC, 1, 100_000)
    placed, footprint = drive("glibc", first, (SBRK, -1, sbrk_size(2 * PAGE_BYTES)), second)
    assert placed[2, 0] == (33 + 2) * PAGE_BYTES + 16  # past what the program took for itself
    assert footprint.left_out == 0
    placed, _ = drive("glibc", first, (MALLOPT, -1, mallopt_size(-3, 4096)), second)
    assert placed[2, 0] > 1 << 35  # M_MMAP_THRESHOLD: what top has no room for is mapped
    rows = [(MALLOC, 0, 1 << 16), (MALLOC, 1, 24), (FREE, 0, 0), (MALLOC, 2, 1 << 16)]
    before = drive("glibc", *rows)[1]
    after = drive("glibc", *rows[:3], (TRIM, -1, 0), rows[3])[1]
    assert after.page_faults - before.page_faults >= 15  # its pages were given back


def test_a_library_without_malloc_trim_is_told() -> None:
    if "jemalloc" not in installed():
        pytest.skip("jemalloc is not installed")
    trace = InMemory(events(op=[MALLOC, TRIM, MALLOPT], slot=[0, -1, -1], size=[10, 0, 0]))
    result = measure("jemalloc", trace)
    assert any("Left out 2 calls of mallopt or malloc_trim" in note for note in result.notes)


def test_an_event_without_an_object_is_a_sentence() -> None:
    trace = InMemory(events(op=[MALLOC], slot=[7], size=[1]))
    trace.slots = 1
    with (
        pytest.raises(HeapwrightError, match="real glibc ended with status 2: an event names"),
        Drive("glibc", trace) as real,
    ):
        real.replay(trace.kept)
        real.finish()


def test_no_process_is_left_behind() -> None:
    trace = InMemory(events(op=[MALLOC], slot=[0], size=[1]))
    with pytest.raises(KeyboardInterrupt), Drive("glibc", trace) as real:
        process = real._process
        raise KeyboardInterrupt
    assert process.poll() is not None


def test_knobs_reach_glibc() -> None:
    trace = InMemory(events(op=[MALLOC], slot=[0], size=[100]))
    result = measure("glibc", trace, settings={"top_pad": 1 << 20})
    assert result.mapped_bytes_peak == (1 << 20) + PAGE_BYTES
    assert result.settings == {"top_pad": 1 << 20}


def test_unknown_knobs_and_names_are_sentences() -> None:
    with pytest.raises(HeapwrightError, match="no tunable named 'frob'"):
        systems.tunables("glibc", {"frob": 1})
    with pytest.raises(HeapwrightError, match="jemalloc takes no knobs"):
        systems.tunables("jemalloc", {"arena_max": 1})
    with pytest.raises(HeapwrightError, match="no real allocator named 'frobmalloc'"):
        systems.presence("frobmalloc")


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "_find", lambda soname: None)
    missing = systems.presence("jemalloc").missing
    assert "libjemalloc.so.2" in missing
    assert "apt install libjemalloc2" in missing
    with pytest.raises(HeapwrightError, match="cannot drive the real jemalloc"):
        systems.library("jemalloc")


def test_without_a_compiler_there_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(HeapwrightError, match="needs a C compiler"):
        build.harness("glibc")


def test_more_than_the_machine_has_is_refused() -> None:
    check_memory(1 << 20)
    with pytest.raises(
        HeapwrightError, match="alive, its threads' stacks included, and this machine has"
    ):
        check_memory(1 << 60)


def test_versions_are_told() -> None:
    for name in installed():
        assert systems.version(name)[0].isdigit()


def test_what_a_real_system_is_told_is_its_own() -> None:
    assert systems.variables("jemalloc", {"narenas": 1, "dirty_decay_ms": 0}) == {
        "MALLOC_CONF": "narenas:1,dirty_decay_ms:0"
    }
    assert systems.variables("glibc", {"arena_max": 2}) == {
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"
    }
    with pytest.raises(HeapwrightError, match="jemalloc has no setting named 'arena_max'"):
        systems.variables("jemalloc", {"arena_max": 2})
    assert systems.deployed("jemalloc").waits({})
    assert not systems.deployed("jemalloc").waits({"dirty_decay_ms": 0, "muzzy_decay_ms": 0})
    assert not systems.deployed("glibc").waits({})
