"""The state of a flight's object, and how it comes to be in a process.

    build    boot in Python over the model ─► what was written ─► runs and content, in the object
    process  first call of any thread ─► map the ranges ─► write the runs there

Only large arrays are mapped and written so: a small one lies in the object with its content.
"""

from typing import Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.atomics import compare_and_swap, load_acquire, pause, store_release
from heapwright.compiler.raw import real_address, set_word_at
from heapwright.compiler.system import EXIT_GROUP, MUNMAP, PRLIMIT, WRITE, system_call
from heapwright.flight.threads import MOST, STARTED, THREADS, Threads
from heapwright.machine.address_space import BREAK_LIMIT, CEILING, PAGE_BYTES
from heapwright.machine.linux import take

STARTING, READY = 1, 2
LIMIT_OF_SPACE = 9  # RLIMIT_AS
MOST_SHIFT = 9  # halvings of the tables that follow the break: 64 MiB of heap are left
STATUS = 127  # of a program that cannot fly
LAST_WORDS = (
    "heapwright: this process cannot fly: Linux gives no room for the manager's tables "
    "(ulimit -v?), or it has more threads than a flight has numbers for.\n"
)
LAST_WORDS_BYTES = len(LAST_WORDS)
SIZES_SHIFT = 3  # a manager may put what fits in 8 bytes at a multiple of 8


class Start(NamedTuple):
    """What a process begins with."""

    counts: np.ndarray  # int64[4]  ranges; runs; address that the break stays below; 1 if some
    #                     ranges follow the break
    limit: np.ndarray  # int64[2]  the process's limit of address space, bytes; -1 none
    ranges: np.ndarray  # int64[3 * range]  what to map: real address, bytes, 1 if a first part
    #                     will do while the break stays as low a part of its limit
    runs: np.ndarray  # int64[4 * run]  what to write: real address, words, first, step
    content: np.ndarray  # int64[...]  the words of a run: content[first], content[first + step]...
    last_words: np.ndarray  # int8[...]  LAST_WORDS


class Flight(NamedTuple):
    """The whole state of the object."""

    heap: Any  # the manager's
    threads: Threads
    sizes: np.ndarray  # int64[address >> SIZES_SHIFT]  1 + bytes requested of a live block, else 0;
    #                    or forgotten, where nobody asks
    account: Any  # see account.py; forgotten without statistics
    start: Start


@kernel
def start(flight):
    """Make the heap what it was after boot; once, and the others wait."""
    gate = flight.threads.gate
    if load_acquire(gate, STARTED) == READY:
        return
    if compare_and_swap(gate, STARTED, 0, STARTING):
        _map(flight)
        _write(flight)
        store_release(gate, STARTED, READY)
    while load_acquire(gate, STARTED) != READY:
        pause()


@kernel
def _map(flight):
    """Map the tables that are too large for the object; smaller parts where there is no room."""
    begin, meters = flight.start, flight.heap.machine.meters
    system_call(PRLIMIT, 0, LIMIT_OF_SPACE, 0, real_address(begin.limit))
    shift = 0  # the break will not get beyond the limit of the process
    while (
        begin.counts[3] and shift < MOST_SHIFT and 0 < begin.limit[0] < BREAK_LIMIT >> (shift + 1)
    ):
        shift += 1
    while not _map_parts(begin, shift):
        shift += 1
        if shift > MOST_SHIFT or not begin.counts[3]:
            leave_the_program(flight)
    meters[CEILING] = begin.counts[2] >> shift
    flight.threads.gate[MOST] = THREADS >> shift


@kernel
def _map_parts(begin, shift):
    """Map the ranges, of those that follow the break a first part; nothing if one is refused."""
    for row in range(begin.counts[0]):
        if not take(begin.ranges[unsigned(3 * row)], _part(begin, row, shift)):
            for taken in range(row):
                place, length = begin.ranges[unsigned(3 * taken)], _part(begin, taken, shift)
                system_call(MUNMAP, place, length)
            return False
    return True


@kernel
def _part(begin, row, shift):
    """Bytes of a range to map."""
    length = begin.ranges[unsigned(3 * row + 1)]
    if begin.ranges[unsigned(3 * row + 2)]:
        length = ((length >> shift) + PAGE_BYTES - 1) & -PAGE_BYTES
    return length


@kernel
def _write(flight):
    """Write what boot had written there."""
    begin, words = flight.start, flight.heap.machine.words
    origin = real_address(words)
    for row in range(begin.counts[1]):
        place = begin.runs[unsigned(4 * row)] - origin
        first, step = begin.runs[unsigned(4 * row + 2)], begin.runs[unsigned(4 * row + 3)]
        for number in range(begin.runs[unsigned(4 * row + 1)]):
            set_word_at(words, place + 8 * number, begin.content[unsigned(first + step * number)])


@kernel(cold=True)
def leave_the_program(flight):
    """Say why and end the process: without a heap it could not even end in order."""
    words = real_address(flight.start.last_words)
    system_call(WRITE, 2, words, LAST_WORDS_BYTES)
    system_call(EXIT_GROUP, STATUS)
