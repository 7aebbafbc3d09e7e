"""Named words of an array: the same in Python, in a kernel, and under a bare address."""

from typing import NamedTuple

import numpy as np
import pytest

from heapwright.compiler import bare, kernel
from heapwright.compiler.record import record, words


@record(
    "goal",  # bytes
    "limit",
)
class Inner(NamedTuple):
    """Two words."""

    fields: np.ndarray


@record("done", "sum", array="counts")
class Outer(NamedTuple):
    """Two more, beside a member that has the name of a word of another record."""

    inner: Inner
    goal: np.ndarray
    counts: np.ndarray


@kernel
def advance(outer, step):
    outer.inner.goal += step
    outer.sum = outer.inner.goal + outer.inner.limit
    outer.goal[0] += 1
    return outer.sum


@kernel
def through_addresses(outer, steps):
    outer = bare(outer)
    for step in range(steps):
        advance(outer, step)
    outer.done = True
    return outer.sum


def fresh():
    return Outer(Inner(words(Inner, limit=5, goal=7)), np.zeros(1, np.int64), words(Outer))


@pytest.mark.parametrize("run", [through_addresses, lambda outer, _: advance(outer, 6)])
def test_a_word_is_read_and_written_by_its_name(run):
    outer = fresh()
    run(outer, 4)
    assert outer.inner.fields.tolist() == [13, 5]
    assert outer.counts[1] == outer.sum == 18
    assert outer.goal[0] in (1, 4)


def test_python_sees_what_a_kernel_wrote():
    outer = fresh()
    assert through_addresses(outer, 3) == outer.sum == 15
    assert (outer.done, outer.inner.goal) == (1, 10)
    outer.inner.goal = 100
    assert outer.inner.fields[0] == 100


def test_words_begin_with_the_values_given():
    assert words(Inner, limit=9).tolist() == [0, 9]
    with pytest.raises(AssertionError, match="no word gaol"):
        words(Inner, gaol=1)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(AssertionError, match="count"):
        record("count")(Inner)
