"""mimalloc by hand; `test_malloc_keys.py` holds it to what the real one answered."""

import numpy as np
import pytest

from heapwright.allocators.mimalloc.classes import tables
from heapwright.allocators.mimalloc.words import (
    HIGH,
    HUGE_BIN,
    LOW,
    MAIN,
    OPEN,
    get,
    heap_word,
    put,
    set_heap_word,
)
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.machine.address_space import MAPPED_BYTES, RESIDENT_PAGES, TIME_NS
from heapwright.managers import named
from heapwright.managers.malloc.mimalloc import purging
from heapwright.managers.malloc.mimalloc.purging import MS_NS, PENDING, shuffled
from heapwright.managers.malloc.mimalloc.state import (
    MEDIUM_BYTES,
    SEGMENT_SLICES,
    WAITING,
    span_bin,
)
from heapwright.managers.malloc.mimalloc3.state import COLLECT, GENERIC, SEQUENCE
from heapwright.managers.malloc.mimalloc3.threads import open_heap
from heapwright.trace.schema import THREAD_EXIT
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

MIB = 1 << 20
SEGMENT = 32 * MIB


def path(trial, name):
    """How often a path was taken."""
    return int(trial.heap.paths[trial.module.PATHS.index(name)])


def test_sizes_go_in_four_steps_a_doubling():
    bins, sizes = tables(MEDIUM_BYTES)
    assert sizes[1:9].tolist() == [8, 16, 0, 32, 0, 48, 0, 64]
    assert sizes[9:17].tolist() == [80, 96, 112, 128, 160, 192, 224, 256]
    assert sizes[bins[128]] == 1024 and sizes[bins[0]] == 8
    assert [span_bin(slices) for slices in (1, 2, 7, 8, 9, 11, 512)] == [1, 2, 7, 8, 8, 9, 31]


def test_the_first_block_is_384_bytes_into_the_second_slice():
    trial = Trial("mimalloc")
    first, room = trial.step(MALLOC, 0, 100)
    assert first % SEGMENT == (64 << 10) + 384 and room == 112
    assert trial.step(MALLOC, 1, 2000)[0] % SEGMENT == 2 * (64 << 10)
    assert int(trial.machine.meters[MAPPED_BYTES]) == SEGMENT


def test_what_was_freed_is_used_again_when_the_free_list_is_empty():
    trial = Trial("mimalloc")
    blocks = [trial.step(MALLOC, slot, 4096)[0] for slot in range(2)]
    trial.step(FREE, 0)
    again = [trial.step(MALLOC, slot, 4096)[0] for slot in (2, 3, 4)]
    assert blocks[0] not in again[:2] and again[2] == blocks[0], "four were on the list"
    trial.verify()


def test_another_threads_free_waits_for_the_owner():
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 100)
    trial.step(MALLOC, 1, 100)
    trial.step(FREE, 0, thread=1)
    trial.step(FREE, 1, thread=1)
    assert len(trial.rows("cached")) == 2, "one on the heap's list, one on the page's"
    trial.verify()
    trial.step(MALLOC, 2, 5000)
    assert path(trial, "caught_up") == 1 and trial.rows("cached") == []
    trial.verify()


def test_a_page_without_a_block_is_kept_for_nine_looks():
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 100)
    trial.step(FREE, 0)
    assert path(trial, "retire") == 1
    for slot, size in enumerate((200, 300, 400, 600, 800, 1200, 1600, 2400), 1):
        trial.step(MALLOC, slot, size)  # of a fresh page: a look
    assert path(trial, "page_freed") == 0
    trial.step(MALLOC, 9, 3200)
    assert path(trial, "page_freed") == 1
    trial.verify()


