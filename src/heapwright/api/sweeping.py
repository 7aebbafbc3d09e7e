"""Sweep: many traces, through many managers, at many settings; the rows outlive a kill.

SPEC ─► cases ─those without a row─► this machine's cores, or a Dask cluster
                                       └─► each row kept at once ─► one Parquet file
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.api.sweep_cases import Case, cases_of, found_traces, row_of, run, run_afar
from heapwright.errors import HeapwrightError
from heapwright.trace.remote import is_private, is_remote

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from heapwright.api.sweep_spec import Read
    from heapwright.tunnel.compare import Lane

CONNECT_SECONDS = 15
_SHORT = {f"{name}_bytes": f"{name}_resident_bytes" for name in ("peak", "mean", "end", "exit")}


@dataclass
class Progress:
    """How far a sweep has come."""

    total: int
    kept: int = 0  # rows that were there before
    done: int = 0  # rows made now, failed ones among them
    failed: int = 0
    running: tuple[str, ...] = ()


Watch = Callable[[Progress], None]


@dataclass
class Sweep:
    """What came of a sweep; `rows` in the order of SPEC, as the Parquet file has them."""

    output: str
    rows: list[dict[str, Any]]
    made: int  # now; the others were there before

    @property
    def failures(self) -> list[str]:
        """What did not run, a sentence each."""
        return [row["error"] for row in self.rows if row["error"]]

    def best(self, by: str = "end_bytes", top: int = 5) -> dict[str, list[dict[str, Any]]]:
        """By trace the `top` rows with the least of column `by`; HeapwrightError for a column that
        is not there or has no number."""
        column = _SHORT.get(by, by)
        known = [name for name, value in _numbers(self.rows).items() if value]
        if column not in known:
            raise HeapwrightError(
                f"no row has a figure named {by!r}; there are: {', '.join([*_SHORT, *known])}."
            )
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            chosen = found.setdefault(row["trace"], [])
            if row["error"] is None and row[column] is not None:
                chosen.append(row)
        return {
            trace: sorted(rows, key=lambda row: row[column])[:top] for trace, rows in found.items()
        }

    def to_json(self) -> dict[str, Any]:
        """The rows with their settings as tables."""
        rows = [row | {"settings": json.loads(row["settings"])} for row in self.rows]
        return {"output": self.output, "made": self.made, "rows": rows}

    def to_arrow(self) -> pyarrow.Table:
        """A row per case."""
        import pyarrow

        from heapwright.report.row_store import schema

        return pyarrow.Table.from_pylist(self.rows, schema())

    def to_pandas(self) -> pandas.DataFrame:
        """The same as a frame."""
        from heapwright.frames import in_pandas

        return in_pandas(self.to_arrow())


def _numbers(rows: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """The columns, and whether any row has a number there."""
    return {
        name: any(isinstance(row.get(name), int | float) for row in rows)
        for name in dict.fromkeys(name for row in rows for name in row)
    }


def sweep(
    spec: str | os.PathLike[str] | Mapping[str, Any],
    output: str | os.PathLike[str] | None = None,
    *,
    scheduler: str | None = None,
    jobs: int | None = None,
    progress: Watch | None = None,
) -> Sweep:
    """Replay every trace of `spec` through every manager at every setting; a row for each.

    `spec`: a TOML file or a dictionary, see `sweep_spec`. `output`: the Parquet file of rows, a
    path or what fsspec writes; else SPEC's own, else beside SPEC. Rows that are there already are
    not made again, so that a sweep that was killed or grew goes on; those that failed are tried
    again, and so is what was run on a trace that has changed. `scheduler`: the address of a Dask
    cluster whose workers see the same paths; by default one process for each processor here.

    HeapwrightError for what is wrong in `spec`, before anything runs. What fails later is a row
    whose `error` says why.

    >>> import heapwright as hw
    >>> spec = {"traces": ["recursion"], "managers": ["stack", "linear"]}
    >>> found = hw.sweep(spec, "memory://rows.parquet")
    >>> [row["manager"] for row in found.best("peak_bytes")["recursion"]]
    ['stack', 'linear']
    """
    from heapwright.api.sweep_spec import MOST_ROWS, SpecFault, read_spec, under
    from heapwright.report.row_store import RowStore

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in `compare`: workers are forked
    read = read_spec(spec)
    store = RowStore(_output(output, read))
    with contextlib.ExitStack() as kept:
        try:
            with under("traces"):
                traces = kept.enter_context(found_traces(read.spec.traces, read.base))
            cases = cases_of(read.spec, traces)
        except SpecFault as fault:
            raise read.told(fault) from None
        if len(cases) > MOST_ROWS:
            raise HeapwrightError(
                f"{read.name} asks for {len(cases):,} rows, more than {MOST_ROWS:,}: split it"
            )
        found = {row["key"]: row for row in store.rows()}
        waiting = [case for case in cases if _is_waiting(found.get(case.key))]
        state = Progress(len(cases), len(cases) - len(waiting))

        def keep(case: Case, row: dict[str, Any]) -> None:
            store.add(row)
            found[case.key] = row
            state.done += 1
            state.failed += row["error"] is not None
            if progress:
                progress(state)

        if progress:
            progress(state)
        if waiting and scheduler:
            _on_cluster(scheduler, waiting, keep)
        elif waiting:
            places = {shown: trace.path for shown, trace in traces}
            _here(waiting, places, jobs, keep, state, progress)
    rows = [found[case.key] for case in cases]
    if waiting or store.parts:
        store.finish([*rows, *_others(found, cases)])
    return Sweep(store.name, rows, len(waiting))


def _output(asked: str | os.PathLike[str] | None, read: Read) -> str:
    """Where the rows go."""
    written = read.spec.output
    if asked is not None:
        return os.fspath(asked)
    if written is not None:
        return written if is_remote(written) else str(read.base / written)
    if read.text:
        return f"{read.name.removesuffix('.toml')}.rows.parquet"
    raise HeapwrightError(f"{read.name} names no output: say where its rows go")


def _is_waiting(row: Mapping[str, Any] | None) -> bool:
    return row is None or row["error"] is not None


def _others(found: Mapping[str, dict[str, Any]], cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Rows of an earlier sweep into the same file, but for those whose trace has changed."""
    own = {case.key for case in cases}
    renewed = {_case_of(found[key]) for key in own}
    return [row for key, row in found.items() if key not in own and _case_of(row) not in renewed]


