"""The trace file: one Parquet file that any reader opens, streamed both ways.

    write(events) ─► row group of 256 Ki events ─► beside PATH ─close─► facts in the footer, renamed
    batches()     ◄─ audited ◄─ decoded ahead in a thread ◄─ row group

Columns    those of `schema.COLUMNS`, none nullable; what is unknown holds `facts.OPTIONAL`'s value
Metadata   `heapwright` (facts, JSON), `heapwright.sites` (JSON list: a label, or `file+0xoffset`),
           `heapwright.stacks` (see `stacks.py`): then a site is a node of the tree of call stacks
           and the list names its frames; `heapwright.names` (JSON list): what its rows are called;
           `heapwright.arenas` (see `arenas.py`); `heapwright.collections` (see `gc_log.py`)
Sound      each page carries a checksum; on reading every event is audited again (`trace/audit.py`),
           so that a replay may index by slot and thread unchecked whoever made the file
"""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heapwright.errors import HeapwrightError
from heapwright.trace import arenas, audit, graph_audit
from heapwright.trace.doors import Door
from heapwright.trace.doors import loaded as loaded_doors
from heapwright.trace.facts import OPTIONAL, Facts, from_json
from heapwright.trace.layout import (
    ARENAS_KEY,
    ARROW_ERRORS,
    COLLECTIONS_KEY,
    DOORS_KEY,
    FACTS_KEY,
    FOOTER_BYTES,
    NAMES_KEY,
    OLDER_SCHEMAS,
    PROCESS_KEY,
    ROW_GROUP_LIMIT,
    SCHEMA,
    SITES_KEY,
    STACKS_KEY,
    first_line,
)
from heapwright.trace.process import Process, parsed
from heapwright.trace.schema import COLUMNS, Events
from heapwright.trace.sites import labels
from heapwright.trace.stacks import Stacks, askers, loaded
from heapwright.trace.writer import TraceWriter

if TYPE_CHECKING:
    from heapwright.trace.gc_log import GcLog

__all__ = ["Trace", "TraceWriter"]

_NOTHING = Events(*(np.empty(0, dtype) for dtype in COLUMNS.values()))


@dataclass(kw_only=True)
class Trace(Facts):
    """A trace file whose footer was read and checked; `batches` streams its events."""

    path: Path
    size_bytes_on_disk: int
    _sites: bytes = field(repr=False)
    _stacks: bytes = field(default=b"", repr=False)
    _arenas: bytes = field(default=b"", repr=False)
    _doors: bytes = field(default=b"[]", repr=False)
    _names: bytes = field(default=b"[]", repr=False)
    _frames: list[str] | None = field(default=None, repr=False, compare=False)
    _process: bytes = field(default=b"", repr=False)
    _collections: bytes = field(default=b"", repr=False)
    _labels: list[str] | None = field(default=None, repr=False, compare=False)
    _tree: Stacks | None = field(default=None, repr=False, compare=False)

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
        except ARROW_ERRORS as error:
            raise _damaged(path, f"its footer cannot be read ({first_line(error)})") from None
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
        schema = schema.remove_metadata()
        if schema not in (SCHEMA, *OLDER_SCHEMAS) or not set(known["columns"]) <= set(schema.names):
            raise _damaged(path, "its columns are not those of a trace")
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if sum(rows) != known["events"] or any(not 0 < n <= ROW_GROUP_LIMIT for n in rows):
            raise _damaged(path, "its row groups do not hold the events its facts count")
        return cls(
            path=path,
            size_bytes_on_disk=size,
            _sites=stored.get(SITES_KEY, b"[]"),
            _stacks=stored.get(STACKS_KEY, b""),
            _arenas=stored.get(ARENAS_KEY, b""),
            _doors=stored.get(DOORS_KEY, b"[]"),
            _names=stored.get(NAMES_KEY, b"[]"),
            _process=stored.get(PROCESS_KEY, b""),
            _collections=stored.get(COLLECTIONS_KEY, b""),
            **known,
        )

    def batches(
        self,
        columns: Sequence[str] = ("op", "slot", "size", "align", "thread"),
        rows: tuple[int, int] | None = None,
    ) -> Iterator[Events]:
        """Stream the events [rows[0], rows[1]), by default all, a row group at a time.

        Yields `Events` of at most ROW_GROUP_LIMIT rows; a column that was not asked for, or that
        is constant in this trace, has length 0; but `field` and `target` of a graph trace are there
        whenever asked for. The next row group is decoded in a thread meanwhile, so about two of
        them are in memory (4 MB each by default).

        HeapwrightError, naming file and event, for a damaged page and for an event that is not
        sound. Ranges are always checked. That a freed slot was live and a filled one dead is
        checked when `op` and `slot` are asked for from row 0 on; from a later row on the past is
        unknown. What was yielded before an error was sound.
        """
        first, past = rows or (0, self.events)
        wanted = [c for c in COLUMNS if c in columns and (c not in OPTIONAL or c in self.columns)]
        followed = {"op", "slot"} <= set(wanted) and first == 0
        filled = {c for c in ("field", "target") if self.graph and c in columns} - {*self.columns}
        live, books = np.zeros(self.slots if followed and not self.graph else 0, np.uint8), None
        if self.graph:
            books = graph_audit.books(self.slots, self.peak_roots, followed=followed)
        with (
            _reader(self.path) as file,
            ThreadPoolExecutor(1, thread_name_prefix="heapwright-read") as pool,
        ):
            starts = np.cumsum([0, *(g.num_rows for g in _row_groups(file))]).tolist()
            groups = [
                g for g in range(len(starts) - 1) if starts[g + 1] > first and starts[g] < past
            ]

            def load(group: int) -> Events:
                batch = self._decode(file, group, starts[group], wanted)
                batch = batch._replace(
                    **{c: np.full(len(batch.op), OPTIONAL[c], COLUMNS[c]) for c in filled}
                )
                fault = audit.first_unsound(batch, live, self.slots, self.threads, books)
                if not fault and len(batch.field) and not self.graph:
                    fault = _beyond(batch.field, len(self.doors()))
                if fault:
                    row = starts[group] + fault[0]
                    raise _damaged(self.path, f"event {row} has {fault[1]}")
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

    def process(self) -> Process:
        """What the recorded process had in memory as a whole; no rows where that is not known."""
        try:
            return parsed(self._process)
        except ValueError as error:
            told = f"what the process had in memory cannot be read ({first_line(error)})"
            raise _damaged(self.path, told) from None

    def collections(self) -> "GcLog | None":
        """What the JVM that ran logged of its collections; None where that is not known."""
        from heapwright.trace.gc_log import loaded as log_loaded

        if not self._collections:
            return None
        try:
            return log_loaded(self._collections, str(self.path))
        except ValueError as error:
            told = f"the collections of its JVM cannot be read ({first_line(error)})"
            raise _damaged(self.path, told) from None

    def _repr_html_(self) -> str:
        from heapwright.cells import facts

        known = {
            name: getattr(self, name)
            for name in ("kind", "events", "threads", "peak_live_bytes", "peak_live_objects")
        }
        return facts(f"{self.program}: {self.path}", known, self.notes)

    def sites(self) -> list[str]:
        """A label for each call site, such as `parse_value (json.c:120)`.

        Of a trace with stacks it is the innermost frame that is not an allocator's wrapper, of a
        Python program's the innermost line of Python. Names are looked up when first asked for, in
        the files of this machine; what is not found stays `libfoo.so+0x1234`.
        """
        if self._labels is None:
            frames = self.frames()
            self._labels = frames
            if self.stack_nodes:
                native = [name.startswith(("/", "0x")) for name in self._stored_names()]
                over = np.array(native, bool) if self.python else None
                self._labels = askers(self.stacks(), frames, over)
        return self._labels

    def stack(self, site: int) -> list[str]:
        """The labels of a call site's frames, outermost first; empty for an unknown site."""
        if not self.stack_nodes:
            return self.frames()[site : site + 1] if site >= 0 else []
        frames, tree, found = self.frames(), self.stacks(), []
        node = site if 0 <= site < self.stack_nodes else -1
        while node >= 0:
            found += reversed(frames[tree.frame[node]].split("\n"))
            node = int(tree.parent[node])
        return found[::-1]

    def stacks(self) -> Stacks:
        """The tree of call stacks; without any each site is a node that nobody called."""
        if self._tree is None:
            names = len(self.frames())
            if not self.stack_nodes:
                return Stacks(np.full(names, -1, np.int32), np.arange(names, dtype=np.int32))
            try:
                self._tree = loaded(self._stacks, self.stack_nodes, names)
            except ValueError as error:
                raise _damaged(self.path, str(error)) from None
        return self._tree

    @property
    def of_kernel(self) -> bool:
        """Whether it tells what a kernel asked of its own allocators."""
        return self._doors != b"[]"

    def doors(self) -> list[Door]:
        """By which doors a kernel's requests came: an event's `field` - 1 is a row; else none."""
        try:
            return loaded_doors(self._doors)
        except ValueError as error:
            raise _damaged(self.path, first_line(error)) from None

    def arena_changes(self) -> np.ndarray:
        """int64[row, 3]: event, base and bytes of arenas that the recorded Python's own allocator
        made, or with negative bytes gave back."""
        if not self.arenas:
            return np.zeros((0, 3), np.int64)
        try:
            return arenas.loaded(self._arenas, self.arenas, self.events)
        except ValueError as error:
            raise _damaged(self.path, str(error)) from None

    def frames(self) -> list[str]:
        """A label for each row of the table of frames, which without stacks are the sites.

        Functions that were inlined into a frame stand in lines of their own, the outermost first.
        """
        if self._frames is None:
            stored, names = self._stored_names(), _texts(self._names)
            if names is None or (names and len(names) != len(stored)):
                raise _damaged(self.path, "its table of call sites cannot be read")
            self._frames = labels(stored, self.modules, names, inlined=self.stack_nodes > 0)
        return self._frames

    def _stored_names(self) -> list[str]:
        """The table of frames as it is stored; HeapwrightError when it is none."""
        found = _texts(self._sites)
        if found is None:
            raise _damaged(self.path, "its table of call sites cannot be read")
        return found

    def _decode(self, file: pq.ParquetFile, group: int, start: int, wanted: list[str]) -> Events:
        """Row group `group`, whose first event is row `start` of the trace."""
        try:
            table = file.read_row_group(group, columns=wanted, use_threads=True)
            batch = _NOTHING._replace(**{name: _array(table.column(name), name) for name in wanted})
        except ARROW_ERRORS as error:
            raise _damaged(
                self.path, f"its events from row {start} on cannot be decoded ({first_line(error)})"
            ) from None
        return batch


def _beyond(field: np.ndarray, doors: int) -> tuple[int, str] | None:
    """The first row of an event that came by a door which the table lacks; None."""
    rows = np.flatnonzero(field > doors)
    return (int(rows[0]), "a door out of range") if len(rows) else None


def _texts(stored: bytes) -> list[str] | None:
    """The texts of a JSON list; None of what is none."""
    try:
        found = json.loads(stored)
    except ValueError:
        return None
    sound = isinstance(found, list) and all(isinstance(text, str) for text in found)
    return found if sound else None


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
        from heapwright.trace.importers.sums import told  # of no use to who opens a trace

        if sentence := told(path):
            raise HeapwrightError(sentence)
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
    except ARROW_ERRORS as error:
        raise _damaged(path, f"it cannot be opened ({first_line(error)})") from None
    with file:
        yield file


def _row_groups(file: pq.ParquetFile) -> list[Any]:
    return [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]


def _damaged(path: Path, what: str) -> HeapwrightError:
    return HeapwrightError(f"{path} is damaged: {what}; copy or record it again")
