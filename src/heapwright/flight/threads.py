"""Threads of a real program: a dense number for each, and the lock of a manager without its own.

    first call of a thread ─► a number: of a thread that has ended, else the next
    end of a thread        ─► the manager's thread_exit, and the number is free again

A thread that calls once more after its end (the C library frees some of its own then) is given a
number again, which nobody will return. Such numbers are found by asking Linux who still lives,
each time that as many numbers are out as never before; so are those of the threads that a fork
left behind.

The manager's lock (structures/mutex.py) is passed by while the process has one thread.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.process import is_single_threaded
from heapwright.compiler.system import GETPID, GETTID, TGKILL, system_call
from heapwright.structures.mutex import lock, unlock

THREADS = 1 << 16  # alive at once
FIRST_SEARCH = 64  # numbers handed out before dead threads are looked for

NO_SUCH_PROCESS = -3  # -ESRCH

WORDS_OF_LINE = 8  # words of a cache line: what threads wait on lies on lines of its own
LOCK, NUMBERS_LOCK, STARTED = 0, WORDS_OF_LINE, 2 * WORDS_OF_LINE
NEXT, FREE, SEARCH_AT, MOST = range(3 * WORDS_OF_LINE, 3 * WORDS_OF_LINE + 4)
GATE_WORDS = 4 * WORDS_OF_LINE


class Threads(NamedTuple):
    """Who is who."""

    gate: np.ndarray  # int64[GATE_WORDS]  LOCK, NUMBERS_LOCK; STARTED: 0 no, 1 at it, 2 yes;
    #                   NEXT: numbers handed out; FREE: one more than a free number, 0 none;
    #                   SEARCH_AT: numbers out when the dead are next looked for; MOST: alive at
    #                   once, THREADS or what there is room for
    owner: np.ndarray  # int64[THREADS]  Linux's number of the thread; 0: the number is free
    after: np.ndarray  # int64[THREADS]  the next free number plus one


def threads() -> Threads:
    """Nobody has called yet."""
    gate = np.zeros(GATE_WORDS, np.int64)
    gate[SEARCH_AT], gate[MOST] = FIRST_SEARCH, THREADS
    return Threads(gate, np.zeros(THREADS, np.int64), np.zeros(THREADS, np.int64))


@kernel(inline=True)
def lock_heap(gate):
    """Take the manager's lock, unless there is nobody else."""
    if not is_single_threaded():
        lock(gate, LOCK)


@kernel(inline=True)
def unlock_heap(gate):
    """Release what `lock_heap` took."""
    if not is_single_threaded():
        unlock(gate, LOCK)


@kernel
def thread_of_linux():
    """Linux's number of this thread."""
    return system_call(GETTID)


@kernel
def give_number(threads):
    """A number for this thread; -1 when all are out, -2 when the dead are to be buried first."""
    gate = threads.gate
    number = gate[FREE] - 1
    if number >= 0:
        gate[FREE] = threads.after[unsigned(number)]
    elif gate[NEXT] == gate[SEARCH_AT]:
        gate[SEARCH_AT] = 2 * gate[NEXT]
        return -2
    elif gate[NEXT] >= gate[MOST]:
        return -1
    else:
        number = gate[NEXT]
        gate[NEXT] += 1
    threads.owner[unsigned(number)] = thread_of_linux()
    return number


@kernel
def take_number_back(threads, number):
    """The number is free again."""
    threads.owner[unsigned(number)] = 0
    threads.after[unsigned(number)] = threads.gate[FREE]
    threads.gate[FREE] = number + 1


@kernel
def is_dead(threads, number):
    """Whether the number belongs to a thread that Linux knows no more."""
    owner = threads.owner[unsigned(number)]
    if not owner:
        return False
    process = system_call(GETPID)
    return system_call(TGKILL, process, owner, 0) == NO_SUCH_PROCESS
