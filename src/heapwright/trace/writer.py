"""Write a trace: events are audited, counted, and laid down a row group at a time.

write(events) ─► 256 Ki events ─► audited and counted ─► encoded in a thread ─► beside PATH
end of block  ─► facts and site table in the footer ─► renamed to PATH
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heapwright.errors import HeapwrightError
from heapwright.trace import arenas, audit, doors, graph_audit
from heapwright.trace.facts import KINDS, NUMBERS_SPARE, OPTIONAL, Facts, to_json
from heapwright.trace.layout import (
    ARENAS_KEY,
    ARROW_ERRORS,
    COLLECTIONS_KEY,
    COMPRESSION,
    DICTIONARY,
    DOORS_KEY,
    ENCODING,
    FACTS_KEY,
    NAMES_KEY,
    PROCESS_KEY,
    ROW_GROUP_EVENTS,
    SCHEMA,
    SITES_KEY,
    STACKS_KEY,
    ZSTD_LEVEL,
    first_line,
)
from heapwright.trace.notes import Note
from heapwright.trace.process import NOTHING
from heapwright.trace.process import stored as process_stored
from heapwright.trace.schema import COLUMNS, NEW, POP, REFER, STEER, TOUCH, Events
from heapwright.trace.stacks import checked, stored

if TYPE_CHECKING:
    from heapwright.trace.gc_log import GcLog


class TraceWriter:
    """Write a trace: `with TraceWriter(path, program="lua") as out: out.write(events)`.

    The file is written beside `path` and renamed when the block ends without an exception;
    otherwise nothing is left. Counts, peaks and the number of slots and threads are found while
    writing; HeapwrightError when an event is not sound or the disk refuses.

    sites, stacks (parents and frames of the tree whose nodes the events' sites are; `sites` then
    names its frames), names (what the rows of `sites` are called, as far as that was looked up; or
    none), arenas (rows of `arenas.py`), doors (of a kernel's trace: `doors.py`), collections (of
    the JVM that ran: `gc_log.py`), unmatched_frees, and of `facts` modules, notes (`note`), origin,
    settings, python and heap_start may be set until the block ends
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        program: str,
        kind: str = "recording",
        heap_start: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        assert kind in KINDS
        self.path = Path(path)
        self.facts = Facts(program=program, kind=kind, heap_start=heap_start)
        for text in notes:
            self.note(text)
        self.sites: list[str] = []
        self.names: list[str] = []
        self.process = NOTHING  # what the whole process had in memory
        self.arenas: Sequence[tuple[int, int, int]] = ()
        self.doors: Sequence[doors.Door] = ()
        self.collections: GcLog | None = None  # of the JVM that ran
        self.stacks: tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray] = ((), ())
        self._beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._stages = (_stage(), _stage())  # one is filled while the other is encoded
        self._pending_events = 0
        self._live = np.zeros(1 << 10, np.uint8)
        self._books: graph_audit.Books | None = None  # of a graph trace
        self._sizes = np.zeros(1 << 10, np.int64)
        self._written = np.zeros(1 << 10, np.int64)
        self._totals = np.zeros(audit.TOTALS, np.int64)
        self._sink: Any = None
        self._writer: Any = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="heapwright-write")
        self._encoding: Future[None] | None = None  # the row group that is being written

    @property
    def unmatched_frees(self) -> int:
        """Frees left out because their object was never seen allocated."""
        return self.facts.unmatched_frees

    @unmatched_frees.setter
    def unmatched_frees(self, count: int) -> None:
        self.facts.unmatched_frees = int(count)

    def note(self, text: str, kind: str = "note", cases: int = 0) -> None:
        """Keep a sentence with the trace: an assumption, a loss; see `notes.Note`."""
        self.facts.notes.append(Note(text, kind, cases))

    def __enter__(self) -> "TraceWriter":
        if self.path.exists() and not self.path.is_file():
            raise HeapwrightError(f"{self.path} is not a regular file: give another output path")
        with self._disk():
            self._sink = pa.OSFile(str(self._beside), "wb")
            self._writer = pq.ParquetWriter(
                self._sink,
                SCHEMA,
                compression=COMPRESSION,
                compression_level=ZSTD_LEVEL,
                use_dictionary=DICTIONARY,
                column_encoding=ENCODING,
                dictionary_pagesize_limit=1 << 21,
                write_statistics=False,
                write_page_checksum=True,
                store_schema=False,
            )
        return self

    def write(self, events: Events) -> None:
        """Append `events`; columns of length 0 are filled with the value that means unknown."""
        for column, name in zip(events, COLUMNS, strict=True):
            if len(column) != len(events.op) and (len(column) or name not in OPTIONAL):
                raise ValueError(f"column {name} has {len(column)} rows, op has {len(events.op)}")
        start = 0
        while start < len(events.op):
            room = min(len(events.op) - start, ROW_GROUP_EVENTS - self._pending_events)
            at = self._pending_events
            for column, name, stage in zip(events, COLUMNS, self._stages[0], strict=True):
                given = column[start : start + room] if len(column) else OPTIONAL[name]
                stage[at : at + room] = given
            self._pending_events += room
            start += room
            if self._pending_events == ROW_GROUP_EVENTS:
                self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._wait()
                footer = self._footer()
                with self._disk():
                    self._writer.add_key_value_metadata(footer)
                    self._writer.close()
                    self._sink.close()
                    os.replace(self._beside, self.path)
        finally:
            self._pool.shutdown()
            with contextlib.suppress(*ARROW_ERRORS):
                self._writer.close()
            with contextlib.suppress(*ARROW_ERRORS):
                self._sink.close()
            self._beside.unlink(missing_ok=True)

    def _footer(self) -> dict[bytes, bytes]:
        """What stands beside the columns."""
        try:
            tree = checked(self.stacks, len(self.sites))
        except ValueError as error:
            raise HeapwrightError(f"cannot write {self.path}: {error}") from None
        self.facts.stack_nodes = len(tree.parent)
        self.facts.arenas = len(self.arenas)
        kept = {FACTS_KEY: to_json(self.facts), SITES_KEY: json.dumps(self.sites).encode()}
        if any(self.names):
            kept[NAMES_KEY] = json.dumps(self.names).encode()
        if len(self.process.samples):
            kept[PROCESS_KEY] = process_stored(self.process)
        if self.arenas:
            kept[ARENAS_KEY] = arenas.stored(np.array(self.arenas, np.int64))
        if self.doors:
            kept[DOORS_KEY] = doors.stored(self.doors)
        if self.collections:
            from heapwright.trace.gc_log import stored as log_stored

            kept[COLLECTIONS_KEY] = log_stored(self.collections)
        return kept | ({STACKS_KEY: stored(tree)} if len(tree.parent) else {})

    def _flush(self) -> None:
        """Audit and count what is pending, and begin to write it as one row group."""
        if not self._pending_events:
            return
        batch = Events(*(column[: self._pending_events] for column in self._stages[0]))
        self._pending_events = 0
        facts = self.facts
        facts.slots = self._dense(batch.slot, facts.slots, "slot")
        facts.threads = self._dense(batch.thread, facts.threads, "thread")
        if facts.slots > len(self._live):
            self._live = np.concatenate([self._live, np.zeros(facts.slots, np.uint8)])
            self._sizes = np.concatenate([self._sizes, np.zeros(facts.slots, np.int64)])
            self._written = np.concatenate([self._written, np.zeros(facts.slots, np.int64)])
        if facts.events == 0 and (NEW <= batch.op[0] <= POP or batch.op[0] == STEER):
            self._books = graph_audit.books(facts.slots, len(batch.op))
        if self._books:
            self._books = graph_audit.enlarged(self._books, facts.slots, len(batch.op))
        fault = audit.first_unsound(batch, self._live, facts.slots, facts.threads, self._books)
        if fault:
            raise self._refused(*fault)
        audit.tally(batch, self._sizes, self._written, self._totals)
        if self._totals[audit.BEYOND]:
            beyond = "a touch of more than its object has, in it or in one of the next"
            raise self._refused(int((batch.op == TOUCH).argmax()), beyond)
        facts.events += len(batch.op)
        facts.peak_live_bytes, facts.peak_live_objects = (
            int(self._totals[row]) for row in (audit.PEAK_BYTES, audit.PEAK_OBJECTS)
        )
        facts.allocations, facts.reallocations, facts.frees, facts.refused = (
            int(self._totals[row])
            for row in (audit.ALLOCATIONS, audit.REALLOCATIONS, audit.FREES, audit.REFUSED)
        )
        facts.peak_written_bytes = int(self._totals[audit.PEAK_WRITTEN])
        facts.touches = int(self._totals[audit.TOUCHES])
        if self._books:
            facts.graph_events += int((batch.op >= NEW).sum())
            facts.references += int((batch.op == REFER).sum())
            facts.peak_roots = int(self._books.counts[graph_audit.PEAK_ROOTS])
        for name, unknown in OPTIONAL.items():
            if name not in facts.columns and (getattr(batch, name) != unknown).any():
                facts.columns.append(name)
        self._wait()
        self._stages = (self._stages[1], self._stages[0])
        self._encoding = self._pool.submit(
            self._writer.write_table, _table(batch), ROW_GROUP_EVENTS
        )

    def _dense(self, numbers: np.ndarray, before: int, what: str) -> int:
        """How many numbers are in use now; each new one must be the next, or nearly.

        A number far past the count of events would make every replay reserve memory for nothing.
        Somewhat past is no fault: events that numbered a thread may have been left out since.
        """
        highest = int(numbers.max())
        if highest >= self.facts.events + len(numbers) + NUMBERS_SPARE:
            raise self._refused(int(numbers.argmax()), f"{what} {highest}, which is not dense")
        return max(before, highest + 1)

    def _refused(self, row: int, what: str) -> HeapwrightError:
        return HeapwrightError(
            f"cannot write {self.path}: event {self.facts.events + row} has {what}"
        )

    def _wait(self) -> None:
        """For the row group being written; raises what became of it."""
        if self._encoding:
            with self._disk():
                self._encoding.result()

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except ARROW_ERRORS as error:
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number else first_line(error)
            raise HeapwrightError(
                f"cannot write {self.path}: {reason}; give another output path or make room"
            ) from None


def _stage() -> Events:
    """Room for a row group; no memory is taken before it is filled."""
    return Events(*(np.empty(ROW_GROUP_EVENTS, dtype) for dtype in COLUMNS.values()))


def _table(batch: Events) -> pa.Table:
    """The events as Arrow sees them, in the same memory.

    Not by `pa.array`, which imports pandas where that is installed: 40 MB and half a second.
    """
    columns = [
        pa.Array.from_buffers(item.type, len(column), [None, pa.py_buffer(column)])
        for item, column in zip(SCHEMA, batch, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
