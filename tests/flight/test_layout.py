"""Where the arrays of every manager that flies come to lie, without compiling any of them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from heapwright.allocators.size_classes import size_classes
from heapwright.compiler import INTERPRETED
from heapwright.compiler.ahead import Fixed
from heapwright.flight.layout import SMALL_BYTES, Plan
from heapwright.managers.registry import managers

FLYING = [name for name, m in managers().items() if m.card.flies and "malloc" in m.card.serves]
LAY_OUT = """
import json, sys
from heapwright.flight.compile import _laid_out
from heapwright.managers.registry import named
for name, settings in json.loads(sys.argv[1]):
    state = _laid_out(named(name), settings, False)
    print(name, len(state.start.counts.content), flush=True)
"""


@pytest.mark.skipif(INTERPRETED, reason="a flight is compiled")
def test_every_manager_that_flies_has_a_place_for_its_arrays():
    """With the settings of its variants too; and over another manager."""
    cases = [(n, dict(v)) for n in FLYING for v in ({}, *managers()[n].card.variants)]
    cases += [(f"{n} over glibc", {}) for n in FLYING if managers()[n].card.ground]
    done = subprocess.run(
        [sys.executable, "-c", LAY_OUT, json.dumps(cases)],
        env={**os.environ, "HEAPWRIGHT_MACHINE": "linux", "HEAPWRIGHT_INTERPRET": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr}"
    assert len(done.stdout.splitlines()) == len(cases) >= 30


def test_a_table_that_ends_within_a_word_is_kept_whole():
    """size_classes(131072, 4) has 8,193 numbers of two bytes: more than fits the object."""
    plan, table = Plan(frozenset(), frozenset()), size_classes(131072, 4).class_of
    assert table.nbytes > SMALL_BYTES and table.nbytes % 8 == 2
    placed = plan.place("class_of", table)
    assert isinstance(placed, Fixed)
    flown = np.zeros(-(-table.nbytes // 8), np.int64)  # what a process finds there
    content = plan.start().content.content
    for address, words, first, step in plan.runs:
        begin = (address - placed.address) // 8
        flown[begin : begin + words] = content[first : first + words] if step else content[first]
    assert flown.view(np.int16)[: len(table)].tolist() == table.tolist()


def test_two_arrays_that_begin_at_one_place_are_named():
    plan, array = Plan(frozenset(), frozenset()), np.ones(10, np.int64)
    plan.place("whole", array)
    with pytest.raises(AssertionError, match="whole of 40 bytes begins as one of 80"):
        plan.place("part", array[:5])
