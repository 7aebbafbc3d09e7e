"""The sorted set against a plain sorted list."""

from bisect import bisect_left, insort

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heapwright.structures import sorted_keys


@given(seed=st.integers(0, 2**32 - 1), most=st.sampled_from([10, 300, 1 << 62]))
def test_answers_of_a_list(seed, most, effort):
    random = np.random.default_rng(seed)
    keys, members = sorted_keys.sorted_keys(1 << 16), []
    for _ in range(60 * effort):
        key = int(random.integers(0, most))
        if key in members:
            sorted_keys.remove(keys, key)
            members.remove(key)
        elif members and random.random() < 0.3:
            sorted_keys.remove(keys, members.pop(random.integers(len(members))))
        else:
            sorted_keys.insert(keys, key)
            insort(members, key)
        probe = int(random.integers(0, most))
        rank = bisect_left(members, probe)
        expected = members[rank] if rank < len(members) else -1
        assert sorted_keys.at_least(keys, probe) == expected
    assert sorted_keys.size(keys) == len(members)
    assert sorted_keys.check(keys) == 0


@pytest.mark.parametrize("step", [1, -1])
def test_runs_split_and_empty(step, effort):
    """Ascending and descending insertion, then removal from the front: every run goes."""
    count = 50 * effort
    keys = sorted_keys.sorted_keys(count)
    for key in range(count)[::step]:
        sorted_keys.insert(keys, key)
    assert sorted_keys.check(keys) == 0
    for key in range(count):
        assert sorted_keys.at_least(keys, 0) == key
        sorted_keys.remove(keys, key)
    assert sorted_keys.size(keys) == 0
    assert sorted_keys.at_least(keys, 0) == -1
