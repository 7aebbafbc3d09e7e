"""Tables of events, CSV or Parquet, columns named as ours or mapped: `--map op=kind,size=n`.

    op       malloc, calloc, realloc, memalign, free, thread_exit (or alloc, new, delete, ...)
    object   what names the block: its address, or any number that is its own while it lives
    slot     instead of object: the dense numbering of a trace, taken over as it is
    old      of a realloc: the object it had before; without this column it keeps its name
    size     bytes                                  thread   any number
    align    bytes, 0 for none; of memalign alone   site     text
    time_ns, address, slack, field, target          as in a trace; only with slot

op, size and one of object and slot are needed. An object of 0 is a refused request or free(NULL).
A CSV's columns are parted by commas, semicolons or tabs.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import lines as at
from heapwright.trace.importers.isolation import isolated
from heapwright.trace.importers.source import Source, open_source
from heapwright.trace.importers.text import Reading, write
from heapwright.trace.layout import first_line
from heapwright.trace.notes import Note, exported
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MEMALIGN,
    NEW,
    OPERATIONS,
    REALLOC,
    THREAD_EXIT,
    Events,
    events,
)

TITLE = "tables (CSV or Parquet) with columns op, size and object or slot"
NEEDED = ("op", "size")
FIELDS = ("op", "object", "slot", "old", "size", "align", "thread", "site")
VERBATIM = ("time_ns", "address", "slack", "field", "target")  # taken only with slot
BLOCK_BYTES = 1 << 22  # of CSV at once
BATCH_ROWS = 1 << 16
COLUMNS_LIMIT = 1000
NARROW = 1 << 31  # of columns that a trace keeps in four bytes
GROUP_BYTES = 1 << 28  # of one row group as its footer tells: more is refused
BLANKS = [" " * count for count in range(1, 9)]  # of a cell, longer ones are refused as numbers
SITES = 1 << 16
LABEL_BYTES = 400
WORDS = {name: number for number, name in enumerate(OPERATIONS)} | {
    "alloc": MALLOC, "allocate": MALLOC, "a": MALLOC, "m": MALLOC, "new": MALLOC, "+": MALLOC,
    "c": CALLOC, "r": REALLOC, "reallocate": REALLOC, "aligned_alloc": MEMALIGN,
    "posix_memalign": MEMALIGN, "f": FREE, "dealloc": FREE, "deallocate": FREE, "delete": FREE,
    "d": FREE, "-": FREE, "thread_done": THREAD_EXIT,
}  # fmt: skip
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


def recognises(head: bytes, path: Path) -> bool:
    """The first line names the columns of a table of events."""
    names = [name.strip().lower() for name in _names_in(_header(head))]
    return set(NEEDED).issubset(names) and bool({"slot", "object"} & set(names))


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of the table `path` to `output`, whose columns bear our names."""
    import_table(path, output, {}, advance)


def import_table(
    path: Path, output: Path, columns: Mapping[str, str], advance: Callable[[float], None]
) -> None:
    """The same with `columns`: the table's name of each of ours that it calls otherwise."""
    with open_source(path) as source:
        is_parquet = source.parquet is not None
    if is_parquet:  # a damaged one can end Arrow's reader with a C++ exception that none catches
        isolated(__name__, path, output, advance, json.dumps(dict(columns)))
    else:
        convert(path, output, advance, json.dumps(dict(columns)))


def convert(path: Path, output: Path, advance: Callable[[float], None], columns: str) -> None:
    """The same in this process; `columns` as JSON."""
    write(path, output, lambda source: reading(source, json.loads(columns)), advance)


def parse_map(text: str) -> dict[str, str]:
    """`op=kind,size=bytes` as a dictionary; HeapwrightError for another form."""
    columns = {}
    for part in text.split(","):
        field, equals, name = part.partition("=")
        if not equals or field.strip() not in (*FIELDS, *VERBATIM) or not name:
            raise HeapwrightError(
                f"--map {part!r}: write FIELD=COLUMN,..., where FIELD is one of "
                f"{', '.join((*FIELDS, *VERBATIM))}"
            )
        columns[field.strip()] = name
    return columns