def test_segments_of_a_thread_that_ended_are_another_threads():
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 100, thread=1)
    block, _ = trial.step(MALLOC, 1, 100, thread=1)
    trial.step(FREE, 1, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    assert path(trial, "abandoned") == 1
    trial.verify()
    assert trial.step(MALLOC, 2, 100)[0] == block, "the page had a free block of the size"
    assert path(trial, "reclaimed") == 1
    trial.step(FREE, 0)
    trial.verify()


def test_a_thread_that_frees_all_leaves_its_segment_to_the_cache():
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 100, thread=1)
    trial.step(FREE, 0, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    assert (path(trial, "abandoned"), int(trial.heap.cached)) == (0, 1)
    trial.step(MALLOC, 0, 100, thread=2)
    assert path(trial, "segment_reused") == 1 and int(trial.heap.records) == 1
    trial.verify()


def test_a_huge_block_has_a_segment_of_its_own():
    trial = Trial("mimalloc")
    address, room = trial.step(MALLOC, 0, 45_112_027)
    assert address % SEGMENT == 64 << 10 and room == 44 * MIB
    assert int(trial.machine.meters[MAPPED_BYTES]) == 48 * MIB
    trial.step(FREE, 0, thread=3)
    assert int(trial.machine.meters[MAPPED_BYTES]) == 8192, "the freeing thread has a heap now"
    assert trial.step(MALLOC, 1, 100)[0] != 0
    trial.verify()


def test_a_block_beyond_a_gibibyte_lies_where_the_system_puts_it():
    trial = Trial("mimalloc")
    trial.run.progress[trial.loop.TOUCH] = 0
    address, _ = trial.step(MALLOC, 0, 1100 * MIB)
    assert address % SEGMENT == 64 << 10
    assert trial.module.offsets(trial.heap, np.array([address])).tolist() == [-1]
    trial.step(FREE, 0)
    assert int(trial.machine.meters[MAPPED_BYTES]) == 0


def test_memalign_of_a_power_of_two_is_misplaced_as_in_the_real_one():
    trial = Trial("mimalloc")
    assert trial.step(MEMALIGN, 0, 256, align=8)[0] % 256 == 128
    assert trial.step(MEMALIGN, 1, 257, align=8)[0] % 256 == 0
    assert trial.step(MEMALIGN, 2, 10, align=24)[0] % (16 * MIB) == 0
    assert trial.step(MEMALIGN, 3, 10, align=25) == (0, 0), "beyond MI_ALIGNMENT_MAX"
    misaligned = trial.module.misaligned
    assert misaligned(512, 256) and not misaligned(128, 128) and not misaligned(2048, 256)


def test_realloc_stays_down_to_a_half():
    trial = Trial("mimalloc")
    block, room = trial.step(MALLOC, 0, 1000)
    assert trial.step(REALLOC, 0, room // 2) == (block, room)
    assert trial.step(REALLOC, 0, room // 2 - 1)[0] != block
    trial.verify()


def test_free_slices_go_back_at_once_without_a_delay():
    held = {}
    for delay in (0, 25):
        trial = Trial("mimalloc", {"decommit_delay": delay})
        trial.step(MALLOC, 0, 8 * MIB)
        trial.step(MALLOC, 1, 100)
        trial.step(FREE, 0)
        held[delay] = int(trial.machine.meters[RESIDENT_PAGES]) * 4096
        trial.verify()
    assert held[25] - held[0] == 8 * MIB


def test_free_slices_go_back_when_their_time_has_come():
    """At the next page of the segment, unless that takes them."""
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 8 * MIB)
    trial.step(MALLOC, 1, 100)
    trial.step(FREE, 0)
    held = int(trial.machine.meters[RESIDENT_PAGES])
    trial.machine.meters[TIME_NS] = 24 * MS_NS
    trial.step(MALLOC, 2, 3000)
    assert int(trial.machine.meters[RESIDENT_PAGES]) >= held and path(trial, "decommit") == 0
    trial.machine.meters[TIME_NS] = 60 * MS_NS
    trial.step(MALLOC, 3, 20_000)
    assert held - int(trial.machine.meters[RESIDENT_PAGES]) > 1000 and path(trial, "decommit") > 0
    trial.verify()


def test_a_cached_segment_goes_back_after_half_a_second():
    trial = Trial("mimalloc")
    trial.step(MALLOC, 0, 100, thread=1)
    trial.step(FREE, 0, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    for thread, time in ((2, 499), (3, 501)):
        trial.machine.meters[TIME_NS] = time * MS_NS
        trial.step(MALLOC, thread, 100, thread=thread)
        trial.step(MALLOC, 1, 100, thread=5)
        trial.step(FREE, 1, thread=5)
        trial.step(THREAD_EXIT, -1, thread=5)
        trial.verify()
    assert path(trial, "segment_cached") >= 2


def test_the_end_of_a_thread_looks_at_the_whole_cache():
    trial = Trial("mimalloc")
    for thread in (1, 5, 6):
        trial.step(MALLOC, thread, 100, thread=thread)
    gone = []
    for thread, time in ((1, 0), (5, 499), (6, 501)):
        trial.machine.meters[TIME_NS] = time * MS_NS
        trial.step(FREE, thread, thread=thread)
        trial.step(THREAD_EXIT, -1, thread=thread)
        gone.append(path(trial, "decommit"))
    assert gone == [0, 0, 1]
    trial.verify()


def test_the_first_look_into_the_cache_is_as_random_as_the_real_ones():
    assert [int(shuffled(value)) for value in (1_000_000, 1_000_500)] == [
        splitmix(value) % 1024 for value in (1_000_000, 1_000_500)
    ]


@pytest.mark.skipif(not INTERPRETED, reason="compiled, it is part of a heap")
def test_a_segment_waits_for_nothing_at_first_and_its_runs_end_with_it(monkeypatch):
    heap, runs = Trial("mimalloc").heap, []
    monkeypatch.setattr(purging, "_decommit", lambda _, first, past: runs.append((first, past)))
    segment = 4 * SEGMENT_SLICES
    put(heap, segment, WAITING, 5)
    heap.marks[segment : segment + 2 * SEGMENT_SLICES] = PENDING
    purging.open_marks(heap, segment, False)
    assert get(heap, segment, WAITING) == 0
    marks = heap.marks[segment : segment + SEGMENT_SLICES]
    assert marks.nonzero()[0].tolist() == [0]
    marks[[3, 4, 9, SEGMENT_SLICES - 2, SEGMENT_SLICES - 1]] = PENDING
    purging._decommit_runs(heap, segment, PENDING)
    ends = (3, 5), (9, 10), (SEGMENT_SLICES - 2, SEGMENT_SLICES)
    assert [(first - segment, past - segment) for first, past in runs] == list(ends)


def splitmix(value):
    """Steele, Lea and Flood's finaliser."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = (value ^ value >> shift) * factor % (1 << 64)
    return value ^ value >> 31


def test_mimalloc3_has_a_small_arena_where_there_is_no_room_for_a_gibibyte():
    mapped = []
    for room in (4096 * MIB, 300 * MIB):
        trial = Trial("mimalloc3")
        gaps = trial.machine.gaps
        gaps.start[0] = gaps.end[0] - room
        assert trial.step(MALLOC, 0, 100)[0]
        mapped.append(int(trial.machine.meters[MAPPED_BYTES]) // MIB)
        trial.verify()
    assert mapped == [1026, 130], "and two for what lies beside it"


@pytest.mark.skipif(not INTERPRETED, reason="a kernel that no other test calls by itself")
def test_a_heap_that_is_opened_anew_remembers_nothing():
    """As where a thread's number comes back."""
    trial = Trial("mimalloc3")
    for slot in (0, 1):
        trial.step(MALLOC, slot, 100, thread=slot)
    heap, row = trial.heap, MAIN + 1
    fresh = (OPEN, LOW, HIGH, GENERIC, COLLECT)
    for word in fresh:
        set_heap_word(heap, row, word, 99)
    threads = int(heap.threads)
    assert open_heap(heap, row)
    assert [heap_word(heap, row, word) for word in fresh] == [1, HUGE_BIN + 1, 0, 0, 0]
    assert (heap_word(heap, row, SEQUENCE), heap.threads) == (threads, threads + 1)


def test_a_negative_knob_is_refused():
    manager = named("mimalloc")
    with pytest.raises(HeapwrightError, match="not negative"):
        manager.module.boot(machine(), manager.configured({"decommit_delay": -1}))
