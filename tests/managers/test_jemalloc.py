"""jemalloc by hand; `test_malloc_keys.py` holds it to what the real one answered."""

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.machine.address_space import RESIDENT_PAGES, TIME_NS
from heapwright.managers import named
from heapwright.managers.malloc.jemalloc.decay import begin_decay, decay_of
from heapwright.managers.malloc.jemalloc.draws import STEPS, advanced, smooth_steps, ticker_draws
from heapwright.managers.malloc.jemalloc.size_classes import (
    array_bytes,
    class_of,
    classes,
    kept_class,
    page_class,
    wanted_class,
)
from heapwright.managers.malloc.jemalloc.state import (
    DEADLINE,
    DIRTY,
    EPOCH,
    INTERVAL,
    LIVE,
    MOST_BLOCKS,
    THREADS,
    TICKS,
    get,
)
from heapwright.trace.schema import THREAD_EXIT
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

MIB = 1 << 20
SECOND_NS = 10**9


def path(trial, name):
    """How often a path was taken."""
    return int(trial.heap.paths[trial.module.PATHS.index(name)])


def told(trial, name):
    """What it says of itself."""
    return trial.module.statistics(trial.heap)[f"stats.{name}"]


def look(trial):
    """A large block comes and goes, and with it a look at decay."""
    trial.heap.rows[TICKS] = 1  # of the main thread
    trial.step(MALLOC, 4000, 100_000)
    trial.step(FREE, 4000)


