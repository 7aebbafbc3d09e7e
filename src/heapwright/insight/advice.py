"""What to change: candidates that can be deployed, ranked against the present state.

    cards, references ─► candidates ─► footprints ─► rows: score, level or not, on the front or not
                                                └─► sentences: what to do, what it saves

A score is how much is held against the present state: end, mean and peak as shares of the
present's, the average of the three or the one that is asked for, and how much slower it is beyond
what a run could show: more page faults as a share of its time. 1 is as now; less is better.

What lies within the uncertainty is called level with the present, and is no advice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heapwright.managers.deploying import Deployment
from heapwright.managers.grounds import OVER
from heapwright.result import Footprint
from heapwright.words import bytes_text, change_text, knobs_text, percent_text, setting_text

if TYPE_CHECKING:
    from heapwright.insight.standing import Standing
    from heapwright.trace.store import Trace

FIGURES = ("end", "mean", "peak")  # in the order in which people ask for them
LEVEL_SHARE = 0.02  # a smaller difference is not worth a change
LEVEL_BYTES = 1 << 20  # nor is one of less than this
ALIKE = 0.01  # of a score: who is as near to the best is as good
ALIKE_TO_CALL = 0.03  # where the best is a change of the program
TIME_NOISE = 0.05  # of the time of a run: less is no slow-down
TRIM_SECONDS = (60.0, 10.0, 1.0, 0.1)  # periods of malloc_trim; the longest that comes
TRIM_PERIODS = 4  # so often in the recorded time


@dataclass(frozen=True)
class Candidate:
    """Something that the program can be given."""

    manager: str
    settings: Mapping[str, int]
    deployment: Deployment
    kind: str = "twin"  # or "measured": the real one served the trace
    trim_seconds: float = 0  # malloc_trim is called as often; 0: never

    @property
    def malloc(self) -> str:
        """The manager that lies lowest: what is deployed."""
        return self.manager.rpartition(OVER)[2]

    @property
    def title(self) -> str:
        """Its name and settings."""
        if self.trim_seconds:
            return f"{self.manager}, malloc_trim every {self.trim_seconds:g} s"
        return knobs_text(self.manager, self.settings)

    @property
    def details(self) -> tuple[str, ...]:
        """What it is given beside its name, each by itself."""
        told = [f"{knob}={setting_text(knob, value)}" for knob, value in self.settings.items()]
        told += [f"malloc_trim every {self.trim_seconds:g} s"] * bool(self.trim_seconds)
        return tuple(told)


@dataclass(frozen=True)
class Measured:
    """What a run of the real program held, over its baseline; the median of several runs."""

    peak_resident_bytes: int
    mean_resident_bytes: int
    end_resident_bytes: int
    seconds: float
    runs: int
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # least, most of each
    statuses: Sequence[int] = ()  # of the runs that did not end with 0
    collections: int | None = None  # of a Python's own collector

    def to_json(self) -> dict[str, Any]:
        """Bytes of the heap, seconds, and the range of each."""
        figures = {f"{name}_resident_bytes": value_of(self, name) for name in FIGURES}
        ranges = {name: {"least": low, "most": high} for name, (low, high) in self.spread.items()}
        return figures | {
            "seconds": self.seconds,
            "runs": self.runs,
            "spread": ranges,
            "failed_statuses": list(self.statuses),
            "collections": self.collections,
        }


@dataclass
class Row:
    """A candidate and what is known of it."""

    candidate: Candidate
    predicted: Footprint
    score: float = 1.0
    level: bool = False  # not surely better than the present state
    front: bool = False  # nothing else holds less at no more page faults
    slower_share: float = 0.0  # of the program's time, by page faults beyond the present's
    uncertainty: dict[str, float] = field(default_factory=dict)  # share, by what it comes from
    measured: Measured | None = None
    killed: bool | None = None  # under the memory limit; None: none was asked for
    other_load: bool = False  # what was measured was of another load than the recording's

    @property
    def proof(self) -> Measured | None:
        """What was measured, where it says something of the recording."""
        return None if self.other_load else self.measured

    @property
    def worse(self) -> bool:
        """Whether it holds more than the present state, beyond the uncertainty."""
        return self.score > 1 + max(self.unsure, LEVEL_SHARE)

    @property
    def unsure(self) -> float:
        """By which share a figure may be off, all causes together."""
        return sum(self.uncertainty.values())

    def to_json(self, present: "Row", command: str = "") -> dict[str, Any]:
        """The stable form that `--json` prints."""
        one = self.candidate
        return {
            "manager": one.manager,
            "settings": dict(one.settings),
            "kind": one.kind,
            "trim_seconds": one.trim_seconds or None,
            "deploy": {
                "environment": dict(one.deployment.environment),
                "install": one.deployment.install,
                "build": one.deployment.build,
                "code": one.deployment.code,
                "lines": one.deployment.lines(command),
            },
            "predicted": {f"{n}_resident_bytes": value_of(self.predicted, n) for n in FIGURES},
            "page_faults": self.predicted.page_faults,
            "collections": self.predicted.collections,
            "change": {name: change(self, present, name) for name in FIGURES},
            "score": self.score,
            "level": self.level and not self.worse,
            "pareto": self.front,
            "slower_share": self.slower_share,
            "uncertainty": {"share": self.unsure, "from": dict(self.uncertainty)},
            "measured": self.measured.to_json() if self.measured else None,
            "killed": self.killed,
        }


@dataclass
class Advised:
    """What follows for one program: the present state, and what else it could be given, best
    first; what is level with the present state comes last."""

    trace: "Trace"
    present: Row
    rows: list[Row]
    standing: "Standing"
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    by: str | None = None
    under_limit: str = ""  # what a memory limit does to it: room.py

    @property
    def headline(self) -> str:
        """What to do and what it saves; or that nothing helps."""
        return headline(self.rows, self.present, self.standing.ceiling)

    @property
    def sentences(self) -> list[str]:
        """What must be known before, then what follows."""
        cause = [self.standing.cause] if self.standing.cause else []
        before = list(self.standing.sentences)
        if self.standing.at_most is not None:
            before[-1] += f" {_ceiling(self.rows, self.present, self.standing.at_most)}"
        before += filter(None, [self.under_limit])
        luck = [self.standing.luck] if self.standing.luck else []
        return [*before, self.headline, *cause, *luck, *reasons(self.rows, self.present)]

    @property
    def best(self) -> Row | None:
        """The first row that is better than the present state by more than the uncertainty."""
        return next((row for row in self.rows if not row.level), None)


def value_of(held: Any, name: str) -> int:
    """`end`, `mean` or `peak` of what has such bytes."""
    return int(getattr(held, f"{name}_resident_bytes"))


def change(row: Row, present: Row, name: str) -> float:
    """A figure against the present's, as a share of that."""
    now = value_of(present.predicted, name)
    return value_of(row.predicted, name) / now - 1 if now else 0.0


