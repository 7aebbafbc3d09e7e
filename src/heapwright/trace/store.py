"""The trace file: one Parquet file that any reader opens, streamed both ways.

    write(events) ─► row group of 1 Mi events ─► beside PATH ─close─► facts in the footer, renamed
    batches()     ◄─ audited ◄─ decoded ahead in a thread ◄─ row group

Columns    those of `schema.COLUMNS`, none nullable; what is unknown holds `facts.OPTIONAL`'s value
Metadata   `heapwright` (facts, JSON), `heapwright.sites` (JSON list: a label, or `file+0xoffset`)
Sound      each page carries a checksum; on reading every event is audited again (`trace/audit.py`),
           so that a replay may index by slot and thread unchecked whoever made the file
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heapwright.errors import HeapwrightError
from heapwright.trace import audit
from heapwright.trace.facts import KINDS, OPTIONAL, Facts, from_json, to_json
from heapwright.trace.recorder.sites import labels
from heapwright.trace.schema import COLUMNS, Events

ROW_GROUP_EVENTS = 1 << 20
ROW_GROUP_LIMIT = 1 << 22  # events; a row group that claims more is refused
FOOTER_BYTES = 1 << 26  # the longest footer that is read
FACTS_KEY, SITES_KEY = b"heapwright", b"heapwright.sites"
SCHEMA = pa.schema(
    [pa.field(name, pa.from_numpy_dtype(dtype), nullable=False) for name, dtype in COLUMNS.items()]
)
# Measured on recordings: what every replay reads is decoded in 0.5 (op), 1.3 (slot) and 1.5 ns
# (size) an event; zstd would make those three a fifth smaller and twice as slow.
ENCODING = {name: "BYTE_STREAM_SPLIT" for name in ("op", "slot", "address")}
DICTIONARY = [name for name in COLUMNS if name not in ENCODING]
COMPRESSION = {name: "lz4" if name in ("op", "slot", "size") else "zstd" for name in COLUMNS}
ZSTD_LEVEL = {name: 3 for name in COLUMNS if COMPRESSION[name] == "zstd"}
_NOTHING = Events(*(np.empty(0, dtype) for dtype in COLUMNS.values()))
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


@dataclass(kw_only=True)
class Trace(Facts):
    """A trace file whose footer was read and checked; `batches` streams its events."""

    path: Path
    size_bytes_on_disk: int
    _sites: bytes = field(repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read the footer of `path`; HeapwrightError when it is not a sound trace file."""
        path = Path(path)
        try:
            size = path.stat().st_size
            if not path.is_file():
                raise HeapwrightError(f"{path} is not a file: give the path of a trace")
            _check_footer(path, size)
        except OSError as error:
            raise HeapwrightError(f"cannot open the trace {path}: {error.strerror}") from None
        try:
            with pq.ParquetFile(path, memory_map=False) as file:
                metadata, schema = file.metadata, file.schema_arrow
        except _ARROW_ERRORS as error:
            raise _damaged(path, f"its footer cannot be read ({_first_line(error)})") from None
        stored = metadata.metadata or {}
        if FACTS_KEY not in stored:
            raise HeapwrightError(
                f"{path} is a Parquet file but not a trace: make one with `heapwright record` "
                "or `heapwright import`"
            )
        try:
            known = from_json(stored[FACTS_KEY])
        except ValueError as error:
            raise HeapwrightError(f"{path} cannot be read as a trace: {error}") from None
        if not schema.remove_metadata().equals(SCHEMA):
            raise _damaged(path, "its columns are not those of a trace")
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if sum(rows) != known["events"] or any(not 0 < n <= ROW_GROUP_LIMIT for n in rows):
            raise _damaged(path, "its row groups do not hold the events its facts count")
        sites = stored.get(SITES_KEY, b"[]")
        return cls(path=path, size_bytes_on_disk=size, _sites=sites, **known)

    def batches(
        self,
        columns: Sequence[str] = ("op", "slot", "size", "align", "thread"),
        rows: tuple[int, int] | None = None,
    ) -> Iterator[Events]:
        """Stream the events [rows[0], rows[1]), by default all, a row group at a time.

        Yields `Events` of at most ROW_GROUP_LIMIT rows; a column that was not asked for, or that
        is constant in this trace, has length 0. The next row group is decoded in a
        thread meanwhile, so about two of them are in memory (15 MB each by default).

        HeapwrightError, naming file and event, for a damaged page and for an event that is not
        sound. Ranges are always checked. That a freed slot was live and a filled one dead is
        checked when `op` and `slot` are asked for from row 0 on; from a later row on the past is
        unknown. What was yielded before an error was sound.
        """
        first, past = rows or (0, self.events)
        wanted = [c for c in COLUMNS if c in columns and (c not in OPTIONAL or c in self.columns)]
        followed = {"op", "slot"} <= set(wanted) and first == 0
        live = np.zeros(self.slots if followed else 0, np.uint8)
        with (
            _reader(self.path) as file,
            ThreadPoolExecutor(1, thread_name_prefix="heapwright-read") as pool,
        ):
            starts = np.cumsum([0, *(g.num_rows for g in _row_groups(file))]).tolist()
            groups = [g for g in range(len(starts) - 1) if starts[g + 1] > first and starts[g] < past]

            def load(group: int) -> Events:
                batch = self._decode(file, group, starts[group], wanted)
                self._audit(batch, starts[group], live)
                low, high = max(first - starts[group], 0), past - starts[group]
                if low == 0 and high >= len(batch.op):
                    return batch
                return Events(*(column[low:high] for column in batch))

            ahead = pool.submit(load, groups[0]) if groups else None
            for group in groups[1:]:
                assert ahead is not None
                batch, ahead = ahead.result(), pool.submit(load, group)
                yield batch
            if ahead is not None:
                yield ahead.result()

    def sites(self) -> list[str]:
        """A label for each row of the site table, such as `parse_value (json.c:120)`.

        Names are looked up when asked for, in the files of this machine; what is not found stays
        `libfoo.so+0x1234`.
        """
        try:
            stored = json.loads(self._sites)
        except ValueError:
            stored = None
        if not isinstance(stored, list) or not all(isinstance(label, str) for label in stored):
            raise _damaged(self.path, "its table of call sites cannot be read")
        return labels(stored, self.modules)

    def _decode(self, file: pq.ParquetFile, group: int, start: int, wanted: list[str]) -> Events:
        """Row group `group`, whose first event is row `start` of the trace."""
        try:
            table = file.read_row_group(group, columns=wanted, use_threads=True)
            batch = _NOTHING._replace(**{name: _array(table.column(name), name) for name in wanted})
        except _ARROW_ERRORS as error:
            raise _damaged(
                self.path, f"its events from row {start} on cannot be decoded ({_first_line(error)})"
            ) from None
        return batch

    def _audit(self, batch: Events, start: int, live: np.ndarray) -> None:
        """Raise for the first unsound event of `batch`."""
        fault = audit.first_unsound(batch, live, self.slots, self.threads)
        if fault:
            raise _damaged(self.path, f"event {start + fault[0]} has {fault[1]}")


