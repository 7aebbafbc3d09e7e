"""How soon each column leaves a table that is too narrow: the highest rank goes first."""

import importlib
import pkgutil

import pytest

from heapwright import report
from heapwright.report.rows import Column

LEAVING = {
    "advice.ADVICE": "1: time, run | 2: gcs; mean, run; gcs, run | 3: mean | 4: faults | 5: time",
    "comparison.COLLECTORS": "2: survived | 3: median pause | 4: 99 % | "
    "6: pauses | 7: marked; copied | 8: swept | 9: promoted; barriers",
    "comparison.COMPARISON": "1: vs now | 2: garbage; in one event | 3: partial | "
    "4: mean; retained | 5: events | 6: rounding; faults | 7: cached | "
    "8: headers | 9: mapped peak | 10: at exit",
    "comparison.SPACE_TIME": "1: mark/cons",
    "diff.CHANGED": "1: now | 2: blocks",
    "kernel_frames.CACHES": "1: count; slabs",
    "kernel_frames.OWNERS": "1: of memory",
    "kernel_frames.ORDERS": "1: 1; 4; 7; 10 | 2: 2; 5; 8",
    "limits.LIMITS": "1: out | 2: in | 3: peak | 4: in swap | 5: working set | 8: tables",
    "maps_table.COLUMNS": "1: dirty",
    "processes.PROCESSES": "1: live | 2: objects | 3: partial | 4: retained | "
    "5: rounding | 6: cached | 7: headers | 8: mapped peak",
    "size_classes.COLUMNS": "1: on average; of live | 2: all requests; of asked",
    "sweep.BEST": "2: mean | 3: faults | 4: events | 5: at exit",
    "traces.LIFETIMES": "1: ",
    "traces.SIZES": "1:  | 2: ",
    "traces.TOPS": "1: age, events",
    "traces.STRANDED": "1: share | 2: objects; pages | 3: median age, events",
    "why.CYCLES": "1: at most",
    "why.STACKS": "1: blocks",
    "why.TIMELINE": "1: leak | 2: fragmented | 3: retained | 4: cached | 5: rounding | 6: garbage",
}


@pytest.mark.parametrize("table", LEAVING)
def test_columns_leave_in_this_order(table):
    module, _, name = table.partition(".")
    leaving: dict[int, list[str]] = {}
    for column in getattr(importlib.import_module(f"heapwright.report.{module}"), name):
        if column.rank:
            leaving.setdefault(column.rank, []).append(column.title.replace("\u00ad", ""))
    told = (f"{rank}: {'; '.join(titles)}" for rank, titles in sorted(leaving.items()))
    assert " | ".join(told) == LEAVING[table]


def test_every_table_with_columns_that_leave_is_here():
    found = set()
    for each in pkgutil.iter_modules(report.__path__, "heapwright.report."):
        for name, table in vars(importlib.import_module(each.name)).items():
            columns = table if isinstance(table, tuple) else ()
            if any(isinstance(column, Column) and column.rank for column in columns):
                found.add(f"{each.name.rpartition('.')[2]}.{name}")
    assert found == set(LEAVING)
