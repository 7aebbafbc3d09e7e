"""What a program does to its allocator: mallopt, malloc_trim, and moving the break itself.

Source     glibc 2.31 to 2.43 malloc/malloc.c: __libc_mallopt, __malloc_trim, mtrim, systrim
Omits      M_PERTURB, M_CHECK_ACTION: no place depends on them
"""

from heapwright.compiler import kernel
from heapwright.machine import ADVISE_DONTNEED, PAGE_BYTES, load, madvise, store
from heapwright.machine.address_space import BREAK
from heapwright.managers.malloc.glibc.bins import (
    BIN_COUNT,
    NEXT_ARENA,
    UNSORTED,
    bin_at,
    bin_number,
    consolidate,
)
from heapwright.managers.malloc.glibc.chunk import BK, SIZE_WORD_BYTES, chunk_bytes
from heapwright.managers.malloc.glibc.parameters import (
    MAX_FAST_BYTES,
    MMAP_THRESHOLD_LIMIT,
    UNREACHABLE,
)
from heapwright.managers.malloc.glibc.system import (
    ARENA_MAX,
    ARENA_TEST,
    MAIN_ARENA,
    MAX_FAST,
    MMAP_MAX,
    MMAP_THRESHOLD,
    NO_DYNAMIC_THRESHOLD,
    TOP_PAD,
    TRIM_THRESHOLD,
    V2_35,
    V2_43,
    sbrk,
    since,
    trim_main,
)

# malloc.h: parameters of mallopt
M_MXFAST = 1
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
M_ARENA_TEST, M_ARENA_MAX = -7, -8

RECORD_BYTES = 48  # sizeof (struct malloc_chunk): what a free chunk keeps, links included


@kernel
def mallopt(heap, parameter, value):
    """mallopt(3): unlike a tunable it can be negative, and then it is nearly 2^64."""
    machine = heap.machine
    consolidate(machine, MAIN_ARENA)
    size = value if value >= 0 else UNREACHABLE
    if parameter == M_MXFAST:
        if size <= MAX_FAST_BYTES and not since(machine, V2_43):
            fast = 16 if size <= 7 else (size + SIZE_WORD_BYTES) & ~15
            store(machine, MAX_FAST, fast)
    elif parameter == M_TRIM_THRESHOLD:
        store(machine, TRIM_THRESHOLD, size)
    elif parameter == M_TOP_PAD:
        store(machine, TOP_PAD, value)
    elif parameter == M_MMAP_THRESHOLD:
        if size > MMAP_THRESHOLD_LIMIT and not since(machine, V2_35):
            return
        store(machine, MMAP_THRESHOLD, size)
    elif parameter == M_MMAP_MAX:
        store(machine, MMAP_MAX, value)
    elif parameter == M_ARENA_TEST and value > 0:
        store(machine, ARENA_TEST, value)
    elif parameter == M_ARENA_MAX and value > 0:
        store(machine, ARENA_MAX, value)
    if M_MMAP_MAX <= parameter <= M_TRIM_THRESHOLD:
        store(machine, NO_DYNAMIC_THRESHOLD, 1)


@kernel
def trim(heap, pad):
    """malloc_trim(3): bytes given back, of whole pages within free chunks of every arena and at the
    end of the main one."""
    machine = heap.machine
    given, arena = 0, MAIN_ARENA
    while True:
        given += _trim_arena(machine, arena)
        if arena == MAIN_ARENA:
            end = machine.meters[BREAK]
            if trim_main(machine, arena, pad):
                given += abs(end - machine.meters[BREAK])
        arena = load(machine, arena + NEXT_ARENA)
        if arena == MAIN_ARENA:
            return given


@kernel
def _trim_arena(machine, arena):
    """Give back the whole pages of an arena's free chunks, but for their records (mtrim)."""
    consolidate(machine, arena)
    given = 0
    for number in range(UNSORTED, BIN_COUNT):
        if number != UNSORTED and number < bin_number(PAGE_BYTES):
            continue
        bin_ = bin_at(arena, number)
        chunk = load(machine, bin_ + BK)
        while chunk != bin_:
            size = chunk_bytes(machine, chunk)
            if size > PAGE_BYTES - 1 + RECORD_BYTES:
                page = (chunk + RECORD_BYTES + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
                length = (size - (page - chunk)) & ~(PAGE_BYTES - 1)
                if length:
                    madvise(machine, page, length, ADVISE_DONTNEED)
                    given += length
            chunk = load(machine, chunk + BK)
    return given


@kernel
def move_break(heap, increment):
    """The program itself moves the break: what it takes there is its own."""
    sbrk(heap.machine, increment)