def trim_period(seconds: float) -> float:
    """How often a program that takes so long would call malloc_trim; 0: it ends too soon."""
    return next((p for p in TRIM_SECONDS if p * TRIM_PERIODS <= seconds), 0.0)


def applicable(settings: Mapping[str, int], threaded: Sequence[str], threads: int) -> bool:
    """Whether settings may matter: of arenas only where there are threads."""
    return threads > 1 or not any(knob in threaded for knob in settings)


def rank(rows: Sequence[Row], present: Row, by: str | None, fault_share: float) -> list[Row]:
    """The rows, best first, each judged against the present state, which is left out.

    `by`: one of FIGURES, or None for all three. `fault_share`: what one page fault takes, as a
    share of the program's time; 0 where that is not known.
    """
    for row in [*rows, present]:
        more = row.predicted.page_faults - present.predicted.page_faults
        row.slower_share = more * fault_share
        row.score = memory_score(row.predicted, present.predicted, by)
        row.score += max(0.0, row.slower_share - TIME_NOISE)
        row.level = row is present or _level(row, present, by)
    for row in [*rows, present]:
        row.front = not any(_dominates(other, row, by) for other in [*rows, present])
    carried = [row for row in rows if row is not present and not row.predicted.refused]
    order = sorted(carried, key=lambda row: (row.level, row.score))
    return simplest_first(order, present)


