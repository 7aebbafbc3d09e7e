"""Convert a program's log into a trace, a window at a time."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from heapwright.trace.recorder.log import Log
from heapwright.trace.recorder.matching import (
    MISSED,
    SITES,
    UNMATCHED,
    match_window,
    matching,
)
from heapwright.trace.recorder.sites import heap_start, stored_sites
from heapwright.trace.store import TraceWriter


@dataclass
class Converted:
    """What was written for one process image."""

    path: Path
    program: str
    events: int
    unmatched_frees: int


def convert(
    log_path: Path,
    out: str | os.PathLike[str],
    program: str = "",
    progress: Callable[[float], None] | None = None,
) -> Converted:
    """Write the log at `log_path`, with its `.proc` beside it, as the trace `out`.

    `progress` is called with the fraction done. Memory is bounded by the live objects, the
    threads and a window of a million events. HeapwrightError when the disk refuses.
    """
    log = Log(log_path)
    program = program or os.path.basename(log.executable)
    state = matching()
    beside = log_path.with_name(log_path.name + ".proc")
    process = beside.read_text(errors="replace") if beside.exists() else ""
    with TraceWriter(out, program=program, heap_start=heap_start(process)) as writer:
        for rows, count, fraction in log.windows():
            state, events = match_window(state, rows, count)
            writer.write(events)
            if progress:
                progress(fraction)
        callers = state.callers[: state.counts[SITES]].tolist()
        writer.sites, writer.facts.modules = stored_sites(callers, process)
        writer.unmatched_frees = int(state.counts[UNMATCHED])
        if log.lost:
            writer.facts.notes.append(
                "The recording stops before the program's end: its log could not grow "
                f"({log.lost_reason})."
            )
        if state.counts[MISSED]:
            writer.facts.notes.append(
                f"{state.counts[MISSED]} frees were not seen: they stand where memory was reused."
            )
    return Converted(Path(out), program, writer.facts.events, writer.unmatched_frees)