def reading(source: Source, columns: Mapping[str, str] | None = None) -> "Table":
    """The events of `source`."""
    return Table(source, columns or {})


class Table(Reading):
    """Reads batches of rows; those without slots go through the matcher."""

    def __init__(self, source: Source, columns: Mapping[str, str]) -> None:
        super().__init__(source, at.take_rows)
        self._columns = columns
        self._labels: list[str] = []
        self._site_of: dict[str, int] = {}
        self._row = 0
        self._empty = dict.fromkeys(("object", "size", "align", "thread"), 0)  # cells, of those
        self._unaligned = self._without_site = self._long_labels = 0

    def notes(self) -> list[str]:
        """As of every recording, and which cells were not taken as they are."""
        told = [(f"empty cells of {name}, taken for 0", n) for name, n in self._empty.items()]
        told += [
            ("alignments of requests that are no memalign, left out", self._unaligned),
            (f"events of sites past the first {SITES:,}, which have none", self._without_site),
            (f"names of sites cut to {LABEL_BYTES} characters", self._long_labels),
        ]
        table = self.source.parquet  # perhaps one that was exported
        kept = exported(pq.read_schema(table).metadata) if table is not None else []
        own = [Note(f"{what}: {count:,}", cases=count) for what, count in told if count]
        return [*kept, *super().notes(), *own]

    def labels(self) -> list[str]:
        """The site table."""
        return self._labels

    def events(self) -> Iterator[Events]:
        """The events, a batch at a time; HeapwrightError names the row that cannot be read."""
        try:
            for batch in self._batches():
                names = self._named(batch.schema.names)
                made = {field: batch.column(name) for field, name in names.items()}
                if len(batch):
                    yield from self._verbatim(made) if "slot" in made else self._matched(made)
                self._row += len(batch)
        except _ARROW_ERRORS as error:
            raise self._unreadable(first_line(error)) from None

    def _batches(self) -> Iterator[pa.RecordBatch]:
        path, parquet = self.source.path, self.source.parquet
        if parquet is not None:
            with pq.ParquetFile(parquet) as file:
                if file.metadata.num_columns > COLUMNS_LIMIT:
                    raise HeapwrightError(f"{path} has more than {COLUMNS_LIMIT} columns")
                names = self._named(file.schema_arrow.names)
                for group in range(file.metadata.num_row_groups):
                    taken = file.metadata.row_group(group)
                    told = [taken.column(i) for i in range(taken.num_columns)]
                    size = sum(
                        c.total_uncompressed_size
                        for c in told
                        if c.path_in_schema in names.values()
                    )
                    if size > GROUP_BYTES or taken.num_rows > GROUP_BYTES:
                        raise self._unreadable(f"a row group is larger than {GROUP_BYTES:,} bytes")
                yield from file.iter_batches(BATCH_ROWS, columns=sorted(set(names.values())))
            return
        options = csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False)
        stream = pa.PythonFile(_Readable(self.source), "r")
        head = self.source.peek(at.LINE_BYTES)
        header = _names_in(_header(head))
        delimiter = _delimiter(_header(head))
        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=False)
        if len(header) > COLUMNS_LIMIT:
            raise HeapwrightError(f"{path} has more than {COLUMNS_LIMIT} columns")
        names = self._named(header)
        types = {
            names[field]: pa.string() if field in ("op", "site") else pa.int64()
            for field in names
            if field not in ("object", "old", "address")
        }
        types |= {names[f]: pa.string() for f in ("object", "old", "address") if f in names}
        convert = csv.ConvertOptions(
            column_types=types,
            include_columns=sorted(set(names.values())),
            strings_can_be_null=True,
            null_values=[*csv.ConvertOptions().null_values, *BLANKS],
        )
        yield from csv.open_csv(stream, options, parse, convert)

    def _named(self, present: list[str]) -> dict[str, str]:
        """The table's column for each field that it has."""
        stripped = {name.strip(): name for name in reversed(present)}
        by_lower = {name.strip().lower(): name for name in reversed(present)}
        names = {}
        for field in (*FIELDS, *VERBATIM):
            if field in self._columns:
                wanted = self._columns[field]
                if wanted not in present and wanted.strip() not in stripped:
                    raise self._unreadable(
                        f"it has no column {wanted!r} (--map {field}=...), only "
                        f"{', '.join(present[:20])}"
                    )
                names[field] = wanted if wanted in present else stripped[wanted.strip()]
            elif field in by_lower:
                names[field] = by_lower[field]
        if "object" in self._columns:
            names.pop("slot", None)
        if "slot" in names:
            names.pop("object", None)
            names.pop("old", None)
        else:
            for field in VERBATIM:
                names.pop(field, None)
        missing = [field for field in NEEDED if field not in names]
        if not {"slot", "object"} & set(names):
            missing.append("object")
        if missing:
            raise self._unreadable(
                f"it has no column for {' and '.join(missing)}: name it with "
                f"--map {','.join(field + '=COLUMN' for field in missing)}"
            )
        return names

    def _verbatim(self, columns: Mapping[str, pa.Array]) -> Iterator[Events]:
        """A batch whose slots are those of a trace."""
        made = {
            name: self._integers(columns, name) for name in ("slot", "size", *VERBATIM, "thread")
        }
        found = {name: column for name, column in made.items() if column is not None}
        for name, column in found.items():
            wrong = column < -1
            if name not in ("size", "time_ns", "address"):
                wrong |= column >= NARROW
            if wrong.any():
                raise self._unreadable(f"a {name} is out of range", int(wrong.argmax()))
        found["op"], found["site"] = self._operations(columns), self._sites(columns)
        if "align" in columns:
            found["align"] = self._log2_alignments(columns, found["op"])
        yield events(**found)

    def _log2_alignments(self, columns: Mapping[str, pa.Array], op: np.ndarray) -> np.ndarray:
        """uint8 log2 of each memalign's alignment, rounded up as memalign does."""
        align = self._alignments(columns, op)
        rounded = (align & (align - 1)) != 0
        self.counts[at.ROUNDED_ALIGNS] += np.count_nonzero(rounded)
        beyond = align > 1 << at.ALIGN_LOG2_LIMIT - 1
        if beyond.any():
            raise self._unreadable("an align is out of range", int(beyond.argmax()))
        return np.ceil(np.log2(np.maximum(align, 1).astype(np.float64))).astype(np.uint8)

    def _alignments(self, columns: Mapping[str, pa.Array], op: np.ndarray) -> np.ndarray:
        """int64 alignments in bytes, 0 where none may stand."""
        align = self._integers(columns, "align", count=op == MEMALIGN)
        if align is None:
            return np.zeros(len(op), np.int64)
        if align.min() < 0:
            raise self._unreadable("an align is out of range", int(align.argmin()))
        others = (op != MEMALIGN) & (align > 1)
        self._unaligned += int(np.count_nonzero(others))
        return np.where(op == MEMALIGN, align, 0)

    def _matched(self, columns: Mapping[str, pa.Array]) -> Iterator[Events]:
        """A batch whose objects are named by addresses or the like."""
        op = self._operations(columns)
        if (op > THREAD_EXIT).any():
            row = int((op > THREAD_EXIT).argmax())
            raise self._unreadable(f"{OPERATIONS[op[row]]!r} needs a table with slots", row)
        size = self._integers(columns, "size", count=(op != FREE) & (op != THREAD_EXIT))
        address = self._integers(columns, "object", count=op != THREAD_EXIT)
        assert size is not None and address is not None
        old = self._integers(columns, "old")
        nothing = np.zeros(len(op), np.int64)
        rows = np.stack(
            [
                op.astype(np.int64),
                address,
                np.where(op == REALLOC, address if old is None else old, 0),
                np.where(op == FREE, 0, size),
                self._alignments(columns, op),
                _or(self._integers(columns, "thread", count=np.full(len(op), True)), nothing),
                self._sites(columns),
            ]
        )
        self._own, self.counts[at.AT] = rows, 0
        yield from self._scanned(np.zeros(0, np.uint8))

    def _operations(self, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """uint8 operations of the batch."""
        column = columns["op"]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_integer(column.type):
            numbers = self._integers(columns, "op")
            assert numbers is not None
        else:
            words = pc.dictionary_encode(pc.utf8_lower(pc.utf8_trim_whitespace(column)))
            if len(words.dictionary) > 4 * len(WORDS) or words.null_count:
                raise self._unreadable("an operation is missing or unknown")
            meant = WORDS | {"new": NEW} if "field" in columns else WORDS  # a graph's, not C++'s
            known = [meant.get(word, -1) for word in words.dictionary.to_pylist()]
            numbers = np.array([*known, -1], np.int64)[words.indices.to_numpy()]
        wrong = (numbers < 0) | (numbers >= len(OPERATIONS))
        if wrong.any():
            row = int(wrong.argmax())
            raise self._unreadable(f"{column[row].as_py()!r} is no operation", row)
        return numbers.astype(np.uint8)

    def _integers(
        self, columns: Mapping[str, pa.Array], field: str, count: np.ndarray | None = None
    ) -> np.ndarray | None:
        """int64 of a column, 0 (a slot: -1) where nothing stands; None for no such column.

        Empty cells are counted in the rows of `count`.
        """
        if field not in columns:
            return None
        column = columns[field]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.utf8_trim_whitespace(column)
            column = pc.if_else(pc.equal(column, ""), None, column)
            column = pc.if_else(pc.is_in(column, pa.array(["(nil)", "nil", "null"])), "0", column)
        if count is not None and column.null_count:
            empty = pc.is_null(column).to_numpy(zero_copy_only=False)
            self._empty[field] += int(np.count_nonzero(empty & count))
        filled = pc.fill_null(column.cast(pa.int64()), -1 if field == "slot" else 0)
        return filled.to_numpy(zero_copy_only=False).astype(np.int64)

    def _sites(self, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """int64 rows of the site table, -1 where nothing stands."""
        rows = len(columns["op"])
        if "site" not in columns:
            return np.full(rows, -1, np.int64)
        column = columns["site"]
        if not pa.types.is_dictionary(column.type):
            column = pc.dictionary_encode(column)
        numbers, full = [], []
        for label in column.dictionary.cast(pa.string()).to_pylist():
            text = (label or "").strip()[:LABEL_BYTES]
            self._long_labels += len(label or "") > LABEL_BYTES and text not in self._site_of
            if text and text not in self._site_of and len(self._labels) < SITES:
                self._site_of[text] = len(self._labels)
                self._labels.append(text)
            numbers.append(self._site_of.get(text, -1))
            full.append(bool(text) and numbers[-1] < 0)
        which = pc.fill_null(column.indices, len(numbers)).to_numpy(zero_copy_only=False)
        self._without_site += int(np.count_nonzero(np.array([*full, False])[which]))
        return np.array([*numbers, -1], np.int64)[which]

    def _fault(self, text: np.ndarray) -> None:
        fault = int(self.counts[at.FAULT])
        raise self._unreadable(f"it {self.said(fault)}", int(self.counts[at.AT]) - 1)

    def _unreadable(self, what: str, row: int | None = None) -> HeapwrightError:
        where = f"row {self._row + row + 1:,}" if row is not None else f"after row {self._row:,}"
        return HeapwrightError(f"{self.source.path}: {where}: {what}; mend the table")


class _Readable:
    """A Source as Arrow wants a Python file."""

    closed = False

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, count: int = -1) -> bytes:
        return self._source.read(BLOCK_BYTES if count < 0 else count)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _header(head: bytes) -> str:
    text = head.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    return text.partition("\n")[0].rstrip("\r")


def _delimiter(header: str) -> str:
    """What parts the columns: of comma, semicolon and tab the one that the header has most of."""
    return max(",;\t", key=header.count)


def _names_in(header: str) -> list[str]:
    """The names of the columns as Arrow will call them."""
    return [name.strip('"') for name in header.split(_delimiter(header))]


def _or(column: np.ndarray | None, otherwise: np.ndarray) -> np.ndarray:
    return otherwise if column is None else column