def simplest_first(order: list[Row], present: Row) -> list[Row]:
    """The order, with the least change first of those that are as good as the best: a setting of
    the present manager before another allocator, a variable before a change of the program, few
    settings before many, few page faults."""
    if not order or order[0].level:
        return order
    limit = order[0].score + (ALIKE_TO_CALL if order[0].candidate.trim_seconds else ALIKE)
    alike = [row for row in order if not row.level and row.score <= limit]

    def effort(row: Row) -> tuple[bool, bool, int, int]:
        one = row.candidate
        return (
            one.malloc != present.candidate.malloc,
            one.trim_seconds > 0,
            len(one.settings),
            row.predicted.page_faults,
        )

    first = min(alike, key=effort)
    return [first, *(row for row in order if row is not first)]


def memory_score(held: Any, now: Any, by: str | None) -> float:
    """What is held against what is held now: one figure, or the average of the three shares; each
    with LEVEL_BYTES more, so that of next to nothing twice as much is no difference."""
    names = [by] if by else list(FIGURES)
    pairs = [(value_of(held, name), value_of(now, name)) for name in names]
    shares = [(then + LEVEL_BYTES) / (before + LEVEL_BYTES) for then, before in pairs]
    return sum(shares) / len(shares)


def _level(row: Row, present: Row, by: str | None) -> bool:
    """Whether no figure that counts is less by more than the uncertainty, or it is no better."""
    if row.score >= 1 - LEVEL_SHARE / len([by] if by else FIGURES):
        return True
    return not _counts(row, present, [by] if by else FIGURES, row.unsure)


def _counts(row: Row, present: Row, names: Sequence[str], unsure: float) -> bool:
    """Whether one of the figures is less by more than what counts, and the uncertainty."""
    for name in names:
        now, then = value_of(present.predicted, name), value_of(row.predicted, name)
        if now - then > max(LEVEL_BYTES, (LEVEL_SHARE + unsure) * now):
            return True
    return False


def _dominates(other: Row, row: Row, by: str | None) -> bool:
    """Whether `other` holds no more and faults no more, and one of them less."""
    names = [by] if by else list(FIGURES)
    theirs = [*(value_of(other.predicted, n) for n in names), other.predicted.page_faults]
    ours = [*(value_of(row.predicted, n) for n in names), row.predicted.page_faults]
    return theirs != ours and all(a <= b for a, b in zip(theirs, ours, strict=True))


def headline(order: Sequence[Row], present: Row, ceiling: int | None = None) -> str:
    """What to do, and what it saves against the present state: as measured in the program where it
    was run.

    `ceiling`: bytes beyond which no saving is promised, as the process never held more.
    """
    best = next((row for row in order if not row.level), None)
    if best is None:
        return _nothing(order, present)
    run = best.proof is not None and present.proof is not None
    before: Any = present.proof if run else present.predicted
    after: Any = best.proof if run else best.predicted
    now = {name: value_of(before, name) for name in FIGURES}
    then = {name: value_of(after, name) for name in FIGURES}
    telling = max(FIGURES, key=lambda name: now[name] - then[name])
    what = {"end": "stay", "peak": "are held at the peak", "mean": "are held on average"}
    said = (
        f"{best.candidate.deployment.said()}: {bytes_text(then[telling])} {what[telling]} instead "
        f"of {bytes_text(now[telling])} ({change_text(_share(then[telling], now[telling]))})"
    )
    told = []
    for name in ("end", "peak"):
        if name == telling:
            continue
        word = {"end": "what stays", "peak": "the peak"}[name]
        share = _share(then[name], now[name])
        told.append(f"{word} {'is alike' if abs(share) < LEVEL_SHARE else change_text(share)}")
    said += "; " + ", ".join(told)
    said += ", measured in the program." if run else "."
    if not run and ceiling is not None and now[telling] - then[telling] > ceiling:
        said += f" The process never held so much: it saves {bytes_text(ceiling)} at most."
    if not run and best.slower_share > 0.01:
        said += (
            f" It costs page faults, about {percent_text(best.slower_share)} of the program's time."
        )
    return said


