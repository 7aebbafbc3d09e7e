"""Side by side: one trace through several managers and real systems, each in a process of its own.

    parent ─fork─► lane 1: replay(...)        Result or a sentence ─► pipe ─► parent
           ─fork─► lane 2: replay(...)        events done  ─► shared counter ─► progress
           ...     (at most `jobs` at once; the next starts when one ends)

Forked, not spawned: a worker inherits the imported compiler instead of importing it again, which
is most of the time that a small trace takes. So nothing here may start a thread before the forks.
A worker leads its own process group, so that what it started (a real system being measured) ends
with it, and Ctrl-C reaches the parent alone, which then kills them all.
"""

import contextlib
import mmap
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.result import HeapMap, Result
from heapwright.trace import audit
from heapwright.trace.schema import events
from heapwright.trace.store import Trace
from heapwright.tunnel.keyframes import Keyframes
from heapwright.tunnel.limited import Limit, limited, steps_of_replay
from heapwright.tunnel.replay import SAMPLES, Conditions, Progress, replay

_TICK_SECONDS = 0.1  # between two looks at the counters


@dataclass
class Lane:
    """One row of a comparison while it is being made."""

    name: str
    steps: int  # what `done` counts up to
    run: Callable[[Progress], Any]  # called in the worker; gives a Result, or what is asked for
    done: int = 0
    state: str = "waiting"  # then "running", and at last "done" or "failed"
    outcome: Any = None  # of a failure: the sentence


@dataclass
class Comparison:
    """What came of it."""

    results: list[Result]  # in the order asked for
    failures: list[str] = field(default_factory=list)  # a sentence each


def twin_lanes(  # noqa: PLR0913 the first three say what, the others how
    trace_path: Path,
    managers: Sequence[str],
    settings: Mapping[str, Sequence[Mapping[str, int]]] | None = None,
    conditions: Conditions | None = None,
    samples: int = SAMPLES,
    picture: Callable[[Keyframes], HeapMap] | None = None,
    *,
    tries: int = 1,
    limit: Limit | None = None,
) -> list[Lane]:
    """A lane per manager, or one for each of its `settings` (knob values that go together).

    With `picture` keyframes are taken of each; it is timed `tries` times, as `replay` says. With a
    `limit` each is replayed once more, under it.
    Raises HeapwrightError for unknown managers and knobs before any runs; a manager that cannot
    be imported fails in its lane.
    """
    settings = dict(settings or {})
    conditions = conditions or Conditions.of(Trace.open(trace_path))
    for name in settings:
        named(name)
        if name not in managers:
            raise HeapwrightError(
                f"--set names {name}, not among the managers compared: {', '.join(managers)}."
            )
    steps = steps_of_replay(Trace.open(trace_path), limit)
    lanes = []
    chosen = [
        (name, dict(knobs))
        for name in dict.fromkeys(managers)
        for knobs in settings.get(name, [{}])
    ]
    for name, knobs in chosen:
        with contextlib.suppress(ImportError):
            named(name).configured(knobs)  # imports it here once

        def run(progress: Progress, name: str = name, knobs: dict[str, int] = knobs) -> Result:
            trace = Trace.open(trace_path)
            result = replay(
                name,
                trace,
                knobs,
                touch=conditions.touch,
                huge_pages=conditions.huge_pages,
                samples=samples,
                tries=tries,
                progress=progress,
                picture=picture,
            )
            if limit:
                limited(result, trace, limit, conditions, progress)
            return result

        values = " ".join(f"{knob}={value}" for knob, value in knobs.items())
        lanes.append(Lane(f"{name} {values}".strip(), steps, run))
    return lanes


def compare(
    lanes: Sequence[Lane],
    jobs: int | None = None,
    progress: Callable[[Sequence[Lane]], None] | None = None,
) -> Comparison:
    """Run every lane, at most `jobs` at once (default: as many as processors), one with jobs=1.

    `progress` is told about ten times a second. A lane that fails becomes a sentence and the
    others go on. KeyboardInterrupt kills the workers and passes on.
    """
    jobs = jobs or processors()
    prepare()
    counters = np.frombuffer(mmap.mmap(-1, 8 * max(1, len(lanes))), np.int64)
    waiting = list(range(len(lanes)))
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number = waiting.pop(0)
                lanes[number].state = "running"
                connection, process = _start(lanes[number], counters[number : number + 1])
                running[connection] = (number, process)
            for connection in [c for c in wait(list(running), _TICK_SECONDS) if c in running]:
                number, process = running.pop(connection)
                lanes[number].outcome = _outcome(lanes[number].name, connection, process)
                failed = isinstance(lanes[number].outcome, str)
                lanes[number].state = "failed" if failed else "done"
            for lane, done in zip(lanes, counters.tolist(), strict=False):
                lane.done = lane.steps if lane.state == "done" else done
            if progress:
                progress(lanes)
    finally:
        for _, process in running.values():
            _kill(process)
    outcomes = [lane.outcome for lane in lanes]
    return Comparison(
        results=[outcome for outcome in outcomes if not isinstance(outcome, str)],
        failures=[outcome for outcome in outcomes if isinstance(outcome, str)],
    )


def processors() -> int:
    """How many this process may use; where the system does not say, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare() -> None:
    """Load here, once, what every worker would load for itself: the compiler's tables of types and
    the one kernel that all of them call. It takes 0.2 s of processor time."""
    audit.audit(events(), np.zeros(0, np.uint8), np.zeros(2, np.int64))


def _start(lane: Lane, counter: np.ndarray) -> tuple[Connection, BaseProcess]:
    """Fork a worker for the lane; the end of a pipe on which its outcome arrives."""
    if "fork" not in multiprocessing.get_all_start_methods():
        raise HeapwrightError(
            "cannot compare side by side: this system does not fork; replay one manager at a time."
        )
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    process = context.Process(target=_work, args=(lane, counter, sender, os.getpid()), daemon=False)
    process.start()
    sender.close()
    with contextlib.suppress(OSError):  # the child does so too; whoever comes first
        os.setpgid(process.pid or 0, process.pid or 0)
    return receiver, process


def _work(lane: Lane, counter: np.ndarray, sender: Connection, parent: int) -> None:
    """The worker: run the lane, send its Result or a sentence."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)

    def progress(done: int) -> None:
        counter[0] = done
        if os.getppid() != parent:  # killed: nobody waits for this replay
            os._exit(1)

    try:
        sender.send(lane.run(progress))
    except HeapwrightError as error:
        sender.send(f"{lane.name}: {error}")
    except ImportError as error:
        sender.send(f"{lane.name}: cannot be imported ({error}); mend or remove its package.")
    except MemoryError:
        sender.send(f"{lane.name}: not enough memory; compare fewer managers at once (--jobs 1).")
    except Exception as error:  # the others go on
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        sender.send(f"{lane.name}: a bug, {type(error).__name__} at {where}: {error}")


def _outcome(name: str, connection: Connection, process: BaseProcess) -> Any:
    """What the worker sent; a sentence when it died without a word."""
    try:
        outcome = connection.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        hint = "; the machine may be short of memory" if code == -signal.SIGKILL else ""
        outcome = (
            f"{name}: its process was {how}{hint}." if code < 0 else f"{name}: its process {how}."
        )
    connection.close()
    process.join()
    return outcome


def _kill(process: BaseProcess) -> None:
    """End the worker and what it started."""
    if process.pid:  # 0 would be our own group
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