def test_size_classes():
    """Four steps a doubling; a slab is whole regions; a class's room is the real array's."""
    table = classes(41)
    sizes = table.bytes_of.tolist()
    assert sizes[:14] == [8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    assert sizes[36] == 16 << 10 and sizes[40] == 32 << 10
    for size in (0, 1, 8, 9, 129, 1000, 4096, 4097, 14336, 14337, 100_000, 1 << 40):
        assert sizes[class_of(table, size)] == next(each for each in sizes if each >= size)
    for class_ in range(36):
        assert table.slab_bytes[class_] == table.regions[class_] * sizes[class_]
    assert array_bytes(table, 41) == 24784 and table.slots[0] == 200 and table.slots[40] == 20


def test_a_free_extent_is_kept_by_what_it_surely_holds():
    table = classes(0)
    for pages in (1, 2, 3, 9, 10, 11, 300, 513, 5000):
        bytes_ = pages << 12
        pages_of = table.page_bytes.tolist()
        assert pages_of[page_class(bytes_)] >= bytes_
        assert kept_class(table, bytes_) <= wanted_class(table, bytes_)
        want = wanted_class(table, bytes_)
        smallest = next(n for n in range(bytes_, 4 * bytes_, 4096) if kept_class(table, n) == want)
        assert smallest >= bytes_, "what is in the class holds the request"


def test_draws():
    """The generator is a congruential one modulo 2^64; the ticker's mean is what is asked for; the
    curve goes from nothing to all."""
    state = int(advanced(7))
    wanted = (7 * 6364136223846793005 + 1442695040888963407) % (1 << 64)
    assert state % (1 << 64) == wanted and -(1 << 63) <= state < 1 << 63
    ticks = ticker_draws(1000)
    assert ticks[0] == 4163 and ticks[63] == 0 and 900 < ticks.mean() < 1100
    curve = smooth_steps()
    assert len(curve) == STEPS and curve[-1] == 1 << 24 and curve[99] == 1 << 23


def test_the_first_block_lies_behind_the_main_threads_array():
    trial = Trial("jemalloc")
    address, room = trial.step(MALLOC, 0, 100)
    assert address % (2 * MIB) == 0x8000 and room == 112
    assert told(trial, "arenas.4096.tcache_bytes") == 99 * 112, "half of its room was filled"
    assert told(trial, "allocated") == 28672 + 100 * 112


def test_a_slab_may_be_taken_before_a_lower_one():
    """As by the real one's heap: a root that had nothing below it went while others waited, and the
    next one took the lesser of them below itself. (The real library gives the same addresses.)"""
    trial = Trial("jemalloc", {"tcache": 0, "narenas": 1})
    blocks = [trial.step(MALLOC, slot, 14336)[0] for slot in range(10)]  # five slabs of two
    first, second, third, fourth, fifth = range(0, 10, 2)
    for slot in (first, second, third, fifth, second + 1, fourth):
        trial.step(FREE, slot)
        trial.verify()
    taken = [trial.step(MALLOC, 30 + each, 14336)[0] for each in range(4)]
    assert taken == [blocks[slot] for slot in (first, fourth, third, fifth)]
    trial.verify()


def test_a_full_stack_gives_its_older_half_back():
    trial = Trial("jemalloc")
    blocks = [trial.step(MALLOC, slot, 14336)[0] for slot in range(21)]
    for slot in range(21):
        trial.step(FREE, slot)
    assert path(trial, "flush") == 1
    assert told(trial, "arenas.4096.tcache_bytes") < 21 * 14336
    trial.verify()
    assert trial.step(MALLOC, 0, 14336)[0] == blocks[20], "the newest is still there"


def test_a_second_thread_has_an_arena_of_its_own_until_it_ends():
    trial = Trial("jemalloc", {"narenas": 2})
    for thread in range(3):
        trial.step(MALLOC, thread, 100, thread=thread)
    heap = trial.heap
    assert [int(get(heap, arena, THREADS)) for arena in range(2)] == [2, 1], "the third shares"
    trial.step(THREAD_EXIT, -1, thread=1)
    assert int(get(heap, 1, THREADS)) == 0
    trial.verify()
    trial.step(MALLOC, 5, 100, thread=7)
    assert int(get(heap, 1, THREADS)) == 1, "the first one with the fewest"
    trial.verify()


def test_a_thread_that_only_frees_has_no_cache():
    trial = Trial("jemalloc")
    trial.step(MALLOC, 0, 40)
    before = len(trial.rows("cached"))
    trial.step(FREE, 0, thread=3)
    assert len(trial.rows("cached")) == before and len(trial.rows("metadata")) == 3
    trial.step(THREAD_EXIT, -1, thread=3)
    trial.verify()


@pytest.mark.parametrize("threshold", [8 * MIB, 0])
def test_huge_requests_have_an_arena_of_their_own(threshold):
    trial = Trial("jemalloc", {"oversize_threshold": threshold, "narenas": 1})
    trial.step(MALLOC, 0, 9 * MIB)
    assert bool(get(trial.heap, 1, LIVE)) == (threshold > 0)
    held = int(trial.machine.meters[RESIDENT_PAGES])
    trial.step(FREE, 0)
    assert held - int(trial.machine.meters[RESIDENT_PAGES]) >= 9 * 256, "it goes back at once"
    trial.verify()


def test_dirty_pages_go_back_in_time():
    """None in the first epochs, half of them after half of the delay, all after the whole."""
    left = {}
    for seconds in (0, 5, 11):
        trial = Trial("jemalloc", {"dirty_decay_ms": 10_000})
        for slot in range(40):
            trial.step(MALLOC, slot, 100_000)
        for slot in range(40):
            trial.step(FREE, slot)
        for passed in (SECOND_NS // 5, seconds * SECOND_NS):
            trial.machine.meters[TIME_NS] += passed
            look(trial)
        left[seconds] = told(trial, "arenas.4096.pdirty")
        trial.verify()
    assert left[0] > 900 and left[11] < 60
    assert 0.3 < left[5] / left[0] < 0.7


@pytest.mark.skipif(not INTERPRETED, reason="a kernel that no other test calls by itself")
def test_decay_begins_when_its_arena_does():
    trial = Trial("jemalloc")
    trial.machine.meters[TIME_NS] = 5 * SECOND_NS
    begin_decay(trial.heap, 1, DIRTY, 2000, 7)
    decay = decay_of(DIRTY)
    interval = get(trial.heap, 1, decay + INTERVAL)
    assert interval == 2 * SECOND_NS // STEPS
    assert get(trial.heap, 1, decay + EPOCH) == 5 * SECOND_NS
    assert interval <= get(trial.heap, 1, decay + DEADLINE) - 5 * SECOND_NS < 2 * interval


def test_pages_are_muzzy_before_they_go():
    trial = Trial("jemalloc", {"dirty_decay_ms": 0, "muzzy_decay_ms": 1000})
    trial.step(MALLOC, 0, 100_000)
    trial.step(FREE, 0)
    assert told(trial, "arenas.4096.pdirty") == told(trial, "arenas.4096.pmuzzy") == 0
    trial = Trial("jemalloc", {"dirty_decay_ms": 1, "muzzy_decay_ms": -1})
    for _ in range(6):
        trial.machine.meters[TIME_NS] += SECOND_NS // 1000
        look(trial)
        trial.verify()
    assert told(trial, "arenas.4096.dirty_npurge") > 0
    trial.decompose()


def test_large_blocks_grow_and_shrink_where_they_lie():
    trial = Trial("jemalloc")
    block, room = trial.step(MALLOC, 0, 200_000)
    assert trial.step(REALLOC, 0, room - 1) == (block, room)
    assert trial.step(REALLOC, 0, 400_000)[0] == block, "what follows is retained"
    assert trial.step(REALLOC, 0, 20_000) == (block, 20480)
    assert trial.step(REALLOC, 0, 100)[0] != block
    trial.verify()


def test_aligned_blocks():
    trial = Trial("jemalloc")
    assert trial.step(MEMALIGN, 0, 100, align=6)[1] == 128
    assert trial.step(MEMALIGN, 1, 5000, align=12)[1] == 8192
    address, room = trial.step(MEMALIGN, 2, 100, align=16)
    assert address % (1 << 16) == 0 and room == 16 << 10, "past the classes of slabs"
    assert trial.step(MEMALIGN, 3, 0, align=11)[1] == 8, "as the real one: of no bytes, anywhere"
    assert trial.module.misaligned(0, 2048) and not trial.module.misaligned(1, 2048)
    trial.verify()


def test_a_fresh_large_block_need_not_be_cleared():
    trial = Trial("jemalloc")
    trial.step(MALLOC, 1, 8)
    before = int(trial.machine.meters[RESIDENT_PAGES])
    trial.step(CALLOC, 0, 300_000)
    assert int(trial.machine.meters[RESIDENT_PAGES]) - before < 4
    trial.step(CALLOC, 2, 14_000)
    assert int(trial.machine.meters[RESIDENT_PAGES]) - before >= 4


def test_no_cache():
    trial = Trial("jemalloc", {"tcache": 0})
    trial.step(MALLOC, 0, 100)
    trial.step(MALLOC, 1, 20_000)
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    assert trial.rows("cached") == [] and told(trial, "allocated") == 0
    trial.verify()


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"dirty_decay_ms": -2}, "is -1, for never, or more"),
        ({"narenas": -1}, "are not negative"),
        ({"narenas": 4095}, "narenas is at most 4,094, not 4,095"),
        ({"tcache": 2}, "tcache is 0 or 1, not 2"),
        ({"lg_tcache_max": 24}, "lg_tcache_max is 3 to 23, not 24"),
        ({"version": 5_002_000}, "no version 5.2 here; it has: 5.3"),
    ],
)
def test_a_knob_that_does_not_fit_is_refused(knobs, said):
    manager = named("jemalloc")
    with pytest.raises(HeapwrightError, match=said):
        manager.module.boot(machine(), manager.configured(knobs))


@pytest.mark.parametrize("full", ["table", "space"])
def test_an_arena_that_is_refused_leaves_its_thread_to_the_first(full):
    """A second thread's wants a block: of a table without a row, of a space without a gap."""
    trial = Trial("jemalloc")
    first, _ = trial.step(MALLOC, 0, 100)
    if full == "table":
        trial.heap.blocks = MOST_BLOCKS
    else:
        trial.machine.gaps.count[0] = 0
    before = int(trial.heap.blocks)
    assert 0 < trial.step(MALLOC, 1, 100, thread=1)[0] - first < 1 << 16
    assert trial.heap.blocks == before and trial.module.fatal(trial.heap) == ""


def test_refused_metadata_ends_the_program():
    trial = Trial("jemalloc")
    assert trial.module.fatal(trial.heap) == ""
    trial.heap.broken = 1
    assert "refused memory" in trial.module.fatal(trial.heap)