def _case_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        row[name] for name in ("trace", "manager", "kind", "settings", "touch", "huge_pages")
    )


def _here(
    cases: Sequence[Case],
    places: Mapping[str, Path],
    jobs: int | None,
    keep: Callable[[Case, dict[str, Any]], None],
    state: Progress,
    progress: Watch | None,
) -> None:
    """Each case in a process of its own, as many at once as there are processors."""
    from heapwright.result import Result
    from heapwright.tunnel.compare import Lane, compare, prepare

    def lane(case: Case) -> Lane:
        def work(told: Callable[[int], None]) -> Result:
            result = run(case, places[case.trace], told)
            return replace(result, timeline=None, clock_ns=None, heap_map=None)  # no row has them

        return Lane(case.title, 1, work)

    lanes = [lane(case) for case in cases]
    open_lanes = dict(enumerate(lanes))

    def watch(every: Sequence[Lane]) -> None:
        ended = [number for number, one in open_lanes.items() if one.state in ("done", "failed")]
        for number in ended:
            one = open_lanes.pop(number)
            assert one.outcome is not None
            keep(cases[number], row_of(cases[number], one.outcome))
            one.outcome = None
        if progress:
            running = (one.name for one in open_lanes.values() if one.state == "running")
            state.running = tuple(running)
            progress(state)

    prepare()
    compare(lanes, jobs, watch)


def _on_cluster(
    scheduler: str, cases: Sequence[Case], keep: Callable[[Case, dict[str, Any]], None]
) -> None:
    """Each case by a worker of the cluster; the rows as they come."""
    try:
        import distributed
    except ImportError:
        raise HeapwrightError(
            "--scheduler needs Dask: install it with `pip install 'heapwright[cluster]'`."
        ) from None
    if private := [case.trace for case in cases if is_private(case.trace)]:
        raise HeapwrightError(
            f"{private[0]} lies in this process alone: a cluster cannot read it; put it where its "
            "workers can."
        )
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
    except Exception as error:  # OSError, TimeoutError, or of the address's form
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise HeapwrightError(f"no Dask scheduler answers at {scheduler}: {reason}") from None
    with client:
        futures = {
            client.submit(run_afar, case, key=f"heapwright-{case.key}", pure=False): case
            for case in cases
        }
        for future in distributed.as_completed(list(futures)):
            case = futures.pop(future)
            if future.status == "finished":
                row = future.result()
            else:
                lost = future.exception()
                row = row_of(case, f"{case.title}: {type(lost).__name__} on its worker: {lost}")
            keep(case, row)
            future.release()
