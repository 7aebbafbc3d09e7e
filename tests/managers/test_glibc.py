"""glibc's twin: what its headers promise, scene by scene. Whole recordings are compared with the
real malloc by `heapwright validate`; `tests/tunnel/test_validate.py` does so with made traces."""

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.machine import PAGE_BYTES, load
from heapwright.machine.address_space import BREAK, BREAK_BASE, FAULTS, MAPPED_BYTES
from heapwright.managers.malloc.glibc.bins import bin_number
from heapwright.managers.malloc.glibc.chunk import chunk_bytes_for
from heapwright.managers.malloc.glibc.system import HEAP_MAX_BYTES, MMAP_THRESHOLD
from heapwright.trace.schema import SIZE_LIMIT, THREAD_EXIT
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

FIRST = 0x2A0  # offset of the first user block: after the first thread's cache


def offset(trial: Trial, slot: int, size: int, op: int = MALLOC, **more: int) -> int:
    return trial.step(op, slot, size, **more)[0] - BREAK_BASE


@pytest.mark.parametrize(
    ("request_bytes", "chunk_bytes"),
    [(0, 32), (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (1032, 1040), (1033, 1056)],
)
def test_requests_become_chunks(request_bytes, chunk_bytes):
    assert chunk_bytes_for(request_bytes) == chunk_bytes


@pytest.mark.parametrize(
    ("chunk_bytes", "number"),
    # the last small bin, the first large one, and the first of each wider spacing
    [
        (32, 2),
        (1008, 63),
        (1024, 64),
        (3136, 97),
        (3200, 97),
        (3584, 98),
        (10752, 112),
        (12288, 113),
        (45056, 120),
        (65536, 121),
        (163840, 124),
        (524288, 126),
        (1 << 30, 126),
    ],
)
def test_bins(chunk_bytes, number):
    assert bin_number(chunk_bytes) == number


def test_first_block_and_the_growth_of_the_heap():
    trial = Trial("glibc")
    assert offset(trial, 0, 24) == FIRST
    assert offset(trial, 1, 24) == FIRST + 32
    # 132 KiB: the thread cache's chunk, M_TOP_PAD, and up to a page
    assert trial.machine.meters[BREAK] - BREAK_BASE == 132 << 10
    trial.verify()


def test_the_thread_cache_is_a_stack_of_seven():
    trial = Trial("glibc")
    blocks = [offset(trial, slot, 100) for slot in range(9)]
    for slot in range(9):
        trial.step(FREE, slot)
    cached = trial.rows("cached")
    # seven in the cache, two in the fastbin: 112-byte chunks are small enough for it
    assert len(cached) == 9
    again = [offset(trial, slot, 100) for slot in range(7)]
    assert again == blocks[6::-1]
    # the eighth comes from the fastbin, whose other chunk moves to the cache
    assert offset(trial, 7, 100) == blocks[8]
    assert offset(trial, 8, 100) == blocks[7]
    trial.verify()


def test_calloc_never_takes_from_the_thread_cache():
    trial = Trial("glibc")
    block = offset(trial, 0, 100)
    trial.step(FREE, 0)
    assert offset(trial, 0, 100, CALLOC) == block + 112
    assert offset(trial, 1, 100) == block


def test_calloc_clears_no_memory_that_the_break_has_just_brought():
    trial = Trial("glibc")
    trial.step(CALLOC, 0, 120_000)  # within the first 132 KiB, which may have been used: cleared
    assert trial.machine.meters[FAULTS] >= 120_000 // PAGE_BYTES
    before = trial.machine.meters[FAULTS]
    trial.step(CALLOC, 1, 120_000)  # what was left of top is cleared, the rest is fresh
    assert trial.machine.meters[FAULTS] - before < 6
    before = trial.machine.meters[FAULTS]
    trial.step(CALLOC, 2, 200_000)  # mapped: the chunk's header alone
    assert trial.machine.meters[FAULTS] - before == 1


def test_mapped_chunks_and_the_threshold_that_follows_them():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 24)
    mapped = trial.machine.meters[MAPPED_BYTES]
    address, usable = trial.step(MALLOC, 1, 1 << 20)
    assert address % PAGE_BYTES == 16
    assert usable == (1 << 20) + PAGE_BYTES - 16
    assert trial.machine.meters[MAPPED_BYTES] - mapped == usable + 16
    trial.step(FREE, 1)
    assert trial.machine.meters[MAPPED_BYTES] == mapped
    assert load(trial.machine, MMAP_THRESHOLD) == (1 << 20) + PAGE_BYTES
    assert 0 < offset(trial, 1, 1 << 20) < 2 << 20  # now from the heap
    trial.verify()


def test_a_set_threshold_does_not_adapt():
    trial = Trial("glibc", {"mmap_threshold": 1 << 16})
    trial.step(MALLOC, 0, 1 << 20)
    trial.step(FREE, 0)
    assert load(trial.machine, MMAP_THRESHOLD) == 1 << 16


