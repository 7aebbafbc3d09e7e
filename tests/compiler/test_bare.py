"""What a bare address takes from an array: its end, so that no index counts from there."""

import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED, bare, kernel
from heapwright.compiler.bare import CHECKED

REFUSING = INTERPRETED or CHECKED


class State(NamedTuple):
    words: np.ndarray
    flags: np.ndarray


@kernel
def read(state, index):
    return bare(state).words[index]


@kernel
def write(state, index):
    state = bare(state)
    state.flags[index] += 1
    return state.flags[index]


@kernel
def last(state):
    return bare(state).words[-1]


def fresh():
    return State(np.arange(10, 18), np.zeros(4, np.uint8))


def test_elements_from_the_first_on():
    state = fresh()
    assert [read(state, 0), read(state, 7)] == [10, 17]
    assert [write(state, 3), write(state, 3)] == [1, 2]
    assert state.flags.tolist() == [0, 0, 0, 2]


@pytest.mark.skipif(not REFUSING, reason="without checks the word before the first is read")
@pytest.mark.parametrize("use", [read, write])
@pytest.mark.parametrize("index", [-1, -8, 8, 1 << 40])
def test_an_index_outside_is_refused(use, index):
    with pytest.raises(IndexError):
        use(fresh(), index)


@pytest.mark.skipif(not REFUSING, reason="without checks the word before the first is read")
def test_the_last_element_is_not_at_minus_one():
    with pytest.raises(IndexError):
        last(fresh())


@pytest.mark.skipif(REFUSING, reason="this run refuses by itself")
@pytest.mark.parametrize("way", ["HEAPWRIGHT_INTERPRET", "NUMBA_BOUNDSCHECK"])
def test_both_other_ways_refuse(way):
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, env={**os.environ, way: "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout
