"""The ranked tree against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heapwright.compiler.lanes import MOST
from heapwright.structures import ranked_tree

POSITIONS = st.one_of(st.integers(0, 40), st.integers(0, 5000))
SIZES = st.one_of(st.just(0), st.integers(1, 9), st.integers(1, MOST - 1))


@given(st.lists(st.tuples(POSITIONS, SIZES, POSITIONS, SIZES), max_size=60))
def test_answers_of_a_list(steps):
    tree, sizes = ranked_tree.ranked_tree(5001), [0] * 5001
    for position, size, start, least in steps:
        ranked_tree.put(tree, position, size)
        sizes[position] = size
        found = ranked_tree.first_at_least(tree, start, max(least, 1))
        expected = (i for i in range(start, 5001) if sizes[i] >= max(least, 1))
        assert found == next(expected, -1)
        assert ranked_tree.rank(tree, start) == sum(map(bool, sizes[:start]))
        assert ranked_tree.size_at(tree, start) == sizes[start]
    assert ranked_tree.total(tree) == sum(map(bool, sizes))
    assert ranked_tree.largest(tree) == max(sizes)
    assert ranked_tree.check(tree, 5001) == 0


@pytest.mark.parametrize("positions", [1, 2, 15, 16, 17, 255, 256, 257, 4097, 1 << 31])
def test_any_length(positions):
    tree = ranked_tree.ranked_tree(positions)
    for position in (0, positions // 2, positions - 1):
        ranked_tree.put(tree, position, 7)
        assert ranked_tree.first_at_least(tree, position, 7) == position
    assert ranked_tree.first_at_least(tree, 0, 8) == -1
    assert ranked_tree.rank(tree, positions - 1) == len({0, positions // 2, positions - 1}) - 1


def test_a_size_beyond_every_size_is_not_found():
    tree = ranked_tree.ranked_tree(100)
    ranked_tree.put(tree, 50, MOST - 1)
    assert ranked_tree.first_at_least(tree, 0, MOST - 1) == 50
    for size in (MOST, MOST + 1, 1 << 32, (1 << 32) + 5, 1 << 43):
        assert ranked_tree.first_at_least(tree, 0, size) == -1
        assert ranked_tree.first_at_least(tree, 3, size) == -1


def test_check_sees_damage():
    tree = ranked_tree.ranked_tree(1000)
    ranked_tree.put(tree, 500, 3)
    tree.largest[500] = 9
    assert ranked_tree.check(tree, 1000) == 1
