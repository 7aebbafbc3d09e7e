"""The lock of real threads."""

from threading import Thread

import numpy as np

from heapwright.compiler import INTERPRETED, kernel, unsigned
from heapwright.structures import mutex

COUNTER = 8  # a line away from the lock
ROUNDS = 1000 if INTERPRETED else 200_000
THREADS = 1 if INTERPRETED else 3


@kernel
def count_up(words, rounds):
    for _ in range(rounds):
        mutex.lock(words, 0)
        words[unsigned(COUNTER)] = words[unsigned(COUNTER)] + 1
        mutex.unlock(words, 0)


def test_no_step_between_lock_and_unlock_is_lost():
    words = np.zeros(16, np.int64)
    count_up(words, 0)
    threads = [Thread(target=count_up, args=(words, ROUNDS)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words[COUNTER] == THREADS * ROUNDS
    assert words[0] == 0, "free in the end"


def test_a_held_lock_says_so():
    words = np.zeros(1, np.int64)
    hold(words)
    assert words[0] == 1
    words[0] = 2  # as if somebody slept: he is woken, and the lock is free
    let_go(words)
    assert words[0] == 0


@kernel
def hold(words):
    mutex.lock(words, 0)


@kernel
def let_go(words):
    mutex.unlock(words, 0)
