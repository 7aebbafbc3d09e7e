"""Roots against a naive model, and the log's rows against its totals."""

import random

import numpy as np

from heapwright.collectors import log as logs
from heapwright.collectors import mutator as roots

SLOTS = 40


def enumerated(mutator):
    """Addresses of all roots, sorted."""
    return sorted(int(roots.root_at(mutator, i)) for i in range(roots.root_count(mutator)))


def test_roots_are_those_of_a_naive_model():
    draw = random.Random(7)
    mutator = roots.mutator(SLOTS, 400)
    mutator.handles[:] = 16 * np.arange(1, SLOTS + 1)
    frames, globals_ = [[]], set()
    for _ in range(600):
        slot = draw.randrange(SLOTS)
        verb = draw.choice(["hold", "root", "unroot", "push", "pop"])
        if verb == "hold" and sum(map(len, frames)) < 300:
            roots.hold(mutator, slot)
            frames[-1].append(slot)
        elif verb == "root" and slot not in globals_:
            roots.root(mutator, slot)
            globals_.add(slot)
        elif verb == "unroot" and slot in globals_:
            roots.unroot(mutator, slot)
            globals_.remove(slot)
        elif verb == "push":
            roots.push(mutator)
            frames.append([])
        elif verb == "pop" and len(frames) > 1:
            roots.pop(mutator)
            frames.pop()
        held = [slot for frame in frames for slot in frame] + list(globals_)
        assert enumerated(mutator) == sorted(16 * (slot + 1) for slot in held)
        assert roots.check(mutator) == 0


def test_each_handle_is_a_root_of_a_malloc_trace():
    mutator = roots.mutator(3, every_handle=True)
    mutator.handles[1] = 64
    assert enumerated(mutator) == [0, 0, 64]


def test_a_handle_changes_only_while_it_holds_the_objects_address():
    mutator = roots.mutator(2)
    mutator.handles[:] = 160, 320
    roots.moved(mutator, 0, 160, 480)
    roots.moved(mutator, 1, 160, 640)
    assert mutator.handles.tolist() == [480, 320]
    roots.reclaimed(mutator, 0, 160)
    roots.reclaimed(mutator, 1, 320)
    assert mutator.handles.tolist() == [480, 0]


def test_the_log_keeps_pauses_and_cycles():
    log = logs.log()
    for cycle in range(3):
        logs.begin_pause(log)
        logs.begin_cycle(log, logs.FULL, 1000, 2000)
        log.totals[logs.MARKED_BYTES] += 100 * (cycle + 1)
        logs.end_pause(log)
        logs.end_cycle(log, 300)
    pauses = log.pauses[: 3 * logs.PAUSE_COLUMNS].reshape(3, -1)
    assert pauses[:, logs.PAUSE_WORK].tolist() == [100, 200, 300]
    assert pauses[:, logs.PAUSE_LENGTH].sum() == log.totals[logs.PAUSE_TICKS] > 0
    assert (np.diff(pauses[:, logs.PAUSE_START]) > 0).all()
    cycles = log.cycles[: 3 * logs.CYCLE_COLUMNS].reshape(3, -1)
    assert cycles[:, logs.MARKED_BYTES].tolist() == [100, 300, 600]
    assert (cycles[:, logs.END_TICKS] > cycles[:, logs.START_TICKS]).all()