def _nothing(order: Sequence[Row], present: Row) -> str:
    """That nothing helps, or that it is not sure."""
    tried, run = len(order), [row for row in order if row.proof]
    if present.proof and run:
        names = " and ".join(row.candidate.title for row in run)
        return (
            f"Nothing to change: run for real, {names} {'hold' if len(run) > 1 else 'holds'} no "
            f"less than the present state, {bytes_text(present.proof.end_resident_bytes)} at "
            f"the end and {bytes_text(present.proof.peak_resident_bytes)} at the peak."
        )
    if order and order[0].score < 1 - LEVEL_SHARE and _counts(order[0], present, FIGURES, 0.0):
        return (
            f"No change is sure to help: of {tried} settings and allocators that were tried "
            f"{order[0].candidate.title} does best, and what it saves is within the uncertainty "
            f"({percent_text(order[0].unsure)}); `heapwright advise --run` measures it."
        )
    return (
        f"Nothing to change: {bytes_text(present.predicted.end_resident_bytes)} stay and "
        f"{bytes_text(present.predicted.peak_resident_bytes)} are held at the peak, and of {tried} "
        "settings and allocators that were tried none saves more than counts, "
        f"{bytes_text(LEVEL_BYTES)} and {percent_text(LEVEL_SHARE)} beside the uncertainty."
    )


def _ceiling(order: Sequence[Row], present: Row, at_most: int) -> str:
    """What a setting can save of what stays: by the replay's parts, or more where a run has shown
    it."""
    run = [row for row in order if row.proof and not row.proof.statuses]
    if run and present.proof:
        best = min(run, key=lambda row: value_of(row.proof, "end"))
        now, then = value_of(present.proof, "end"), value_of(best.proof, "end")
        if now - then > at_most + LEVEL_BYTES:
            return (
                f"Run for real, {best.candidate.title} leaves {bytes_text(then)} instead "
                f"of {bytes_text(now)}, which is more than the parts of the replay allow."
            )
    return f"Of what stays a setting can save {bytes_text(at_most)} at most."


def _share(then: int, now: int) -> float:
    return then / now - 1 if now else 0.0


def reasons(order: Sequence[Row], present: Row) -> list[str]:
    """What else follows: the next best of another kind, what is level, what costs time."""
    found = []
    better = [row for row in order if not row.level]
    if better:
        others = [r for r in better if r.candidate.malloc != better[0].candidate.malloc]
        if others:
            theirs = others[0].candidate.malloc == present.candidate.malloc
            whose = "Without another allocator" if theirs else "Of other allocators"
            found.append(_beside(others[0], present, f"{whose} the best is"))
        least = min(better, key=lambda row: row.predicted.page_faults)
        if least not in (better[0], *others[:1]) and better[0].slower_share > 0.01:
            found.append(_beside(least, present, "With the fewest page faults:"))
    level = [row for row in order if row.level]
    if better and level:
        found.append(
            f"{len(level)} of {len(order)} that were tried are level with the present state, "
            "within the uncertainty, or worse."
        )
    return found


def _beside(row: Row, present: Row, what: str) -> str:
    figures = ", ".join(f"{name} {change_text(change(row, present, name))}" for name in FIGURES)
    return f"{what} {row.candidate.title}: {figures}."
