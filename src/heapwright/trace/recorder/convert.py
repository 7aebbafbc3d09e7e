"""Convert a program's log into a trace, a window at a time."""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heapwright.trace import schema
from heapwright.trace.notes import CUT, INHERITED, STOPPED, UNEXPLAINED, Note, of_kind
from heapwright.trace.reconciled import BEFORE, reconciled
from heapwright.trace.reconciled import note as unexplained
from heapwright.trace.recorder.carry import Carry, carry
from heapwright.trace.recorder.ends import Ends
from heapwright.trace.recorder.java_told import of_a_jvm
from heapwright.trace.recorder.log import (
    ATTACHED,
    CUT_ASKED,
    ENDS_UNSEEN,
    STACKED,
    STACKS_CUT,
    WITHOUT_TABLES,
    Log,
    end_of,
    history,
    window,
    windows,
)
from heapwright.trace.recorder.looks import placed
from heapwright.trace.recorder.matching import (
    MISSED,
    SITES,
    START_NS,
    THREADS,
    UNMATCHED,
    made,
    match_window,
    matching,
)
from heapwright.trace.recorder.nodes import nodes_of
from heapwright.trace.recorder.origin import origin
from heapwright.trace.recorder.owners import owners
from heapwright.trace.recorder.process import process as process_of
from heapwright.trace.recorder.python import Python
from heapwright.trace.recorder.sites import heap_start, stored_sites
from heapwright.trace.sites import own_names
from heapwright.trace.store import TraceWriter


@dataclass
class Converted:
    """What was written for one process image."""

    path: Path
    program: str
    events: int
    unmatched_frees: int
    notes: list[str] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)  # how much of the process it holds
    carry: Carry | None = None  # what lived at its end, where that was asked for

    @property
    def cut(self) -> bool:
        """Whether the trace ends before the program did, as its log could not grow."""
        return bool(of_kind(self.notes, CUT))


def convert(  # noqa: PLR0913 what, then how
    log_path: Path,
    out: str | os.PathLike[str],
    program: str = "",
    progress: Callable[[float], None] | None = None,
    notes: Iterable[str] = (),
    *,
    carried: Carry | None = None,
    carrying: bool = False,
) -> Converted:
    """Write the log at `log_path`, with its `.proc` beside it, as the trace `out`.

    A forked child's begins with its parent's, up to the fork. `progress` is called with the
    fraction done; `notes` are added. It begins with the blocks `carried` over from an earlier one;
    with `carrying` those that live at its end are told. Memory is bounded by the live objects, the
    threads and a row group. HeapwrightError when the disk refuses.
    """
    log = Log(log_path)
    logs = history(log)
    program = program or os.path.basename(log.executable)
    touches, of_looks = placed(logs)
    state, room = matching(touches), made()
    process = [_beside(one.path) for one in logs]
    told = origin(process[-1])
    python = Python(logs, told.facts.pop("python", ""))
    nodes = None if python.hooked else nodes_of(logs)
    events_written, now_ns = 0, 0
    ended: set[int] = set()  # threads
    start = heap_start(process[0])
    late = carried is not None or bool(logs[0].flags & ATTACHED)
    ends = Ends(0 if late else start)  # threads began before
    with TraceWriter(out, program=program, heap_start=start) as writer:
        facts = writer.facts
        inherited_threads = 0
        steering = np.zeros(256, np.int64)  # events by operation
        numbers = [(0, 0)]  # of events in the log and in the trace
        if carried is not None:
            blocks, begun = len(carried.address), logs[0].begun_ns()
            for rows, count in carried.windows(begun):
                if nodes:
                    nodes.to_known_keys(rows.caller[:count])
                before = logs[0].first - blocks + events_written
                state, events = match_window(state, rows, count, room, before)
                if nodes:
                    nodes.to_sites(events.site, state.callers[: state.counts[SITES]])
                writer.write(ends.settle(events))
                events_written += len(events.op)
            facts.inherited_events = events_written
        for rows, count, first, fraction in windows(logs):
            python.take(rows, count)
            if nodes:
                of = max(i for i, one in enumerate(logs) if one.first <= first or not i)
                nodes.to_keys(rows, count, of)
            state, events = match_window(state, rows, count, room, first)
            if nodes:
                nodes.to_sites(events.site, state.callers[: state.counts[SITES]])
            python.enter(rows, count, events, events_written, state)
            writer.write(ends.settle(events))
            numbers.append((first, events_written))
            steering += np.bincount(events.op, minlength=len(steering))
            events_written += len(events.op)
            numbers.append((first + count, events_written))
            if first < log.first:
                facts.inherited_events = events_written
                ended.update(events.thread[events.op == schema.THREAD_EXIT].tolist())
                inherited_threads = int(state.counts[THREADS]) - len(ended)
            if len(events.op):
                now_ns = int(events.time_ns[-1])
            if progress:
                progress(fraction)
        state, events = match_window(state, window(), 1, room, 1 << 62)  # touches of the last event
        writer.write(ends.settle(events))
        events_written += len(events.op)
        writer.write(ends.rest())
        where = "\n".join(process)
        if nodes:
            writer.sites, facts.modules, frame = nodes.frames(where)
            writer.stacks = (nodes.parent, frame)
        elif python.hooked:
            writer.sites, facts.modules, writer.stacks = python.frames(where)
            writer.arenas = python.arenas
        else:
            callers = state.callers[: state.counts[SITES]].tolist()
            writer.sites, facts.modules = stored_sites(callers, where)
        writer.names = own_names(writer.sites, facts.modules, inlined=bool(nodes))
        facts.python = python.version if python.objects else ""
        writer.unmatched_frees = int(state.counts[UNMATCHED])
        start_ns = int(state.counts[START_NS])
        writer.process = process_of(process[-1], numbers, start_ns)
        facts.origin, facts.settings = told.facts, told.settings
        about = python.notes(where, late, bool(log.flags & STACKED))
        facts.notes += [*notes, *told.notes, *ends.note(), *of_looks, *about, *of_a_jvm(where)]
        if logs[0].flags & ATTACHED:
            facts.origin[BEFORE] = log.executable or program
        if not logs[0].flags & ATTACHED:  # else much of it is from before
            facts.notes += unexplained(writer.process, facts.origin)
        facts.notes += [*owners(process[-1], log.executable), *_steered(steering)]
        facts.notes += _cut(logs, events_written, now_ns)
        facts.notes += _inherited(logs, facts.inherited_events, inherited_threads, carried)
        if logs[0].flags & ATTACHED:
            facts.notes += _attached(writer.unmatched_frees)
        if state.counts[MISSED]:
            missed = int(state.counts[MISSED])
            facts.notes.append(
                Note(
                    f"{missed:,} frees were not seen: they stand where memory was reused.",
                    "missed",
                    missed,
                )
            )
        if log.flags & STACKS_CUT:
            facts.notes.append(
                Note("Some call stacks lack their innermost frames: there was no room.", "stacks")
            )
        if log.flags & WITHOUT_TABLES:
            facts.notes.append(
                Note(
                    "Call stacks were followed by frame pointers alone, as its glibc is older than "
                    "2.35: frames of code without them are missing.",
                    "stacks",
                )
            )
        if log.flags & ENDS_UNSEEN:
            facts.notes.append(
                Note("When threads ended was not seen: the program had no key to spare.", "missed")
            )
    explained = [one.sentence for one in reconciled(writer.process, facts.origin)[:1]]
    if of_kind(facts.notes, UNEXPLAINED):  # a note says it
        explained = []
    found = Converted(
        Path(out), program, facts.events, writer.unmatched_frees, facts.notes, explained
    )
    if carrying:
        callers = None if nodes else state.callers[: state.counts[SITES]]
        found.carry = carry(Path(out), state.threads.number, callers)
    return found


