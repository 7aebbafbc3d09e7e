"""Atomic steps: what each returns and leaves, and that threads lose none of them."""

import threading
from typing import NamedTuple

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED, bare, kernel, likely, unlikely, unsigned
from heapwright.compiler.atomics import (
    atomic_add,
    compare_and_swap,
    exchange,
    load_acquire,
    pause,
    store_release,
)


class Words(NamedTuple):
    words: np.ndarray


@kernel(cold=True)
def slow_step(state, seen):
    seen[3] = exchange(state.words, 2, 17)


@kernel
def each_step(state, seen):
    state = bare(state)
    words = state.words
    seen[0] = atomic_add(words, unsigned(0), 5)
    seen[1] = compare_and_swap(words, 1, 8, 9)
    seen[2] = compare_and_swap(words, 1, 7, 9)
    if likely(words[0] == 15) and not unlikely(words[1] == 7):
        slow_step(state, seen)
    store_release(words, 3, 21)
    seen[4] = load_acquire(words, 3)
    pause()


def test_each_step_returns_what_was_and_leaves_what_is() -> None:
    words, seen = np.array([10, 7, 3, 0], np.int64), np.zeros(5, np.int64)
    each_step(Words(words), seen)
    assert words.tolist() == [15, 9, 17, 21]
    assert seen.tolist() == [10, 0, 1, 3, 21]


@kernel
def count(state, times):
    """Count to `times` three ways: an addition, a swap, and under a lock."""
    words = bare(state).words
    for _ in range(times):
        atomic_add(words, 0, 1)
        while True:
            old = load_acquire(words, 8)
            if compare_and_swap(words, 8, old, old + 1):
                break
        while exchange(words, 16, 1):
            pause()
        words[24] += 1
        store_release(words, 16, 0)


@pytest.mark.skipif(INTERPRETED, reason="an interpreted heap serves one thread")
def test_threads_lose_no_step() -> None:
    words, times = np.zeros(32, np.int64), 20_000
    threads = [threading.Thread(target=count, args=(Words(words), times)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words[[0, 8, 24]].tolist() == [4 * times] * 3
