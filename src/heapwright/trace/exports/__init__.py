"""Traces written in formats of other tools.

A format is a module with these names, and one line in FORMATS:

    SUMMARY                                   one line for a person who chooses
    export(trace, file, advance) -> [str]     writes to the binary `file`; returns what the format
                                              cannot hold, a sentence each; advance(events done)

A trace exported and imported again is equal event by event, but for what those sentences say.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.result import Result
from heapwright.trace.store import Trace
from heapwright.words import counted

FORMATS = ("csapp", "android", "csv", "parquet", "perfetto")
PROFILES = ("pprof", "speedscope", "collapsed")  # of sums by call stack: see `report.profiles`
SITED_FORMATS = ("csv", "parquet")  # which name call sites
MALLOC_FORMATS = ("csapp", "android")  # which have no word for a reference


def without_doors(trace: Trace) -> str:
    """The sentence for a kernel's trace: no other format says by which door a request came."""
    asked = sum(int((batch.field > 0).sum()) for batch in trace.batches(("op", "field")))
    caches = len({door.cache for door in trace.doors()} - {""})
    return (
        f"no other format has a kernel's doors: {counted(asked, 'request')} became plain mallocs, "
        f"without flags and without the names of {counted(caches, 'cache')}"
    )


def export(
    trace: Trace,
    to: str,
    output: Path,
    advance: Callable[[float], None] = lambda events: None,
    results: Sequence[Result] = (),
) -> list[str]:
    """Write `trace` in format `to` to `output`; returns what that format cannot hold.

    `results` are those of managers that served the trace, for a format that shows timelines.
    """
    if to not in FORMATS:
        raise HeapwrightError(
            f"--to {to!r} is no format: choose one of {', '.join(FORMATS + PROFILES)}"
        )
    if trace.graph and to in MALLOC_FORMATS:
        raise HeapwrightError(
            f"{trace.path} is a graph trace, and --to {to} holds only mallocs and frees: choose "
            "csv, parquet or perfetto"
        )
    module = importlib.import_module(f"{__name__}.{to}_")
    if output.exists() and (not output.is_file() or output.samefile(trace.path)):
        raise HeapwrightError(f"{output} cannot be written over: give another output path")
    beside = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            more = {"results": results} if results else {}
            losses: list[str] = module.export(trace, file, advance, **more)
        if trace.stack_nodes and to in SITED_FORMATS:
            losses.append("of call stacks the call sites alone are kept")
        if trace.of_kernel:
            losses.append(without_doors(trace))
        os.replace(beside, output)
    except OSError as error:
        raise HeapwrightError(
            f"cannot write {output}: {error.strerror or error}; "
            "give another output path or make room"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return losses
