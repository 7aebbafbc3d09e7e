"""Comma-separated values, with the columns of `parquet_.py`."""

from collections.abc import Callable
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv

from heapwright.trace.exports.parquet_ import tables
from heapwright.trace.store import Trace

SUMMARY = "comma-separated values: words for operations and call sites, every column"


def export(trace: Trace, file: BinaryIO, advance: Callable[[float], None]) -> list[str]:
    """Write the trace; nothing is lost but its notes."""
    writer = None
    for table in tables(trace, advance):
        plain = pa.table(
            {
                name: column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
        )
        if writer is None:
            writer = csv.CSVWriter(file, plain.schema)
        writer.write_table(plain)
    if writer is None:
        file.write(b'"op","slot","size"\n')
    else:
        writer.close()
    return [f"a CSV table has no place for the trace's notes: {len(trace.notes)}"] * bool(
        trace.notes
    )
