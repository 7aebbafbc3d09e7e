"""A case of a sweep: one trace through one manager; which there are, and how one is run.

A case is plain data, so that it goes to another process or machine as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.trace.remote import fetched, is_remote, matching

if TYPE_CHECKING:
    from heapwright.api.sweep_spec import SweepSpec
    from heapwright.result import Result
    from heapwright.trace.store import Trace

FOOTER_BYTES = 1 << 16  # at the end of a trace: with its length enough to know it again
KNOWN = "known"  # of `touch`: as recorded where a trace tells it, else all


@dataclass(frozen=True)
class Case:
    """One row of a sweep, before it is run."""

    trace: str  # as the row names it
    path: str  # where whoever runs it opens it: a path, or what fsspec fetches
    trace_print: str  # of the file's content
    manager: str
    kind: str  # of the result: twin or measured
    settings: Mapping[str, int] = field(default_factory=dict)
    touch: str = "all"
    huge_pages: str = "never"
    samples: int = 200

    @property
    def key(self) -> str:
        """Equal for equal rows: of trace, manager, settings and conditions, not of places."""
        known = {name: value for name, value in vars(self).items() if name not in ("path",)}
        known["settings"] = dict(self.settings)
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        from heapwright.words import knobs_text

        real = "real " if self.kind == "measured" else ""
        return f"{real}{knobs_text(self.manager, self.settings)} on {self.trace}"


@contextlib.contextmanager
def found_traces(names: list[str], base: Path) -> Iterator[list[tuple[str, Trace]]]:
    """Each trace under its name: files, patterns, what fsspec fetches, synthetic programs.

    Those that are fetched or made lie in a folder that goes with the block.
    """
    from heapwright.trace import programs
    from heapwright.trace.store import Trace

    known = programs.PROGRAMS + programs.GRAPH_PROGRAMS
    with tempfile.TemporaryDirectory(prefix="heapwright-sweep-") as scratch:
        found: dict[str, Trace] = {}
        for number, name in enumerate(names):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            if is_remote(name):
                for url in matching(name):
                    found[url] = Trace.open(fetched(url, folder))
            elif name in known and not (base / name).exists():
                path = folder / f"{name}.heap.parquet"
                programs.synthesise(name, path, {})
                found[name] = Trace.open(path)
            else:
                paths = matching(os.fspath(base / name))
                if not paths:
                    raise HeapwrightError(f"no file matches {name!r}")
                found |= {path: Trace.open(path) for path in paths}
        yield list(found.items())


def cases_of(spec: SweepSpec, traces: list[tuple[str, Trace]]) -> list[Case]:
    """Every row, trace by trace; HeapwrightError for an unknown manager, knob, value or condition
    before any is run."""
    from heapwright.api.selection import checked, selected, without_twin
    from heapwright.api.sweep_spec import SpecFault, under
    from heapwright.managers.registry import named
    from heapwright.references import references
    from heapwright.tunnel.replay import TOUCH, Conditions

    pairs = list(spec.conditions())
    for touch, huge_pages in pairs:
        with under("touch" if touch not in (*TOUCH, KNOWN) else "huge_pages"):
            Conditions("all" if touch == KNOWN else touch, huge_pages)
    real = [name for reference in references() for name in reference.names()]
    if isinstance(spec.references, list):
        if unknown := [name for name in spec.references if name not in real]:
            raise SpecFault(
                f"no real system is named {unknown[0]!r} here; known: {', '.join(real)}",
                ["references"],
            )
    wanted = spec.references if isinstance(spec.references, list) else real * spec.references
    found = []
    for shown, trace in traces:
        chosen = selected(trace, spec.managers if spec.managers != ["all"] else "all")
        twins, measured = without_twin(chosen)
        with under("managers"):
            for name in twins:
                named(name)
        known = {*twins, *measured, *wanted}
        if strange := [name for name in spec.settings if name not in known]:
            raise SpecFault(
                f"it is not among the managers: {', '.join(twins)}", ["settings", strange[0]]
            )
        for name in twins:
            with under("settings", name):
                checked(trace, {name: list(spec.variants(name))})
        with under("touch"):
            of_trace = [
                (Conditions.of(trace, None if touch == KNOWN else touch, pages).touch, pages)
                for touch, pages in pairs
            ]
        mark = trace_print(trace.path)
        rows = [(name, "twin") for name in dict.fromkeys(twins)]
        rows += [(name, "measured") for name in dict.fromkeys([*measured, *wanted])]
        path = shown if is_remote(shown) else str(trace.path.resolve())
        found += [
            Case(shown, path, mark, name, kind, knobs, *conditions, spec.samples)
            for name, kind in rows
            for knobs in spec.variants(name)
            for conditions in dict.fromkeys(of_trace)
        ]
    return found


def trace_print(path: Path) -> str:
    """What tells a trace from another of its name: its length and its footer."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - FOOTER_BYTES))
        return hashlib.sha256(str(size).encode() + file.read()).hexdigest()[:16]


def row_of(case: Case, outcome: Result | str) -> dict[str, Any]:
    """The row of a case: its figures, or the sentence that says why there are none."""
    from heapwright import __version__
    from heapwright.frames import results_table
    from heapwright.result import Result

    row: dict[str, Any] = {
        "trace": case.trace,
        "manager": case.manager,
        "kind": case.kind,
        "settings": json.dumps(dict(case.settings), sort_keys=True),
        "touch": case.touch,
        "huge_pages": case.huge_pages,
        "notes": [],
        "error": outcome if isinstance(outcome, str) else None,
        "heapwright": __version__,
        "key": case.key,
    }
    if isinstance(outcome, Result):
        (figures,) = results_table([outcome]).to_pylist()
        row = figures | row | {"notes": list(outcome.notes)}
    return row


def run(case: Case, path: Path, progress: Callable[[int], None]) -> Result:
    """Replay it, or measure the real system; HeapwrightError where that cannot be done."""
    from heapwright.references import references
    from heapwright.trace.store import Trace
    from heapwright.tunnel.replay import Conditions, replay

    if case.kind == "twin":
        return replay(
            case.manager,
            Trace.open(path),
            case.settings,
            touch=case.touch,
            huge_pages=case.huge_pages,
            samples=case.samples,
            progress=progress,
        )
    for reference in references():
        if case.manager not in reference.names():
            continue
        if missing := reference.missing(case.manager):
            raise HeapwrightError(f"not measured, {missing}")
        conditions = Conditions(case.touch, case.huge_pages)
        (lane, *_) = reference.lanes(case.manager, path, conditions, [case.settings])
        return lane.run(progress)
    raise HeapwrightError(f"nothing here drives a real {case.manager}")


_ALONE = (
    threading.Lock()
)  # a worker of a cluster may have several threads; a replay wants the cores


def run_afar(case: Case) -> dict[str, Any]:
    """Run it in a worker of a cluster; its row."""
    with _ALONE:
        try:
            path = _brought(case.path) if is_remote(case.path) else Path(case.path)
            if trace_print(path) != case.trace_print:
                raise HeapwrightError(f"{case.path} is another file on this worker")
            return row_of(case, run(case, path, lambda done: None))
        except (HeapwrightError, OSError, MemoryError) as error:
            return row_of(case, f"{case.title}: {error or type(error).__name__}")


@cache
def _brought(url: str) -> Path:
    """A trace from elsewhere, fetched once by each worker."""
    folder = tempfile.mkdtemp(prefix="heapwright-sweep-")
    return fetched(url, Path(folder))
