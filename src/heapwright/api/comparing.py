"""Compare: one trace or several, through managers and the real systems, side by side."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from heapwright.insight.space_time import Asked
    from heapwright.insight.verdict import Verdict
    from heapwright.report.document import Compared
    from heapwright.result import HeapMap, Result
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.keyframes import Keyframes
    from heapwright.tunnel.limited import Limit
    from heapwright.tunnel.replay import Conditions

MEASURED_ONLY = (
    "It has no twin here, so it is measured, not replayed: the real one serves the trace in a "
    "fresh process."
)
NO_LIMIT = "Measured without the memory limit, under which its twin is replayed."
CURVE_TRIES = 7  # replays of each point of a space-time curve: the fastest is drawn

Settings = Mapping[str, Mapping[str, int] | Sequence[Mapping[str, int]]]
Watch = Callable[[Sequence["Lane"]], None]  # told about ten times a second


@dataclass
class Comparison:
    """What became of each trace in each manager: `traces` in the order in which they were given."""

    traces: list[Compared]

    @property
    def results(self) -> list[Result]:
        """Every result, trace by trace."""
        return [result for one in self.traces for result in one.results]

    @property
    def failures(self) -> list[str]:
        """What did not run, a sentence each."""
        return [sentence for one in self.traces for sentence in one.failures]

    @property
    def verdict(self) -> Verdict:
        """What follows from the results of the first trace, in words."""
        from heapwright.insight.verdict import verdict

        return verdict(self.traces[0].results)

    def to_json(self) -> dict[str, Any]:
        """The document that `heapwright compare --json` prints."""
        from heapwright.report.document import document

        return cast("dict[str, Any]", document(self.traces))

    def to_arrow(self) -> pyarrow.Table:
        """A row per trace and result; see `frames`."""
        from heapwright.frames import results_table

        several = len(self.traces) > 1
        names = [str(one.trace.path) for one in self.traces for _ in one.results] if several else ()
        return results_table(self.results, names)

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a frame."""
        from heapwright.frames import in_pandas

        return in_pandas(self.to_arrow())

    def write_html(self, path: str | os.PathLike[str], title: str = "") -> Path:
        """Write the page that explains the comparison; its path. Its title is the recorded command
        where none is given."""
        from heapwright.report.html import write_page

        write_page(Path(path), self.traces, title)
        return Path(path)

    def _repr_html_(self) -> str:
        from heapwright.api.notebook import comparison_html

        return comparison_html(self)


def compare(  # noqa: PLR0913 what, then how; all but the first are named
    traces: str | os.PathLike[str] | Trace | Sequence[str | os.PathLike[str] | Trace],
    managers: Sequence[str] | str | None = None,
    settings: Settings | None = None,
    *,
    heap: str | None = None,
    references: bool | None = None,
    touch: str | None = None,
    huge_pages: str = "never",
    memory_limit: int | str | None = None,
    swap: int | str | None = None,
    jobs: int | None = None,
    samples: int = 1000,
    maps: bool = True,
    progress: Watch | None = None,
) -> Comparison:
    """Replay traces through several managers and measure the real systems beside them.

    `traces`: a trace, a path, the name of a synthetic program, or several of them. `managers`:
    names, "all", or None for those that suit the trace. `settings`: knobs by manager, or several
    such dictionaries, each a row of its own beside the manager as it is. `heap`: "1.5x,2x,3x" draws
    time against space of collectors instead. `references`: whether the real systems are measured;
    by default where no managers are named. `touch`: what the program writes of its memory, "all",
    "none" or as "recorded", the default of a trace that tells it. `memory_limit`, as 512 << 20 or
    "512M": whether the program would be killed under it, and what it would swap if it has `swap`
    beside it: see `Result.under_limit`. With `maps` the heap is kept for
    pictures of a page. `progress` is told the lanes, their states and the events done.

    A name of a real system that has no twin is measured, and a note says so.

    HeapwrightError for an unknown manager, knob or value and for a file that is no trace; what
    fails later, alone, is a sentence among `failures`.

    >>> import heapwright as hw
    >>> found = hw.compare("log-uniform", ["linear", "first-fit"])
    >>> found.results[0].manager
    'linear'
    """
    from heapwright.api.selection import (
        beside_defaults,
        checked,
        curve,
        opened_traces,
        selected,
        without_twin,
    )
    from heapwright.report.document import Compared
    from heapwright.tunnel.limited import Limit
    from heapwright.tunnel.replay import Conditions

    limit = Limit.of(memory_limit, swap)
    if limit and heap is not None:
        raise HeapwrightError(
            "--memory-limit and --heap ask different questions: give one of them at a time."
        )
    # Workers are forked from this process: better while no library has started threads in it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if isinstance(traces, str | os.PathLike) or not isinstance(traces, Sequence):
        traces = [traces]
    rows = []
    with contextlib.ExitStack() as kept:
        for trace in kept.enter_context(opened_traces(traces)):
            conditions = Conditions.of(trace, touch, huge_pages)
            names, real = without_twin(selected(trace, managers))
            chosen = beside_defaults(variants(settings or {}))
            checked(trace, chosen)
            points: list[Asked] = []
            if heap is not None:
                names, chosen, points = curve(trace, names, chosen, heap)
            if references or (references is None and managers is None):
                own = trace.origin.get("device") or trace.of_kernel  # no malloc's business
                own = own or (trace.graph and trace.java)
                real = [] if own else real_names()
            results, failures = run_lanes(
                trace,
                (names, chosen),
                conditions,
                references=real if heap is None else [],
                jobs=jobs or (1 if heap is not None else None),
                samples=samples,
                picture=picture_of(trace) if maps and heap is None else None,
                tries=CURVE_TRIES if heap is not None else 1,
                progress=progress,
                limit=limit,
            )
            if any(one.kind == "measured" for one in results):
                from heapwright.insight.told_apart import tell_apart
                from heapwright.references.malloc.measure import REST

                tell_apart(results, REST)
            rows.append(Compared(trace, results, failures, points, managers is not None))
        found = Comparison(rows)
        # A page reads the traces again: those that were made for it are there as long as it is.
        weakref.finalize(found, kept.pop_all().close)
    return found


