"""Advise: what a program can be given so that it holds less, as lines to put where it is started.

    trace ─► present state ─► candidates ─► a lane each ─► ranked ─► headline, lines, JSON

All lanes share one look at the trace: where it has settled, and where they stop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError
from heapwright.insight.advice import Advised

if TYPE_CHECKING:
    from heapwright.insight.advice import Candidate, Row
    from heapwright.insight.candidates import Field
    from heapwright.insight.standing import Why
    from heapwright.result import Footprint, Result
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.footprint import Stops
    from heapwright.tunnel.reordered import Another
    from heapwright.tunnel.replay import Conditions

Watch = Callable[[Sequence["Lane"]], None]
Told = Callable[[str, float], None]


class Advice(Advised):
    """What follows for one program; see `insight.advice.Advised`."""

    def to_json(self) -> dict[str, Any]:
        """The document that `heapwright advise --json` prints."""
        from heapwright.report.advice import document

        return document(self)

    def _repr_html_(self) -> str:
        from heapwright.report.advice import advice_html

        return advice_html(self)


def advise(  # noqa: PLR0913 what, then how; all but the first are named
    trace: str | os.PathLike[str] | Trace,
    managers: Sequence[str] | str | None = None,
    *,
    by: str | None = None,
    touch: str | None = None,
    huge_pages: str = "never",
    jobs: int | None = None,
    progress: Watch | None = None,
    run: Sequence[str] | bool = False,
    few: int = 3,
    rounds: int = 3,
    seconds: float | None = None,
    told: Told | None = None,
    budget: float | None = None,
    trials: int | None = None,
    memory_limit: int | str | None = None,
) -> Advice:
    """Say what the program of `trace` can be given so that it holds less memory.

    `managers`: names, or None for all that can be deployed on it. `by`: "end", "mean" or "peak",
    or None for the three together. `run`: a command that is run under the present state and the
    best `few`, `rounds` times each, for `seconds` at most; True: the one that was recorded. `told`
    is told which one runs. `budget` seconds or `trials`: search among further settings as well,
    with Optuna. Under a `memory_limit`, as 512 << 20 or "512M", what would not be killed comes
    first. HeapwrightError for an unknown name, what is no trace, and a command that cannot be run.

    >>> import heapwright as hw
    >>> found = hw.advise("log-uniform", "glibc")
    >>> found.present.candidate.manager
    'glibc'
    """
    from heapwright.api.running import prove
    from heapwright.api.selection import opened_traces, refuse_unserved
    from heapwright.insight.advice import FIGURES
    from heapwright.insight.room import put_under
    from heapwright.tunnel.limited import Limit
    from heapwright.tunnel.replay import Conditions

    limit = Limit.of(memory_limit)
    limit_bytes = limit.limit_bytes if limit else None
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers are forked from this process
    if by is not None and by not in FIGURES:
        raise HeapwrightError(f"--by is one of {', '.join(FIGURES)}, not {by!r}.")
    with opened_traces([trace]) as (opened,):
        if not opened.events:
            raise HeapwrightError(f"{opened.path} holds no events: there is nothing to advise on.")
        if opened.origin.get("device"):
            raise HeapwrightError(
                f"{opened.path} is of a device's memory, which no malloc serves: compare it with "
                "settings, as in compare --set cuda-caching.expandable_segments=1."
            )
        refuse_unserved(opened)
        wind = Tunnel(opened, Conditions.of(opened, touch, huge_pages), jobs, progress)
        found = _advised(wind, _names(managers), by, (budget, trials))
        put_under(found, limit_bytes)
        if run:
            command = recorded_command(opened) if run is True else list(run)
            prove(found, command, few=few, rounds=rounds, seconds=seconds, progress=told)
            put_under(found, limit_bytes)
        return found


def recorded_command(trace: Trace) -> list[str]:
    """The command that was recorded; HeapwrightError where the trace does not know it."""
    import shlex

    known = trace.origin.get("command", "")
    if not known:
        raise HeapwrightError(f"{trace.path} does not know its command: name it, --run -- CMD.")
    return shlex.split(known)


def _names(managers: Sequence[str] | str | None) -> list[str] | None:
    if managers is None:
        return None
    listed = managers.split(",") if isinstance(managers, str) else managers
    names = [name.strip() for name in listed if name.strip()]
    if not names:
        raise HeapwrightError("no manager is named: name one or more, or leave the choice out")
    return names


def _advised(
    wind: Tunnel, only: list[str] | None, by: str | None, budget: tuple[float | None, int | None]
) -> Advice:
    """The whole of it, on one trace."""
    from heapwright.api.searching import scored
    from heapwright.insight.advice import Row, rank
    from heapwright.insight.candidates import Field, present_of
    from heapwright.insight.standing import standing
    from heapwright.insight.uncertain import DRAWN, agreements, by_time, luck, uncertainty
    from heapwright.references.faults import fault_ns

    name, _ = present_of(wind.trace)
    everyone = Field(wind.trace, None)
    now = everyone.candidate(name, {})
    if now is None or name not in [*everyone.twins, *everyone.real]:
        raise HeapwrightError(
            f"the program ran on {name}, which is not here: {'; '.join(everyone.missing)}"
        )
    field_ = everyone if only is None else Field(wind.trace, only)
    others = field_.all(now, wind.at.seconds)
    (whole, cause), replayed, real = wind.outcomes(now, others, everyone)
    present = Row(now, _as_footprint(whole))
    share = fault_ns() / (1e9 * wind.at.seconds) if wind.at.seconds else 0.0
    rows = [Row(one, held) for one, held in replayed]
    if any(budget):
        rows += wind.searched(field_, present, rows, scored(by, present.predicted, share), budget)
    found = standing(wind.trace, whole, cause)
    agreement = agreements([present, *rows], real)
    drawn = [real[name] for name in DRAWN if name in real]
    found.luck = luck([present.predicted, *drawn], agreement.get(DRAWN[0], 0.0))
    for row in [present, *rows]:
        row.uncertainty = uncertainty(row, agreement, found)
        if row.predicted.by_time:
            row.uncertainty["time"] = by_time(row, rows, everyone.deploy(row.candidate.malloc))
    order = rank(rows, present, by, share)
    notes = list(dict.fromkeys([*wind.trace.notes, *whole.notes]))
    missing = field_.missing
    failures = [*wind.failures, *missing]
    return Advice(wind.trace, present, order, found, failures, notes, by)


def _as_footprint(result: Result) -> Footprint:
    """The figures of a whole replay that any candidate has."""
    from heapwright.result import Footprint

    return Footprint(
        peak_resident_bytes=result.held_bytes,
        mean_resident_bytes=result.mean_resident_bytes or 0,
        end_resident_bytes=result.end_resident_bytes or 0,
        page_faults=result.page_faults,
        seconds=result.seconds,
        refused=result.refused,
        recorded=result.recorded,
        notes=result.notes,
        collections=sum(result.collecting.collections.values()) if result.collecting else None,
    )


class Tunnel:
    """One trace, where its replays stop, and the lanes that replay it."""

    def __init__(
        self, trace: Trace, conditions: Conditions, jobs: int | None, progress: Watch | None
    ) -> None:
        from heapwright.tunnel.footprint import stops

        self.trace, self.conditions = trace, conditions
        self.jobs, self.progress = jobs, progress
        self.at: Stops = stops(trace)
        self.failures: list[str] = []

    def outcomes(
        self, now: Candidate, others: Sequence[Candidate], field_: Field
    ) -> tuple[tuple[Result, Why | None], list[tuple[Candidate, Footprint]], dict[str, Footprint]]:
        """The present state with its parts and their cause, the others' footprints, and the real
        ones beside their twins."""
        from heapwright.insight.uncertain import DRAWN, REORDERED
        from heapwright.tunnel.reordered import Another

        lanes = [self._whole(now, field_), *(self._lane(one, field_) for one in others)]
        twins = dict.fromkeys(one.manager for one in [now, *others] if one.kind == "twin")
        beside = [name for name in twins if name in field_.systems]
        lanes += [self._real(name, {}, field_) for name in beside]
        if now.kind == "twin" and self.trace.threads > 1 and not self.trace.graph:
            lanes.append(self._lane(now, field_, Another(reorder=True)))
            beside = [*beside, REORDERED]
        if now.kind == "twin" and not self.trace.graph:
            lanes += [self._lane(now, field_, Another(process=n)) for n in (1, 2)]
            beside = [*beside, *DRAWN]
        self._warm({one.manager for one in [now, *others] if one.kind == "twin"})
        self.run(lanes)
        if isinstance(lanes[0].outcome, str):
            raise HeapwrightError(lanes[0].outcome)
        pairs = zip(others, lanes[1:], strict=False)
        replayed = [(one, lane.outcome) for one, lane in pairs if not isinstance(lane.outcome, str)]
        measured = zip(beside, lanes[1 + len(others) :], strict=True)
        real = {name: lane.outcome for name, lane in measured if not isinstance(lane.outcome, str)}
        return lanes[0].outcome, replayed, real

    def searched(
        self,
        field_: Field,
        present: Row,
        rows: Sequence[Row],
        score: Callable[[Footprint], float],
        budget: tuple[float | None, int | None],
    ) -> list[Row]:
        """Rows of a search among the settings of each twin that has ranges; the present manager's
        first. The budget is shared by them."""
        from heapwright.api.searching import ranges_of, search
        from heapwright.insight.advice import Row
        from heapwright.tunnel.compare import processors

        names = [name for name in field_.twins if ranges_of(name, field_)]
        jobs = self.jobs or processors()

        def footprints(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Footprint]]:
            lanes = [self._lane(one, field_) for one in candidates]
            self.run(lanes)
            pairs = zip(candidates, lanes, strict=True)
            return [(one, lane.outcome) for one, lane in pairs if not isinstance(lane.outcome, str)]

        found: list[Row] = []
        seconds, trials = budget
        for name in names:
            replayed = search(
                name,
                field_,
                [present, *rows],
                footprints,
                score,
                jobs=jobs,
                seconds=seconds / len(names) if seconds else None,
                trials=max(1, trials // len(names)) if trials else None,
            )
            found += [Row(one, held) for one, held in replayed]
        return found

    def run(self, lanes: list[Lane]) -> None:
        """Run them side by side, the long ones first; what failed becomes a sentence."""
        from heapwright.tunnel.compare import compare

        order = sorted(lanes, key=lambda lane: -lane.steps)
        self.failures += compare(order, self.jobs, self.progress).failures

    def _warm(self, managers: set[str]) -> None:
        """Load each manager's compiled loop here, once, for all the workers that are forked."""
        from heapwright.trace.schema import events
        from heapwright.tunnel.replay import Replay

        for name in sorted(managers):
            twin = Replay(name, self.trace, {}, self.conditions)
            twin.loop.replay(twin.heap, twin.run, events())
            del twin

    def _whole(self, now: Candidate, field_: Field) -> Lane:
        """A lane of the present state's result, and of what is the cause of it."""
        from heapwright.trace.store import Trace
        from heapwright.tunnel.compare import Lane

        path, conditions = self.trace.path, self.conditions

        def replayed(progress: Callable[[int], None]) -> tuple[Result, Why | None]:
            from heapwright.insight.candidates import of_python
            from heapwright.insight.standing import why
            from heapwright.tunnel.replay import replay

            trace = Trace.open(path)
            result = replay(
                now.manager,
                trace,
                now.settings,
                touch=conditions.touch,
                huge_pages=conditions.huge_pages,
                progress=progress,
            )
            return result, None if trace.graph and not of_python(trace) else why(trace, result)

        if now.kind == "twin":
            return Lane(now.title, 2 * self.trace.events, replayed)
        lane = field_.systems[now.manager].lanes(now.manager, path, conditions, [now.settings])[0]
        return Lane(lane.name, lane.steps, lambda progress: (lane.run(progress), None))

    def _lane(self, one: Candidate, field_: Field, another: Another | None = None) -> Lane:
        from heapwright.trace.store import Trace
        from heapwright.tunnel.compare import Lane
        from heapwright.tunnel.footprint import RECORDED, footprint

        if one.kind == "measured":
            return self._real(one.manager, one.settings, field_)
        path = self.trace.path

        def run(progress: Callable[[int], None]) -> Footprint:
            held = footprint(
                one.manager,
                Trace.open(path),
                one.settings,
                at=self.at,
                conditions=self.conditions,
                trim_seconds=one.trim_seconds,
                another=another or RECORDED,
                progress=progress,
            )
            held.by_time = field_.deploy(one.malloc).waits(one.settings)
            return held

        return Lane(one.title, self.trace.events, run)

    def _real(self, name: str, settings: Mapping[str, int], field_: Field) -> Lane:
        from heapwright.trace.store import Trace
        from heapwright.tunnel.compare import Lane
        from heapwright.words import knobs_text

        reference, path = field_.systems[name], self.trace.path

        def run(progress: Callable[[int], None]) -> Footprint:
            trace = Trace.open(path)
            return reference.footprint(name, trace, settings, self.conditions, progress)

        return Lane(f"real {knobs_text(name, settings)}", self.trace.events, run)
