"""Interpreted, the source itself runs: a breakpoint in the loop or in a manager stops there."""

import bdb
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.trace.schema import MALLOC
from heapwright.tunnel import loop
from trial import Trial

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="compiled code knows no breakpoints")


class Stops(bdb.Bdb):
    """A debugger that notes where it stopped and goes on."""

    def __init__(self):
        super().__init__()
        self.places = []

    def user_line(self, frame):
        self.places.append((Path(frame.f_code.co_filename).name, frame.f_lineno))
        self.set_continue()


@pytest.mark.parametrize("name", ["linear", "first-fit", "glibc"])
def test_a_breakpoint_in_the_loop_stops_there(name):
    lines = Path(loop.__file__).read_text().splitlines()
    wanted = 2 + next(n for n, line in enumerate(lines) if "if op in (MALLOC, NEW):" in line)
    debugger = Stops()
    assert debugger.set_break(loop.__file__, wanted) is None
    trial = Trial(name)
    debugger.runcall(trial.step, MALLOC, 0, 100)
    assert ("loop.py", wanted) in debugger.places
