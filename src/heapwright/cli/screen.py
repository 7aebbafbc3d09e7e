"""What a command shows: JSON for programs, tables for people, progress for those who wait.

Every command that uses a trace ends with `show_notes(trace.notes)`, or has them in its JSON.
Colours only on a terminal and never under NO_COLOR (rich's own rule). Piped tables are as wide as
they need; a progress bar is drawn on stderr, on a terminal, once a task has lasted a moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from heapwright.result import SCHEMA_VERSION

if TYPE_CHECKING:
    from rich.console import Console

PIPED_COLUMNS = 1 << 14  # characters; no terminal to fit into, so nothing is cut


def print_json(document: Any) -> None:
    """One JSON document on stdout. It begins with the version of its schema. NumPy values become
    numbers and lists; a NaN is a bug."""
    if isinstance(document, dict):
        document = {"schema_version": SCHEMA_VERSION} | document
    json.dump(document, sys.stdout, indent=2, default=_plain, allow_nan=False)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy, not imported for this
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def console(stderr: bool = False) -> Console:
    """The rich console for tables (stdout) or notes (stderr)."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPED_COLUMNS
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def show_notes(notes: Iterable[str]) -> None:
    """What a trace was not seen doing, under the result that rests on it. See `trace/notes.py`."""
    from heapwright.report.notes import notes as told
    from heapwright.report.summary import print_notes

    print_notes(console(), told("The trace", list(notes), []))


@contextlib.contextmanager
def progress(what: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Yields `advance(steps)`; on a terminal a bar of `total` steps (None: a pulse) is drawn."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda steps: shown.advance(task, steps)
