"""Bit counts, lanes and reserved arrays, in and out of compiled code."""

import numpy as np
import pytest

from heapwright.compiler import bare, kernel
from heapwright.compiler.bits import bit_count, bit_length, trailing_zeros
from heapwright.compiler.lanes import LANES, lanes_at_least, lanes_largest, lanes_sum
from heapwright.compiler.reserve import reserve


@kernel
def _bits(values, out):
    for i in range(len(values)):
        out[i, 0] = bit_length(values[i])
        out[i, 1] = trailing_zeros(values[i])
        out[i, 2] = bit_count(values[i])


def test_bits():
    values = np.array([0, 1, 2, 3, 12, (1 << 62) + 8, (1 << 63) - 1, -1, -8], np.int64)
    out = np.zeros((len(values), 3), np.int64)
    _bits(values[:7], out[:7])
    expected = [[v.bit_length(), (v & -v).bit_length() - 1 if v else 64, v.bit_count()]
                for v in values[:7].tolist()]  # fmt: skip
    assert out[:7].tolist() == expected
    _bits(values[7:], out[7:])
    assert out[7:, 1:].tolist() == [[0, 64], [3, 61]]


@kernel
def _lanes(array, first, least, lanes, out):
    out[0] = lanes_at_least(array, first, least)
    out[1] = lanes_largest(array, first)
    out[2] = lanes_sum(array, first, lanes)


@pytest.mark.parametrize("seed", range(20))
def test_lanes(seed):
    random = np.random.default_rng(seed)
    array = random.integers(0, 1 << random.integers(1, 27), 64).astype(np.int32)
    first, lanes = int(random.integers(0, 48)), int(random.integers(0, LANES + 1))
    least = int(random.choice([0, 1, array[first], array.max(), 1 << 31, 1 << 40]))
    out = np.zeros(3, np.int64)
    _lanes(array, first, least, lanes, out)
    part = array[first : first + LANES].tolist()
    mask = sum((value >= least) << i for i, value in enumerate(part))
    assert out.tolist() == [mask, max(part), sum(part[:lanes])]


def test_reserved_memory_is_zero_and_costs_nothing():
    array = reserve(1 << 34, np.int64)  # 128 GiB
    assert array[0] == array[1 << 33] == array[-1] == 0
    array[1 << 33] = 5
    assert array[1 << 33] == 5
    assert len(reserve(0, np.int64)) == 0


@kernel
def _second(state):
    state = bare(state)
    return state[1][3]


def test_bare_keeps_values():
    assert _second((np.arange(5), np.arange(10, 20))) == 13
