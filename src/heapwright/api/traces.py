"""Traces: open one, record a program, say what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

Progress = Callable[[str, float], None]  # what is written, and the share of it that is done


def open(path: str | os.PathLike[str]) -> Trace:
    """Open a trace file; HeapwrightError when it is not a sound one."""
    from heapwright.trace.store import Trace

    return Trace.open(path)


class Recorded(list["Trace"]):
    """The traces of a recording, the program's own first, and its exit status."""

    status: int = 0


def record(  # noqa: PLR0913 what, then how; all but the first two are named
    command: Sequence[str],
    output: str | os.PathLike[str] | None = None,
    *,
    children: bool = False,
    stacks: int = 0,
    graph: bool = False,
    look_every: int = 10_000,
    limit_bytes: int = 1 << 30,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Recorded:
    """Run a program and keep what it allocates in a trace; with `children` in one per process.

    `output` is by default the program's name with `.heap.parquet`. `stacks` is how many frames of a
    call stack are kept at most, 0 the call site alone. With `graph`, of a CPython or Java program,
    its objects and their references, in at most `limit_bytes` of its memory. `progress` is called
    while the trace is written.
    HeapwrightError when the program cannot be run or made no event.

    >>> import heapwright as hw
    >>> (trace,) = hw.record(["ls", "/"], "ls.heap.parquet")
    >>> trace.allocations > 10
    True
    """
    import functools

    from heapwright.trace.recorder.graph import record_graph
    from heapwright.trace.recorder.session import record as run
    from heapwright.trace.recorder.wishes import Wishes
    from heapwright.trace.store import Trace

    command = list(command)
    out = Path(output or f"{Path(command[0]).name}.heap.parquet")
    if graph and children:
        raise HeapwrightError("a recorded graph follows no children: leave one out.")
    written: Sequence[Any]
    if graph:
        told = functools.partial(progress, out.name) if progress else None
        status, one = record_graph(
            command, out, look_every=look_every, limit_bytes=limit_bytes, progress=told
        )
        written = [one]
    else:
        status, written = run(
            command,
            out,
            children=children,
            wishes=Wishes(stacks=stacks),
            environment=environment,
            progress=progress,
        )
    found = Recorded(Trace.open(one.path) for one in written)
    found.status = status
    return found


def attach(  # noqa: PLR0913 what, then how; all but the first two are named
    pid: int,
    output: str | os.PathLike[str] | None = None,
    *,
    for_s: float = 0.0,
    children: bool = False,
    stacks: int = 0,
    most_bytes: int = 0,
    progress: Progress | None = None,
) -> Recorded:
    """Record a process that runs already, for `for_s` seconds or until it ends; it runs on.

    What it had allocated before is not in the trace. The recording ends earlier when its log has
    `most_bytes`, or by SIGINT to this process. The rest as for `record`. HeapwrightError, in one
    sentence, when the process cannot be attached to or asked for nothing.
    """
    from heapwright.trace.recorder.running import record_running
    from heapwright.trace.recorder.wishes import Wishes
    from heapwright.trace.store import Trace

    wishes = Wishes(stacks=stacks, for_s=for_s, most_bytes=most_bytes)
    written = record_running(pid, output, children=children, wishes=wishes, progress=progress)
    return Recorded(Trace.open(one.path) for one in written)


class Info(dict[str, Any]):
    """The statistics of a trace under the names of `heapwright info --json`."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return dict(self)

    def _repr_html_(self) -> str:
        from heapwright.cells import facts

        known = {name: value for name, value in self.items() if isinstance(value, int | str)}
        return facts(f"{known.pop('program')}: {known.pop('path')}", known, self["notes"])


def info(
    trace: str | os.PathLike[str] | Trace,
    top: int = 10,
    *,
    progress: Callable[[int], None] | None = None,
) -> Info:
    """What a trace holds: sizes, lifetimes, the `top` call sites; the trace is streamed once."""
    from heapwright.api.selection import opened_traces
    from heapwright.insight.statistics import statistics

    with opened_traces([trace]) as (opened,):
        return Info(statistics(opened, top, progress or (lambda done: None)))