def test_realloc_of_a_mapped_chunk_is_remapped():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 1 << 20)
    faults = trial.machine.meters[FAULTS]
    trial.step(REALLOC, 0, 8 << 20)
    assert trial.machine.meters[FAULTS] - faults == (7 << 20) // PAGE_BYTES
    trial.step(REALLOC, 0, 1 << 18)
    trial.step(FREE, 0)
    trial.verify()


def test_realloc_grows_into_top_and_into_a_free_neighbour():
    trial = Trial("glibc", {"tcache_count": 0})
    first = offset(trial, 0, 2000)
    assert offset(trial, 0, 4000, REALLOC) == first  # top follows
    second = offset(trial, 1, 3000)
    trial.step(MALLOC, 2, 24)
    trial.step(FREE, 1)
    assert offset(trial, 0, 5000, REALLOC) == first  # the freed neighbour
    assert offset(trial, 0, 100_000, REALLOC) > second
    trial.verify()
    trial.decompose()


def test_top_is_trimmed_beyond_the_threshold():
    trial = Trial("glibc")
    for slot in range(40):
        trial.step(MALLOC, slot, 100_000)
    for slot in range(40):
        trial.step(FREE, slot)
    assert trial.machine.meters[BREAK] - BREAK_BASE <= (128 << 10) + 2 * PAGE_BYTES
    trial.verify()


@pytest.mark.parametrize("align", [5, 6, 8, 12, 16])
def test_alignment(align):
    trial = Trial("glibc")
    for slot in range(30):
        trial.step(MEMALIGN, slot, 24 + 100 * slot, align=align)
        if slot % 3 == 2:
            trial.step(FREE, slot - 1)
    trial.verify()
    trial.decompose()


def test_absurd_requests_are_refused():
    trial = Trial("glibc")
    for op in (MALLOC, CALLOC, MEMALIGN):
        assert trial.step(op, 0, SIZE_LIMIT - 1, align=6)[0] == 0
    address, _ = trial.step(MALLOC, 0, 1000)
    assert trial.step(REALLOC, 0, SIZE_LIMIT - 1)[0] == address
    trial.verify()


def test_threads_get_arenas_up_to_the_limit():
    trial = Trial("glibc", {"cores": 2, "arena_test": 2})
    addresses = [trial.step(MALLOC, t, 24, thread=t)[0] for t in range(20)]
    heaps = {a & ~(HEAP_MAX_BYTES - 1) for a in addresses if a > BREAK_BASE * 64}
    # 8 arenas a core, the main one among them; then they are shared in turn
    assert len(heaps) == 2 * 8 - 1
    trial.verify()
    trial.decompose()


def test_arena_max_of_one_keeps_every_thread_on_the_main_arena():
    trial = Trial("glibc", {"arena_max": 1})
    for thread in range(5):
        assert trial.step(MALLOC, thread, 5000, thread=thread)[0] < BREAK_BASE + (1 << 20)
    trial.verify()


def test_an_exiting_thread_leaves_its_arena_and_its_cache_to_others():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 24, thread=0)
    block, _ = trial.step(MALLOC, 1, 2000, thread=1)
    trial.step(FREE, 1, thread=1)
    trial.step(THREAD_EXIT, -1, thread=1)
    assert trial.step(MALLOC, 1, 2000, thread=2)[0] == block
    trial.verify()


def test_an_arena_grows_into_further_heaps_and_gives_them_back():
    trial = Trial("glibc", {"mmap_threshold": 32 << 20})
    trial.step(MALLOC, 0, 24, thread=0)
    before = trial.machine.meters[MAPPED_BYTES]
    for slot in range(1, 8):
        trial.step(MALLOC, slot, 20 << 20, thread=1)
    assert trial.machine.meters[MAPPED_BYTES] - before >= 3 * HEAP_MAX_BYTES
    trial.verify()
    trial.decompose()
    for slot in range(7, 0, -1):
        trial.step(FREE, slot, thread=1)
    assert trial.machine.meters[MAPPED_BYTES] - before <= 2 * HEAP_MAX_BYTES
    trial.verify()


@pytest.mark.skipif(INTERPRETED, reason="8 million pages are mapped: minutes as plain Python")
def test_where_brk_is_refused_the_main_arena_goes_on_in_mapped_memory():
    trial = Trial("glibc", {"mmap_max": 0, "trim_threshold": 1 << 40})
    chunk = (1 << 30) - 4096
    addresses = [trial.step(CALLOC, slot, chunk)[0] for slot in range(40)]
    # the heap may reach half of the address space; the rest is mapped
    assert sum(address < BREAK_BASE + (32 << 30) for address in addresses) >= 31
    assert all(addresses) and len(set(addresses)) == len(addresses)
    for slot in range(40):
        trial.step(FREE, slot)
    trial.verify()
