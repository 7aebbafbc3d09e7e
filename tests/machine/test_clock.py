"""The machine's clock: the program's time in the tunnel, Linux's own in flight."""

import os
import subprocess
import sys

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.machine import clock, machine, now
from heapwright.machine.address_space import TIME_NS, TIME_S
from heapwright.trace.schema import FREE, MALLOC, events
from trial import Trial


def test_it_is_what_it_was_told():
    space = machine()
    assert now(space) == 0
    space.meters[TIME_NS] = 5
    assert now(space) == 5


@pytest.mark.skipif(not INTERPRETED, reason="compiled, it is decided when it is built")
def test_in_flight_seconds_and_what_is_past_them_are_one_figure(monkeypatch):
    monkeypatch.setattr(clock, "AHEAD", True)
    monkeypatch.setattr(clock, "system_call", lambda *arguments: 0)
    space = machine()
    space.meters[TIME_S : TIME_NS + 1] = 3, 5
    assert now(space) == 3_000_000_005


def test_the_loop_tells_the_time_and_never_goes_back():
    trial = Trial("jemalloc")
    times = np.array([3, 10, 7, 12])
    trial.replay(
        events(op=[MALLOC, MALLOC, FREE, FREE], slot=[0, 1, 0, 1], size=[8] * 4, time_ns=times)
    )
    assert trial.machine.meters[TIME_NS] == 12
    trial.replay(events(op=[MALLOC], slot=[0], size=[8], time_ns=[11]))
    assert trial.machine.meters[TIME_NS] == 12


def test_without_times_it_moves_on_by_a_step_an_event():
    trial = Trial("jemalloc")
    trial.run.progress[trial.loop.STEP_NS] = 1000
    trial.replay(events(op=[MALLOC] * 3, slot=[0, 1, 2], size=[8] * 3))
    assert trial.machine.meters[TIME_NS] == 2000
    trial.step(FREE, 0)
    assert trial.machine.meters[TIME_NS] == 3000


LINUX = """
import time
from heapwright.machine import now
from heapwright.machine.address_space import machine
space = machine()
first = now(space)
assert abs(first - time.monotonic_ns()) < 5_000_000_000
time.sleep(0.02)
assert now(space) > first
assert any(now(space) == now(space) for _ in range(50))  # ticks, not a counter of the processor
"""


def test_in_flight_it_is_linux_own():
    told = {**os.environ, "HEAPWRIGHT_MACHINE": "linux", "HEAPWRIGHT_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", LINUX], env=told, check=True, timeout=60)
