"""Real programs with one cause each, recorded: the cause is found first."""

import shutil
import sys
from pathlib import Path

import pytest

import recorded
from heapwright.api.why import why
from heapwright.compiler import INTERPRETED
from heapwright.insight.why import Heaps, diagnosis
from heapwright.tunnel.replay import replay

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(INTERPRETED, reason="hundreds of thousands of events"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
# The verdict's kind, and words of it
KINDS = {
    "leak": ("leak", "never freed and still grow"),
    "cache": ("live", "filled once"),
    "evicting": ("live", "filled once"),
    "table": ("live", "freed at the exit"),
    "pinned": ("fragmentation", "on pages that live blocks hold"),
    "retained": ("retention", "not given back"),
    "tiny": ("rounding", "small blocks"),
    "server": ("live", "filled once"),
}


@pytest.fixture(scope="module")
def causes(tmp_path_factory):
    return recorded.compiled(
        tmp_path_factory.mktemp("causes"), Path(__file__).with_name("causes.c")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_cause_of_a_real_program_is_found_first(tmp_path, causes, kind):
    status, trace = recorded.run(tmp_path, causes, kind)
    heaps = Heaps()
    result = replay("glibc", trace, picture=heaps.picture, samples=60)
    found = diagnosis(trace, result, heaps)
    wanted, words = KINDS[kind]
    assert status == 0
    assert found.kind == wanted, found.sentence
    assert words in found.sentence
    assert found.stacks[0].label.endswith(".c)") or "causes.c:" in found.stacks[0].label


SURVIVORS = """
import time

class Node:
    __slots__ = ("x",)

def keep_one():
    kept.append(Node())

kept, held = [], []
for turn in range(10):
    held.append([Node() for _ in range(30_000)])
    keep_one()
del held
for number in range(20_000):
    str(number)
time.sleep(0.3)  # a rest: a stall of a busy machine before is none
"""


def test_a_line_that_keeps_an_arena_of_python_each_is_named_first(tmp_path):
    program = tmp_path / "survivors.py"
    program.write_text(SURVIVORS)
    status, trace = recorded.run(tmp_path, sys.executable, program)
    found = why(trace)
    assert status == 0
    assert found.diagnosis.kind == "retention", found.sentence
    assert found.diagnosis.stacks[0].label.startswith("keep_one (")
    assert found.diagnosis.stacks[0].blocks >= 8
    assert "a block keeps its arena" in found.diagnosis.findings[0].mend
