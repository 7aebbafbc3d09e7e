"""A replay under a memory limit."""

from types import SimpleNamespace

import numpy as np
import pytest

from heapwright.api.comparing import compare
from heapwright.api.replaying import replay
from heapwright.errors import HeapwrightError
from heapwright.linux.under_limit import memory_under, use
from heapwright.machine import machine, mmap, munmap, touch
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.limited import SWAP_READ_SECONDS, Limit
from heapwright.tunnel.limited import limited as under
from heapwright.tunnel.paging import LOG_COLUMNS

PAGE = 4096


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """1,000 blocks of 4,000 bytes, all of them freed again, a microsecond apart."""
    path = tmp_path_factory.mktemp("limited") / "t.heap.parquet"
    count = 1000
    with TraceWriter(path, program="t", kind="synthetic") as out:
        out.write(
            events(
                op=np.repeat([MALLOC, FREE], count),
                slot=np.tile(np.arange(count), 2),
                size=np.repeat([4000, 0], count),
                time_ns=np.arange(2 * count) * 1000 + 1,
            )
        )
    return Trace.open(path)


def limited(trace, limit, swap=None):
    return replay("linear", trace, memory_limit=limit, swap=swap, samples=9).under_limit


def test_it_is_killed_when_the_heap_and_its_tables_pass_the_limit(trace):
    """`linear` never reuses a byte: the first event after which its pages and their tables are
    more than the limit is known from the sizes alone."""
    told = limited(trace, "2M")
    assert told.killed and told.swapped_out_bytes == 0
    pages = np.arange(1, 1001) * 4000 // PAGE + 1
    tables = pages // 512 + 1
    expected = int(np.argmax(pages + tables > 512))
    assert abs(told.killed_event - expected) <= 1
    assert told.killed_seconds == pytest.approx(told.killed_event * 1e-6, abs=2e-9)


def test_within_the_limit_nothing_happens(trace):
    told = limited(trace, 8 << 20)
    assert not told.killed and told.major_faults == told.reclaims == 0


def test_with_swap_it_runs_and_its_frees_read_pages_back(trace):
    told = limited(trace, "2M", "16M")
    assert not told.killed
    assert told.most_swapped_bytes >= 1000 * 4000 - (2 << 20)
    assert told.major_faults * PAGE == told.swapped_in_bytes > 0
    assert told.wait_seconds == pytest.approx(told.major_faults * SWAP_READ_SECONDS)


def test_with_too_little_swap_it_is_killed_later(trace):
    assert limited(trace, "2M").killed_event < limited(trace, "2M", "1M").killed_event < 1000


@pytest.mark.parametrize(
    ("limit", "swap", "sentence"),
    [
        (None, "1G", "needs a --memory-limit"),
        ("5k", None, "a memory limit is from"),
        ("x", None, "size"),
    ],
)
def test_a_limit_that_is_none_is_refused_in_a_sentence(limit, swap, sentence):
    with pytest.raises(HeapwrightError, match=sentence):
        Limit.of(limit, swap)


@pytest.mark.parametrize("name", ["slub", "page-allocator", "cuda-caching"])
def test_memory_that_no_limit_of_a_process_counts_has_no_outcome(trace, name):
    result = SimpleNamespace(manager=name, notes=[], under_limit=None)
    under(result, trace, Limit(1 << 20), None)
    assert result.under_limit is None and result.notes[0].startswith("No limit: a ")


def test_what_was_given_back_makes_room_for_what_is_taken():
    """Of mappings that come and go one is held, and a page of each that was there before, so that
    the next one lies elsewhere."""
    space, memory = machine(0, 0), memory_under(2 << 20, 0)
    log = np.zeros((4, LOG_COLUMNS), np.int64)
    for event in range(100):
        start, pages = int(mmap(space, 0, 150 * PAGE)), 150
        touch(space, start, pages * PAGE)
        log[event % 4] = event, start // PAGE, start // PAGE + pages - 1
        if event % 4 == 3:
            assert use(memory, space, log, 4) == -1, event
        munmap(space, start + PAGE, (pages - 1) * PAGE)


def test_a_limit_and_a_heap_are_not_asked_at_once(trace):
    with pytest.raises(HeapwrightError, match="one of them at a time"):
        compare([trace], heap="2x", memory_limit="1M")
