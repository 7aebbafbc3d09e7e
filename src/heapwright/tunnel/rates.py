"""The speed of the real allocators, in the replay loop that flies the twins.

    rates(trace, names) ─ events on stdin ─► fresh Python ─fork─► library loaded, loop timed ─► JSON

Each measurement is a forked child of one fresh process, which has a single thread and holds no
more than NumPy and the compiled loop. Pages are not touched: what is timed is the allocator.
Source     DESIGN.md's figures of 28-132 M events/s come from the same arrangement
Omits      threads: a threaded trace is flown by one thread, as the twins fly it
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references import called, systems
from heapwright.trace.schema import COLUMNS, Events

SENT = ("op", "slot", "size", "align", "thread")
SPEECH = "heapwright.tunnel.rates"


def rates(
    trace: Any, names: Sequence[str], runs: int = 1, settings: dict[str, int] | None = None
) -> dict[str, float]:
    """Seconds that the replay loop takes with each real allocator, the median of `runs`.

    `settings` are glibc's tunables. HeapwrightError when an allocator is missing.
    """
    tunables = [systems.LATE_LOADING]
    for name in names:
        systems.library(name)
        if settings:
            tunables.append(systems.tunables(name, settings))
    environment = {
        **os.environ,
        "GLIBC_TUNABLES": ":".join(tunables),
        "OPENBLAS_NUM_THREADS": "1",  # a process with one thread takes glibc's short cuts
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    plan = [name for _ in range(runs) for name in names]
    with tempfile.TemporaryFile() as stderr:
        worker = subprocess.Popen(
            [sys.executable, "-m", SPEECH, str(trace.slots), *plan],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
        )
        try:
            assert worker.stdin is not None and worker.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                for _ in plan:
                    for batch in trace.batches(columns=SENT):
                        _send(worker.stdin, batch)
                    worker.stdin.write(np.zeros(len(SENT), np.int64).tobytes())
                    worker.stdin.flush()
                worker.stdin.close()
            said = worker.stdout.read().splitlines()
            status = worker.wait()
        finally:
            worker.kill()
            worker.wait()
        if status or len(said) != len(plan):
            stderr.seek(0)
            last = (stderr.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise HeapwrightError(f"timing the real {plan[min(len(said), len(plan) - 1)]} failed: {last}")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name, line in zip(plan, said, strict=True):
        seconds[name].append(json.loads(line))
    return {name: statistics.median(each) for name, each in seconds.items()}


def _send(stream: Any, batch: Events) -> None:
    columns = [np.ascontiguousarray(getattr(batch, column)) for column in SENT]
    stream.write(np.array([len(column) for column in columns], np.int64).tobytes())
    for column in columns:
        stream.write(column.view(np.uint8).data)


def _received(stream: Any) -> Events | None:
    """The next batch of this flight, None at its end."""
    lengths = np.zeros(len(SENT), np.int64)
    _fill(stream, lengths)
    if not lengths.any():
        return None
    columns = {name: np.empty(0, dtype) for name, dtype in COLUMNS.items()}
    for name, length in zip(SENT, lengths.tolist(), strict=True):
        columns[name] = np.empty(length, COLUMNS[name])
        _fill(stream, columns[name])
    return Events(**columns)


def _fill(stream: Any, array: np.ndarray) -> None:
    view = array.view(np.uint8).data
    while view:
        got = stream.readinto(view)
        if not got:
            raise EOFError("the events ended early")
        view = view[got:]


def _fly(name: str, slots: int, warm_only: bool = False) -> float:
    """Seconds in the replay loop for the events that stdin brings."""
    from time import perf_counter

    from heapwright.managers.registry import Manager
    from heapwright.tunnel.bind import bound_loop

    loop = bound_loop(Manager("called", "heapwright.references.called"))
    system = systems.named(name)
    heap: Any = called.boot(called.load(system, systems.library(name)))
    objects = loop.Objects(np.zeros(slots, np.int64), np.zeros(0, np.int64))
    run = loop.Run(objects, np.zeros(loop.PROGRESS, np.int64))
    loop.replay(heap, run, Events(*(np.empty(0, dtype) for dtype in COLUMNS.values())))
    seconds = 0.0
    stream: Any = sys.stdin.buffer
    while not warm_only and (batch := _received(stream.raw)) is not None:
        start = perf_counter()
        loop.replay(heap, run, batch)
        seconds += perf_counter() - start
    return seconds


def main(slots: int, plan: list[str]) -> None:
    """Measure each of `plan` in a forked child; a line of JSON, seconds, for each."""
    _fly("glibc", 1, warm_only=True)  # compiles or loads the loop before the first fork
    for name in plan:
        child = os.fork()
        if not child:
            print(json.dumps(_fly(name, slots)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            sys.exit(f"its process was killed by signal {os.WTERMSIG(status)}")
        if status:
            sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
