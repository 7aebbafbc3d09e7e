"""Drive a text format's scan kernel over a recording: blocks of bytes in, events out.

    for events in text.events(source, format.scan, own): ...

`Reading` keeps the counts that become a trace's notes, one sentence each.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import lines as at
from heapwright.trace.importers.lines import (
    LINE_BYTES,
    RECORDS,
    STATE,
    Lines,
    Threads,
    reenter,
    renumber,
)
from heapwright.trace.importers.matching import Matcher, Records
from heapwright.trace.importers.source import PIECE_BYTES, Source, open_source
from heapwright.trace.notes import Note
from heapwright.trace.schema import Events
from heapwright.trace.stacks import Stacks
from heapwright.trace.store import TraceWriter

THREAD_LIMIT = 1 << 20
FIRST_THREADS = 1 << 8
_SHOWN_BYTES = 60  # of a line that is not understood

FAULTS = {
    at.LONG_LINE: f"is longer than {LINE_BYTES:,} bytes",
    at.BAD_LINE: "is not understood",
    at.BAD_ADDRESS: "has an address that no process can have",
    at.BAD_OBJECT: "names an object that the header rules out",
}


class Reading:
    """One recording being read; `counts` and the two others are complete when `events` ends."""

    program = ""  # as the recording names it
    limits: tuple[str, ...] = ()  # what the format cannot tell, a sentence each

    def __init__(
        self, source: Source, scan: Callable[..., Any], own: Any = None, leaks: bool = False
    ) -> None:
        self.source = source
        self.counts = np.zeros(STATE, np.int64)
        self.matcher = Matcher(leaks)
        self.truncated_line = ""
        self.most_threads = THREAD_LIMIT
        self._leaks = leaks
        self._scan, self._own = scan, own
        rows = min(RECORDS, max(source.size // 2, 64))
        kinds = (np.uint8, np.int64, np.int64, np.int64, np.uint8, np.int32, np.int32)
        self._records = Records._make(np.zeros(rows, kind) for kind in kinds)
        self._threads = _threads(FIRST_THREADS)
        self._dense = np.full(FIRST_THREADS, -1, np.int32)
        self._threads_named = np.zeros(1, np.int64)

    def events(self) -> Iterator[Events]:
        """The events, a batch at a time; HeapwrightError names the line that cannot be read."""
        room = min(PIECE_BYTES, self.source.size + LINE_BYTES) + LINE_BYTES
        text, state = np.empty(room, np.uint8), self.counts
        while True:
            kept = int(state[at.FILLED] - state[at.AT])
            text[:kept] = text[state[at.AT] : state[at.FILLED]].copy()
            piece = self.source.read(min(PIECE_BYTES, room - kept))
            text[kept : kept + len(piece)] = np.frombuffer(piece, np.uint8)
            state[at.AT], state[at.FILLED] = 0, kept + len(piece)
            state[at.LAST] = not piece
            yield from self._scanned(text)
            if not piece:
                return

    def _scanned(self, text: np.ndarray) -> Iterator[Events]:
        """Events of the whole lines in `text`."""
        state = self.counts
        while True:
            state[at.ROWS], before = 0, int(state[at.LINE])
            self._scan(Lines(text, state, self._records, self._threads), self._own)
            rows = int(state[at.ROWS])
            if rows:
                made = self.matcher.events(Records(*(c[:rows] for c in self._records)))
                if int(state[at.THREADS]) > len(self._dense):
                    more = np.full(2 * int(state[at.THREADS]), -1, np.int32)
                    more[: len(self._dense)] = self._dense
                    self._dense = more
                renumber(made, self._dense, self._threads_named)
                if len(made.op):
                    yield made
            self.collect(text)
            if state[at.FAULT]:
                self._fault(text)
                return
            if state[at.STOPPED]:
                state[at.STOPPED] = 0
                continue
            full = 2 * int(state[at.THREADS]) > len(self._threads.key)
            if full:
                if state[at.THREADS] > self.most_threads:
                    state[at.FAULT] = at.MANY_THREADS
                    self._fault(text)
                wider = _threads(2 * len(self._threads.key))
                reenter(self._threads, wider)
                self._threads = wider
            elif int(state[at.LINE]) == before or rows + 1 < len(self._records.op):
                return

    def _fault(self, text: np.ndarray) -> None:
        """Raise for the line at which the scan stopped, unless it is merely cut off at the end."""
        state = self.counts
        fault, past = int(state[at.FAULT]), int(state[at.AT])
        long = fault == at.LONG_LINE
        number = int(state[at.LINE]) + long
        if long:
            line = bytes(text[past : min(past + _SHOWN_BYTES, int(state[at.FILLED]))])
        else:
            line = bytes(text[:past]).removesuffix(b"\n").rpartition(b"\n")[2]
        shown = line[:_SHOWN_BYTES].decode("ascii", "replace").strip()
        if fault == at.BAD_LINE and state[at.UNENDED]:
            self.truncated_line = shown
            return
        raise HeapwrightError(
            f"{self.source.path}: line {number:,} {self.said(fault)}: {shown!r}; "
            "mend or remove it, or record again"
        )

    def said(self, fault: int) -> str:
        """What is wrong with a line."""
        return FAULTS.get(fault) or f"is of one more than {self.most_threads:,} threads"

    def collect(self, text: np.ndarray) -> None:
        """Take out of `text` what the scan marked there, before the text is gone."""

    def labels(self) -> list[str]:
        """The site table."""
        return []

    def stacks(self) -> Stacks:
        """The tree of stacks, where the site table names frames."""
        return Stacks(*np.zeros((2, 0), np.int32))

    def notes(self) -> list[str]:
        """What was not taken literally, a sentence each."""
        counts, matcher = self.counts, self.matcher
        told = (
            (at.NULL_FREES, "frees of NULL, left out"),
            (at.REALLOC_NULL, "reallocs of NULL, which stand as mallocs"),
            (at.REALLOC_ZERO, "reallocs to 0 bytes, which stand as frees"),
            (at.REALLOC_REFUSED, "refused reallocs, left out: their blocks stay as they were"),
            (at.HUGE, "requests beyond any address space, which stand as refused"),
            (at.ZERO_SIZES, "requests of 0 bytes, kept as such"),
            (at.UNFINISHED, "calls whose result is not told, left out"),
            (at.OTHER_PROCESS, "lines of other processes than the first, left out"),
            (at.NO_THREAD, "lines that name no thread, taken for those of one"),
            (at.WITHIN, "calls made within another call, left out as its business"),
            (at.ENTERED_BEFORE, "calls that began before the recording, left out"),
            (at.NOT_MOVED, "reallocs whose new place is not told, which stand as frees"),
            (at.ROUNDED_ALIGNS, "alignments that are no power of two, rounded up"),
            (at.OTHER_LINES, "lines that are no events, passed over"),
        )
        notes: list[str] = list(self.limits)
        notes += [
            Note(f"{what}: {counts[row]:,}", cases=counts[row]) for row, what in told if counts[row]
        ]
        if matcher.unmatched_frees:
            notes.append(
                "frees and reallocs of blocks that were not live, freed twice or allocated before "
                f"the recording began: {matcher.unmatched_frees:,}"
            )
        if matcher.missed_frees and self._leaks:
            notes.append(
                "objects that lost their name to another and are never freed: "
                f"{matcher.missed_frees:,}"
            )
        elif matcher.missed_frees:
            notes.append(
                "frees that the recording lacks, put in where their addresses came back: "
                f"{matcher.missed_frees:,}"
            )
        if counts[at.CRLF]:
            notes.append("the lines end as Windows writes them")
        if self.truncated_line:
            notes.append(f"the last line is cut off and was left out: {self.truncated_line!r}")
        elif counts[at.UNENDED]:
            notes.append("the last line has no end and was taken as whole")
        if self.source.broken_off:
            notes.append("the compressed recording breaks off: what it holds was imported")
        return notes


def write(
    path: Path, output: Path, reader: Callable[[Source], Reading], advance: Callable[[float], None]
) -> None:
    """Write the trace of what `reader(source)` returns, a Reading."""
    with open_source(path) as source:
        reading = reader(source)
        with TraceWriter(output, program=path.name, kind="imported") as writer:
            done, count = 0.0, 0
            for events in reading.events():
                writer.write(events)
                count += len(events.op)
                advance(source.share - done)
                done = source.share
            if not count:
                raise HeapwrightError(f"{path} holds no allocation: there is nothing to import")
            writer.facts.program = reading.program or path.name
            writer.sites, writer.stacks = reading.labels(), reading.stacks()
            writer.unmatched_frees = reading.matcher.unmatched_frees
            writer.facts.notes += reading.notes()


def _threads(rows: int) -> Threads:
    return Threads(np.zeros(rows, np.int64), np.zeros(rows, np.int32))
