"""A table for other tools (importers/tabular.py): operations and call sites as words.

Of a trace's optional columns only those that say something are written. align is in bytes.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heapwright.trace.facts import OPTIONAL
from heapwright.trace.notes import NOTES_KEY, stored
from heapwright.trace.schema import COLUMNS, OPERATIONS
from heapwright.trace.store import Trace

SUMMARY = "a plain Parquet table: words for operations and call sites, every column"


def export(trace: Trace, file: BinaryIO, advance: Callable[[float], None]) -> list[str]:
    """Write the trace; its notes go into the file's metadata."""
    batches = tables(trace, advance)
    first = next(batches, None)
    if first is None:
        pq.write_table(pa.table({"op": pa.array([], pa.string())}), file)
        return ["the trace is empty"]
    schema = first.schema.with_metadata({NOTES_KEY: json.dumps(stored(trace.notes)).encode()})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in itertools.chain((first,), batches):
            writer.write_table(table.replace_schema_metadata(schema.metadata))
    return []


def tables(trace: Trace, advance: Callable[[float], None]) -> Iterator[pa.Table]:
    """The events as tables of Arrow, a row group at a time."""
    wanted = [name for name in COLUMNS if name not in OPTIONAL or name in trace.columns]
    if trace.of_kernel:  # numbers of doors that the table has no place for
        wanted.remove("field")
    words = pa.array(OPERATIONS)
    labels = pa.array(trace.sites() if "site" in wanted else [], pa.string())
    for batch in trace.batches(wanted):
        columns: dict[str, pa.Array] = {}
        for name in wanted:
            column = getattr(batch, name)
            if name == "op":
                columns[name] = pa.DictionaryArray.from_arrays(column.astype(np.int8), words)
            elif name == "site":
                known = (column >= 0) & (column < len(labels))
                columns[name] = pa.DictionaryArray.from_arrays(
                    pa.array(np.where(known, column, 0), mask=~known), labels
                )
            elif name == "align":
                bytes_ = np.int64(1) << column.astype(np.int64)
                columns[name] = pa.array(np.where(column > 0, bytes_, 0))
            else:
                columns[name] = pa.array(column)
        yield pa.table(columns)
        advance(len(batch.op))
