"""wright: classes, spans, mailboxes, the page heap, and what its check sees."""

import numpy as np
import pytest

from heapwright.class_tables import keep
from heapwright.errors import HeapwrightError
from heapwright.machine import load, store
from heapwright.machine.address_space import (
    FAULTS,
    HUGE_ADVISE,
    HUGE_FAULTS,
    HUGE_PAGE_BYTES,
    HUGE_PAGES,
    RESIDENT_PAGES,
)
from heapwright.managers import named
from heapwright.managers.malloc.wright import classes as sizes
from heapwright.managers.malloc.wright import hardened, page_heap, state
from heapwright.trace.schema import THREAD_EXIT
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

PAGE = sizes.PAGE_BYTES
SMALL = 8  # a class of 128 bytes
HOARD = {"interval_bytes": 1 << 50, "limit_bytes": 1 << 40}


def path(trial, name):
    return int(trial.heap.paths[state.PATHS.index(name)])


def test_the_parts_of_a_threads_row_do_not_overlap():
    parts = [
        *(range(first, first + sizes.MOST_CLASSES) for first in (state.HEADS, state.PARTIAL)),
        range(state.FRESH, state.FRESH + sizes.MOST_CLASSES),
        [state.ALIVE],
        [state.OUT_OWNER, state.OUT_LARGEST, state.OUT_ENVELOPE, state.OUT_COUNT],
        range(state.OUTBOX, state.OUTBOX + state.MOST_BATCH),
        [state.MAILBOX],
    ]
    words = [word for part in parts for word in part]
    assert len(set(words)) == len(words) and max(words) < 1 << state.ROW_SHIFT
    assert state.MAILBOX % 8 == 0, "a line of its own"