class TraceWriter:
    """Write a trace: `with TraceWriter(path, program="lua") as out: out.write(events)`.

    The file is written beside `path` and renamed when the block ends without an exception;
    otherwise nothing is left. Counts, peaks and the number of slots and threads are found while
    writing; HeapwrightError when an event is not sound or the disk refuses.

    sites, modules, notes, heap_start, unmatched_frees   may be set until the block ends
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
        self.facts = Facts(program=program, kind=kind, heap_start=heap_start, notes=list(notes))
        self.sites: list[str] = []
        self._beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._pending: list[Events] = []
        self._pending_events = 0
        self._live = np.zeros(1 << 10, np.uint8)
        self._sizes = np.zeros(1 << 10, np.int64)
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
            self._pending.append(Events(*(column[start : start + room] for column in events)))
            self._pending_events += room
            start += room
            if self._pending_events == ROW_GROUP_EVENTS:
                self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._wait()
                with self._disk():
                    self._writer.add_key_value_metadata(
                        {FACTS_KEY: to_json(self.facts), SITES_KEY: json.dumps(self.sites).encode()}
                    )
                    self._writer.close()
                    self._sink.close()
                    os.replace(self._beside, self.path)
        finally:
            self._pool.shutdown()
            with contextlib.suppress(*_ARROW_ERRORS):
                self._writer.close()
            with contextlib.suppress(*_ARROW_ERRORS):
                self._sink.close()
            self._beside.unlink(missing_ok=True)

    def _flush(self) -> None:
        """Audit and count what is pending, and begin to write it as one row group."""
        if not self._pending_events:
            return
        batch = Events(*(self._whole(name) for name in COLUMNS))
        self._pending, self._pending_events = [], 0
        facts = self.facts
        facts.slots = self._dense(batch.slot, facts.slots, "slot")
        facts.threads = self._dense(batch.thread, facts.threads, "thread")
        if facts.slots > len(self._live):
            self._live = np.concatenate([self._live, np.zeros(facts.slots, np.uint8)])
            self._sizes = np.concatenate([self._sizes, np.zeros(facts.slots, np.int64)])
        fault = audit.first_unsound(batch, self._live, facts.slots, facts.threads)
        if fault:
            raise self._refused(*fault)
        audit.tally(batch, self._sizes, self._totals)
        facts.events += len(batch.op)
        facts.peak_live_bytes, facts.peak_live_objects = (
            int(self._totals[row]) for row in (audit.PEAK_BYTES, audit.PEAK_OBJECTS)
        )
        facts.allocations, facts.reallocations, facts.frees, facts.refused = (
            int(self._totals[row])
            for row in (audit.ALLOCATIONS, audit.REALLOCATIONS, audit.FREES, audit.REFUSED)
        )
        for name, unknown in OPTIONAL.items():
            if name not in facts.columns and (getattr(batch, name) != unknown).any():
                facts.columns.append(name)
        self._wait()
        self._encoding = self._pool.submit(
            self._writer.write_table, pa.table(list(batch), schema=SCHEMA), ROW_GROUP_EVENTS
        )

    def _dense(self, numbers: np.ndarray, before: int, what: str) -> int:
        """How many numbers are in use now; each new one must be the next, or nearly.

        A number past the count of events would make every replay reserve memory for nothing.
        """
        highest = int(numbers.max())
        if highest >= self.facts.events + len(numbers):
            raise self._refused(int(numbers.argmax()), f"{what} {highest}, which is not dense")
        return max(before, highest + 1)

    def _refused(self, row: int, what: str) -> HeapwrightError:
        return HeapwrightError(f"cannot write {self.path}: event {self.facts.events + row} has {what}")

    def _wait(self) -> None:
        """For the row group being written; raises what became of it."""
        if self._encoding:
            with self._disk():
                self._encoding.result()

    def _whole(self, name: str) -> np.ndarray:
        """Column `name` of the pending events, filled where it was left out."""
        dtype = COLUMNS[name]
        parts = [
            getattr(part, name)
            if len(getattr(part, name))
            else np.full(len(part.op), OPTIONAL.get(name, 0), dtype)
            for part in self._pending
        ]
        return np.ascontiguousarray(np.concatenate(parts), dtype)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except _ARROW_ERRORS as error:
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else _first_line(error)
            raise HeapwrightError(
                f"cannot write {self.path}: {reason}; give another output path or make room"
            ) from None


class _Decoded:
    """Lends the memory of a decoded column to NumPy.

    Arrow's own view is read-only, which Numba takes for another type: every kernel would be
    compiled once more. And making it imports pandas, where that is installed.
    """

    def __init__(self, chunk: pa.Array, dtype: np.dtype) -> None:
        if chunk.null_count:
            raise ValueError("a column has nulls")
        self.chunk = chunk
        self.__array_interface__ = {
            "version": 3,
            "typestr": dtype.str,
            "shape": (len(chunk),),
            "data": (chunk.buffers()[1].address + chunk.offset * dtype.itemsize, False),
        }


def _array(column: pa.ChunkedArray, name: str) -> np.ndarray:
    chunks = [np.asarray(_Decoded(chunk, np.dtype(COLUMNS[name]))) for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _check_footer(path: Path, size: int) -> None:
    """Refuse what is not Parquet, and a footer too long to read."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
    if size == 0:
        raise HeapwrightError(f"{path} is empty: it is no trace")
    if head != b"PAR1":
        raise HeapwrightError(
            f"{path} is not a trace: make one with `heapwright record`, or convert this file "
            "with `heapwright import`"
        )
    if size < 12 or tail[4:] != b"PAR1":
        raise _damaged(path, "it ends before its footer")
    if int.from_bytes(tail[:4], "little") > min(FOOTER_BYTES, size):
        raise _damaged(path, "its footer is longer than a trace's")


@contextlib.contextmanager
def _reader(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(path, memory_map=False, page_checksum_verification=True)
    except _ARROW_ERRORS as error:
        raise _damaged(path, f"it cannot be opened ({_first_line(error)})") from None
    with file:
        yield file


def _row_groups(file: pq.ParquetFile) -> list[Any]:
    return [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]


def _damaged(path: Path, what: str) -> HeapwrightError:
    return HeapwrightError(f"{path} is damaged: {what}; copy or record it again")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