def _steered(operations: np.ndarray) -> list[str]:
    """By which calls the program steered its own allocator."""
    calls = {"mallopt": schema.MALLOPT, "malloc_trim": schema.TRIM, "sbrk or brk": schema.SBRK}
    made = [f"{operations[op]:,} of {name}" for name, op in calls.items() if operations[op]]
    if not made:
        return []
    count = int(operations[list(calls.values())].sum())
    text = f"The program steers its allocator itself, by calls: {', '.join(made)}."
    return [Note(text, "steered", count)]


def _beside(log: Path) -> str:
    """The copies of /proc that lie beside a log."""
    beside = log.with_name(log.name + ".proc")
    return beside.read_text(errors="replace") if beside.exists() else ""


def _cut(logs: list[Log], events: int, now_ns: int) -> list[str]:
    """What to say where the log could not grow."""
    if end_of(logs) == 1 << 62:
        return []
    reason = next(log.lost_reason for log in reversed(logs) if log.lost)
    if any(log.flags & CUT_ASKED for log in logs):
        text = (
            f"The recording stops before the program's end, after {events:,} events and "
            f"{now_ns / 1e9:.3g} s: its log had the size that was asked for (--max-size)."
        )
        return [Note(text, STOPPED, events)]
    if reason == os.strerror(errno.EACCES):
        reason += ": it became another user; record it as that one"
    text = (
        f"The recording stops before the program's end, after {events:,} events and "
        f"{now_ns / 1e9:.3g} s: its log could not grow ({reason})."
    )
    return [Note(text, CUT, events)]


def _attached(unmatched: int) -> list[str]:
    """What to say where the program ran, unrecorded, before."""
    told = f", and {unmatched:,} frees and reallocs were of blocks from before" if unmatched else ""
    return [
        Note(
            "The program ran before the recording began: its heap was not empty at the start, so "
            f"its addresses are no exact key{told}.",
            INHERITED,
            unmatched,
        )
    ]


def _inherited(logs: list[Log], events: int, threads: int, carried: Carry | None) -> list[str]:
    """What to say of the trace of a forked child, or of a part of a recording."""
    if carried is not None:
        return [
            Note(
                f"The first {events:,} events are the blocks that lived when this part began, as "
                "if they were allocated then: its addresses are no exact key.",
                INHERITED,
                events,
            )
        ]
    if logs[0].flags & ATTACHED:
        return []
    if logs[0].first:
        return [
            Note(
                "The program was forked and its parent's log is not there: its heap was not empty "
                "at the start, so its addresses are no exact key.",
                INHERITED,
            )
        ]
    if len(logs) == 1:
        return []
    found: list[str] = [
        Note(
            f"The program was forked: the first {events:,} events are its parent's, up to the "
            "fork. Pages that it shares with its parent count as its own.",
            "forked",
            events,
        )
    ]
    if threads > 1:
        found.append(
            Note(
                f"Its parent had {threads:,} threads when it forked: what the caches of the others "
                "held stays taken in the child, so its addresses are no exact key.",
                INHERITED,
                threads,
            )
        )
    return found