@pytest.mark.parametrize("steps", [4, 8])
def test_a_request_gets_the_first_class_that_holds_it(steps):
    table = sizes.classes(steps, 1 << 14, 1 << 18, 1 << 14)
    known = table.bytes_of.tolist()
    assert known == sorted(set(known)) and len(known) <= sizes.MOST_CLASSES
    for size in [*range(0, 3000), *range(3000, sizes.MOST_BYTES + 1, 501), sizes.MOST_BYTES]:
        row = sizes.class_of(table, size)
        assert known[row - 1] < max(size, 1) <= known[row]
        assert known[row] - size <= max(16, size // steps, size > 8192 and PAGE)
    assert sizes.class_of(table, sizes.MOST_BYTES + 1) == 0


@pytest.mark.parametrize("align", [32, 64, 256, 4096, PAGE])
def test_a_class_for_an_alignment_is_a_multiple_of_it(align):
    table = sizes.classes(8, 1 << 14, 1 << 18, 1 << 14)
    for size in (1, align - 1, align + 1, 3 * align, 100_000):
        chosen = int(table.bytes_of[sizes.class_of_aligned(table, size, align)])
        assert chosen >= size and chosen % align == 0
    assert sizes.class_of_aligned(table, sizes.MOST_BYTES + 1, align) == 0


def test_a_freed_block_is_the_next_one_handed_out():
    trial = Trial("wright")
    first = trial.step(MALLOC, 0, 100)[0]
    second = trial.step(MALLOC, 1, 100)[0]
    assert second == first + 112, "blocks lie side by side, lowest first"
    trial.step(FREE, 0)
    assert trial.step(MALLOC, 2, 110)[0] == first


def test_the_smallest_blocks_lie_side_by_side_where_that_is_wanted():
    trial = Trial("wright", {"least_bytes": 8})
    first, second, third = (
        trial.step(MALLOC, slot, size)[0] for slot, size in enumerate((8, 1, 9))
    )
    assert second == first + 8 and third % 16 == 0
    trial.step(FREE, 0)
    assert trial.step(MALLOC, 3, 5)[0] == first
    trial.verify()


def test_empty_spans_become_pages_for_other_sizes():
    trial = Trial("wright", {"cache_bytes": 0})
    for slot in range(1000):
        trial.step(MALLOC, slot, 100)
    for slot in range(1000):
        trial.step(FREE, slot)
    top = int(trial.heap.fields[state.TOP])
    trial.step(MALLOC, 0, 90_000)
    trial.verify()
    assert path(trial, "retire") >= 6
    assert int(trial.heap.fields[state.TOP]) == top and path(trial, "grow") == 1


def test_blocks_go_home_by_post():
    trial = Trial("wright", {"cache_bytes": 0, "remote_batch": 4})
    blocks = [trial.step(MALLOC, slot, SMALL * 16, thread=0)[0] for slot in range(32)]
    assert path(trial, "carve") == 1
    for slot in range(8):
        trial.step(FREE, slot, thread=1)
        trial.verify()
    assert path(trial, "remote") == 8 and path(trial, "message") == 2
    assert {trial.step(MALLOC, slot, SMALL * 16, thread=0)[0] for slot in range(8)} == {*blocks[:8]}
    assert path(trial, "mail") == 1


@pytest.mark.parametrize("freed_after_exit", [False, True])
def test_the_spans_of_an_exited_thread_find_an_owner(freed_after_exit):
    trial = Trial("wright", {"cache_bytes": 0, "remote_batch": 1})
    addresses = {trial.step(MALLOC, slot, 4096, thread=1)[0] for slot in range(8)}
    if not freed_after_exit:
        trial.step(FREE, 0, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    trial.verify()
    if freed_after_exit:
        trial.step(FREE, 0, thread=2)
        trial.verify()
    assert trial.step(MALLOC, 0, 4096, thread=2)[0] in addresses
    assert path(trial, "adopt") == 1
    for slot in range(8):
        trial.step(FREE, slot, thread=2)
    trial.verify()


def test_a_growing_buffer_stays_where_it_is():
    trial = Trial("wright")
    address = trial.step(MALLOC, 0, 300_000)[0]
    for size in range(400_000, 1_900_000, 100_000):
        assert trial.step(REALLOC, 0, size)[0] == address
    assert trial.step(REALLOC, 0, 300_000) == (address, -(-300_000 // PAGE) * PAGE)
    trial.step(MALLOC, 1, 300_000)
    assert trial.step(REALLOC, 0, 400_000)[0] != address
    assert path(trial, "moved") == 0, "too small to be worth a system call"
    trial.verify()


def test_at_the_end_of_the_heap_a_block_grows_with_it():
    trial = Trial("wright")
    trial.step(MALLOC, 0, 100)
    address = trial.step(MALLOC, 1, 300_000)[0]
    for size in (1 << 20, 5 << 20, 40 << 20):
        assert trial.step(REALLOC, 1, size)[0] == address
        trial.verify()
    assert int(trial.heap.fields[state.TOP]) == address + (40 << 20)


def test_a_block_with_a_neighbour_above_moves_by_its_pages():
    trial = Trial("wright")
    address = trial.step(MALLOC, 0, 1 << 20)[0]
    trial.step(MALLOC, 1, 1 << 20)
    faults, resident = (int(trial.machine.meters[meter]) for meter in (FAULTS, RESIDENT_PAGES))
    moved = trial.step(REALLOC, 0, 2 << 20)[0]
    assert moved != address and path(trial, "moved") == 1
    assert int(trial.machine.meters[FAULTS]) == faults + 256, "only what is new was written"
    assert int(trial.machine.meters[RESIDENT_PAGES]) == resident + 256
    assert trial.step(CALLOC, 2, 1 << 20)[0] == address
    assert int(trial.machine.meters[RESIDENT_PAGES]) == resident + 256, "known to be zero"
    trial.verify()


def test_a_block_is_copied_to_pages_that_are_there():
    trial = Trial("wright", HOARD)
    low = trial.step(MALLOC, 0, 4 << 20)[0]
    trial.step(MALLOC, 1, 1 << 20)
    trial.step(MALLOC, 2, 1 << 20)
    trial.step(FREE, 0)
    assert trial.step(REALLOC, 1, 2 << 20)[0] == low
    assert path(trial, "moved") == 0
    trial.verify()


def test_calloc_clears_only_pages_that_were_written():
    trial = Trial("wright", HOARD)
    faults = trial.machine.meters[FAULTS]
    trial.step(CALLOC, 0, 1 << 20)
    assert trial.machine.meters[FAULTS] == faults, "fresh pages are zero"
    trial.step(FREE, 0)
    trial.step(MALLOC, 1, 500_000)
    trial.step(FREE, 1)
    trial.step(CALLOC, 2, 1 << 20)
    resident = int(trial.machine.meters[RESIDENT_PAGES]) * 4096
    assert resident >= 1 << 20, "what was handed out before counts as written"
    assert trial.step(CALLOC, 3, (1 << 20) + 1)[1] > 1 << 20
    trial.verify()


def test_a_large_calloc_gives_written_pages_back_instead_of_clearing_them():
    trial = Trial("wright", HOARD)
    trial.step(MALLOC, 0, 40 << 20)
    trial.step(FREE, 0)
    assert int(trial.machine.meters[RESIDENT_PAGES]) * 4096 >= 40 << 20
    trial.step(CALLOC, 1, 39 << 20)
    assert int(trial.machine.meters[RESIDENT_PAGES]) * 4096 <= 2 << 20
    trial.verify()


def test_what_is_too_much_is_purged():
    trial = Trial("wright", {"limit_bytes": 1 << 20, "limit_percent": 0})
    for slot in range(8):
        trial.step(MALLOC, slot, 1 << 20)
    for slot in range(8):
        trial.step(FREE, slot)
        trial.verify()
    assert int(trial.machine.meters[RESIDENT_PAGES]) * 4096 <= 1 << 20
    assert path(trial, "purge") > 0


def test_what_is_kept_is_what_is_handed_out_next():
    knobs = {"limit_bytes": 1 << 20, "limit_percent": 0, "interval_bytes": 1 << 50}
    trial = Trial("wright", knobs)
    first = trial.step(MALLOC, 0, 4 << 20)[0]
    trial.step(FREE, 0)
    kept = int(trial.heap.fields[state.DIRTY_PAGES]) * PAGE
    assert kept == (1 << 20) - (1 << 17) == int(trial.machine.meters[RESIDENT_PAGES]) * 4096
    faults = int(trial.machine.meters[FAULTS])
    assert trial.step(MALLOC, 1, kept)[0] == first
    assert int(trial.machine.meters[FAULTS]) == faults
    trial.verify()


def test_a_large_heap_of_small_blocks_grows_by_huge_pages_until_some_is_given_back():
    trial = Trial("wright", {"huge_from_bytes": 5 << 20, "limit_bytes": 0, "limit_percent": 0})
    trial.machine.meters[HUGE_PAGES] = HUGE_ADVISE
    for slot in range(2):
        trial.step(MALLOC, slot, 3_000_000)
    assert trial.machine.meters[HUGE_FAULTS] == 0, "a large block may not be written in full"
    trial.churn([(MALLOC, slot, 8000, 0) for slot in range(2, 500)])
    asked = int(trial.heap.fields[state.HUGE_ASKED])
    assert 0 < asked == trial.machine.meters[HUGE_FAULTS]
    assert int(trial.heap.fields[state.TOP]) % HUGE_PAGE_BYTES == 0
    trial.step(FREE, 0)  # more than may be kept
    trial.churn([(MALLOC, slot, 8000, 0) for slot in range(500, 1500)])
    trial.verify()
    assert int(trial.heap.fields[state.HUGE_ASKED]) == asked


def test_trim_gives_back_what_is_free_and_dirty():
    trial = Trial("wright", HOARD)
    for slot in range(2):
        trial.step(MALLOC, slot, 1 << 20)
    trial.step(FREE, 0)
    assert trial.trim() == 1 << 20
    trial.verify()
    assert int(trial.machine.meters[RESIDENT_PAGES]) * 4096 == 1 << 20
    assert trial.trim() == 0


def test_a_hundred_thousand_free_runs(effort):
    """Every other run of a long row is free, none of them merged: a longer one is found at once."""
    runs = 5000 * effort
    trial = Trial("wright", {**HOARD, "growth_bytes": 1 << 24})
    heap = trial.heap
    taken = np.array([page_heap.take(heap, 1, 1) for _ in range(2 * runs)])
    for span in taken[::2]:
        page_heap.give(heap, span)
    assert heap.fields[state.SPAN_COUNT] >= 2 * runs
    assert page_heap.take(heap, 2, 1) not in taken
    trial.verify()


def test_alignment_beyond_a_page():
    trial = Trial("wright")
    for slot, shift in enumerate(range(13, 24)):
        trial.step(MALLOC, 100 + slot, 9000)
        trial.step(MEMALIGN, slot, 10_000, shift)
        trial.verify()
    assert trial.step(MEMALIGN, 50, 10, 47) == (0, 0)


ROW = 1 << state.ROW_SHIFT  # the first thread's


@pytest.mark.parametrize(("damage", "number"), [
    (lambda heap: heap.page_map.__setitem__(heap.fields[state.FIRST] >> sizes.PAGE_SHIFT, 0), 1),
    (lambda heap: heap.fields.__setitem__(state.DIRTY_PAGES, 7), 3),
    (lambda heap: heap.filled.__setitem__(0, 1 << 7), 3),
    (lambda heap: heap.rows.__setitem__(ROW + SMALL, heap.rows[ROW + SMALL] + state.ONE), 5),
    (lambda heap: heap.rows.__setitem__(ROW + state.OUT_COUNT, 1), 6),
    (lambda heap: heap.spans.__setitem__((1 << state.SPAN_SHIFT) + state.FREE, 1 << 20), 4),
])  # fmt: skip
def test_check_sees_damage(damage, number):
    trial = Trial("wright")
    trial.step(MALLOC, 0, 16 * SMALL)
    trial.verify()
    damage(trial.heap)
    assert trial.broken() == number


@pytest.mark.parametrize(
    "knobs", [{"steps": 5}, {"retain_bytes": -1}, {"cache_bytes": 1 << 20}, {"hardened": 2}]
)
def test_a_knob_out_of_range_is_named(knobs):
    manager = named("wright")
    with pytest.raises(HeapwrightError, match=f"{next(iter(knobs))} of wright"):
        manager.module.boot(None, manager.configured(knobs))


@pytest.mark.parametrize(
    ("verdict", "address_of"),
    [
        (hardened.DOUBLE_FREE, lambda freed, live, large: freed),
        (hardened.INSIDE, lambda freed, live, large: live + 16),
        (hardened.INSIDE, lambda freed, live, large: live + 8),
        (hardened.INSIDE, lambda freed, live, large: large + 16),
        (hardened.FOREIGN, lambda freed, live, large: 1 << 30),
        (0, lambda freed, live, large: live),
    ],
)
def test_hardened_knows_what_is_a_block(verdict, address_of):
    trial = Trial("wright", {"hardened": 1})
    freed, live = (trial.step(MALLOC, slot, 100)[0] for slot in range(2))
    large = trial.step(CALLOC, 2, 1 << 20)[0]
    trial.step(FREE, 0)
    assert trial.module.fatal(trial.heap) == ""
    trial.free_at(address_of(freed, live, large))
    assert trial.module.fatal(trial.heap) == hardened.SENTENCES.get(verdict, "")


@pytest.mark.parametrize("word", [0, 1])
def test_hardened_sees_a_write_to_a_freed_block(word):
    trial = Trial("wright", {"hardened": 1})
    addresses = [trial.step(MALLOC, slot, 100)[0] for slot in range(3)]
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    store(trial.machine, addresses[1] + 8 * word, 12345)
    trial.step(MALLOC, 3, 100)
    assert trial.module.fatal(trial.heap) == hardened.SENTENCES[hardened.WRITTEN]


def test_a_table_that_was_made_for_a_program_serves_it():
    number = keep([48, 112, 1100, 5000, 70_000])
    trial = Trial("wright", {"classes": number})
    asked = [1, 48, 49, 113, 1100, 1101, 5001, 65_537, 70_000, 200_000, 300_000]
    given = []
    for slot, size in enumerate(asked):
        given.append(trial.step(MALLOC, slot, size)[1])
        trial.verify()
    assert given[:9] == [48, 48, 112, 1152, 1152, 1152, 5056, 73728, 73728]
    trial.step(MEMALIGN, 20, 100, align=12)
    for slot in range(len(asked)):
        trial.step(FREE, slot)
    trial.verify()


def test_spans_are_wider_where_records_grow_few():
    """So that small blocks end where the machine does, not where the records do."""
    trial = Trial("wright")
    trial.heap.fields[state.SPANS] = trial.heap.fields[state.SPAN_COUNT] = state.WIDE_FROM
    for slot in range(2000):
        trial.step(MALLOC, slot, 100)
    span = state.entry_of(trial.heap, trial.live[0][0]) >> 8
    wide = int(state.get(trial.heap, span, state.LENGTH)) << sizes.PAGE_SHIFT
    assert wide == 8 * 16384 and state.MOST_SPANS - state.WIDE_FROM == state.WIDE_FROM
    assert (1 << 23) * (16384 + wide) >= 1 << 40, "with the records of a flight"
    for slot in range(2000):
        trial.step(FREE, slot)


def test_classes_beyond_the_room_are_refused():
    with pytest.raises(HeapwrightError, match="room for 127 size classes"):
        sizes.given_sizes(range(16, 1024, 8), 8)


@pytest.mark.parametrize("size", [1, 24, 40, 63, 100, 5000, 100_000, 400_000])
def test_hardened_gives_what_was_asked_for_and_guards_it(size):
    trial = Trial("wright", {"hardened": 1})
    address, room = trial.step(MALLOC, 0, size)
    assert room == size
    for slot, verb in ((1, CALLOC), (2, MEMALIGN)):
        assert trial.step(verb, slot, size)[1] == size
    trial.step(REALLOC, 0, size + 9)
    trial.verify()
    trial.step(FREE, 0)
    assert trial.module.fatal(trial.heap) == ""
    address = trial.step(MALLOC, 0, size)[0]
    word = address + (size & -8)
    store(trial.machine, word, int(load(trial.machine, word)) ^ (0x55 << 8 * (size & 7)))
    trial.free_at(address)
    assert trial.module.fatal(trial.heap) == hardened.SENTENCES[hardened.OVERRUN]