def variants(settings: Settings) -> dict[str, list[dict[str, int]]]:
    """Each manager's settings as a list of variants."""
    return {
        name: [dict(knobs)] if isinstance(knobs, Mapping) else [dict(one) for one in knobs]
        for name, knobs in settings.items()
    }


def run_lanes(  # noqa: PLR0913 as of `compare`
    trace: Trace,
    chosen: tuple[Sequence[str], dict[str, list[dict[str, int]]]],
    conditions: Conditions,
    *,
    references: Sequence[str],
    jobs: int | None,
    samples: int,
    picture: Callable[[Keyframes], HeapMap] | None,
    tries: int,
    progress: Watch | None,
    limit: Limit | None = None,
) -> tuple[list[Result], list[str]]:
    """Run a lane for each manager and setting, and for each real system of `references`; results
    and failures."""
    from heapwright.managers.registry import managers as registered
    from heapwright.tunnel.compare import compare as side_by_side
    from heapwright.tunnel.compare import twin_lanes

    managers, settings = chosen
    lanes = twin_lanes(
        trace.path, managers, settings, conditions, samples, picture, tries=tries, limit=limit
    )
    real, absent = real_lanes(trace.path, settings, conditions, references)
    found = side_by_side(lanes + real, jobs, progress)
    for result in found.results:
        if result.kind == "measured" and result.manager not in registered():
            result.notes.insert(0, MEASURED_ONLY)
        if result.kind == "measured" and limit:
            result.notes.append(NO_LIMIT)
    return found.results, found.failures + absent


def real_lanes(
    trace: Path,
    settings: dict[str, list[dict[str, int]]],
    conditions: Conditions,
    names: Sequence[str],
) -> tuple[list[Lane], list[str]]:
    """A lane for each real system of `names` that can be driven, and what the others lack."""
    from heapwright.references import references

    lanes: list[Lane] = []
    absent = []
    for reference in references():
        for name in reference.names():
            if name not in names:
                continue
            if missing := reference.missing(name):
                absent.append(f"real {name}: not measured, {missing}")
                continue
            try:
                lanes += reference.lanes(name, trace, conditions, settings.get(name, [{}]))
            except HeapwrightError as error:  # no compiler: the twins go on
                absent.append(f"real {name}: not measured, {error}")
    return lanes, absent


def real_names() -> list[str]:
    """Every real system that something here can drive, installed or not."""
    from heapwright.references import references

    return [name for reference in references() for name in reference.names()]


def picture_of(trace: Trace) -> Callable[[Keyframes], HeapMap]:
    """What makes the heap maps of a page about `trace`; its call sites are looked up here, once."""
    from heapwright.insight.heap_map import heap_map

    return partial(heap_map, labels=trace.sites())
