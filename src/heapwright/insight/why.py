"""Why a program's memory is what it is: one cause in one sentence, its share, the stacks behind it.

    trace ─► growth    what each call stack holds through time: what leaks
    twin  ─► parts     what each resident byte is, at the end and at the peak
          ─► pins      which blocks keep free pages
                 └─► shares of the causes ─► the verdict, the others below it

Causes          where the bytes stand in the parts of a result
    leak            live: never freed and still growing (`growth.leaking`), and its rounding
    live            live: the rest
    fragmentation   partial: free bytes on pages that live blocks hold
    retention       retained: empty pages that were not given back
    caches          cached: free blocks kept at hand
    rounding        rounding and headers: what small blocks cost
    garbage         garbage: dead and not yet collected
Judged at       the end, as that is what stays; at the peak where little stays
Process         of a recording that tells it: a waste that is little of the whole process is none
Verdict         a leak that is at least LEAK_SHARE, counted double as it goes on growing, or another
                cause of at least WASTE_SHARE, whichever is most; else what is simply live
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.insight.causes import (
    Course,
    Culprit,
    Place,
    of_the_process,
    process_bytes,
    sentences,
)
from heapwright.insight.escape import StackLike, Watch
from heapwright.insight.growth import Growth, grouped, growth, leaking
from heapwright.insight.pins import Pins, pins, rounding
from heapwright.result import TIMELINE, Result
from heapwright.trace.ending import ending
from heapwright.tunnel.keyframes import Keyframes, Taken

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

# What Python calls to import a module, six frames each time
IMPORTING, IMPORT_FRAMES = "importing (importlib)", "(<frozen importlib"

CAUSES = ("leak", "fragmentation", "caches", "rounding", "retention", "garbage", "live")
_PARTS = {
    "fragmentation": ("partial",),
    "caches": ("cached",),
    "rounding": ("rounding", "header"),
    "retention": ("retained",),
    "garbage": ("garbage",),
}
LEAK_SHARE, WASTE_SHARE = 0.1, 0.25  # of the resident bytes
LEAST_LEAK_BYTES = 128 << 10  # what is less, or less than this share of the whole process, is what
LEAST_LEAK_SHARE = 0.01  # a program that ends soon leaves to its end
PROCESS_SHARE = 0.1  # of the most that the whole process had; less waste is no finding
KEPT_ANYWAY_BYTES = 256 << 10  # that are retained are no finding: glibc pads and trims by 128 KiB
STAYS = 0.25  # of the peak; where less stays at the end it is the peak that is judged
STACKS = 10  # that are named of a cause
MOMENTS = ("end", "peak")
TIMES = 60  # at which the causes are told


@dataclass(frozen=True)
class Finding:
    """One cause: how much of the resident bytes, in words, and what to do."""

    cause: str
    bytes: int  # at the judged moment
    share: float  # of the resident bytes then
    sentence: str
    mend: str
    stacks: list[Culprit] = field(default_factory=list)


@dataclass(frozen=True)
class Diagnosis:
    """The verdict, and what it rests on."""

    kind: str  # one of CAUSES
    moment: str  # at which it was judged, one of MOMENTS
    shares: dict[str, dict[str, float]]  # by moment: a share for each of CAUSES; they sum to 1
    bytes: dict[str, dict[str, int]]  # by moment: resident_bytes, event, and each of CAUSES
    findings: list[Finding]  # the verdict first, then the others by size
    stack_like: list[StackLike]  # call sites that an arena or the stack would serve
    growth: Growth = field(repr=False)
    leaked: np.ndarray = field(repr=False)  # int64[row of the growth], bytes

    @property
    def sentence(self) -> str:
        """The verdict."""
        return self.findings[0].sentence

    @property
    def mend(self) -> str:
        """What to do about it."""
        return self.findings[0].mend

    @property
    def stacks(self) -> list[Culprit]:
        """Those behind the verdict first."""
        return [stack for finding in self.findings for stack in finding.stacks]

    def to_json(self) -> dict[str, Any]:
        """As `why --json` prints it."""
        return {
            "verdict": self.sentence,
            "kind": self.kind,
            "mend": self.mend,
            "moment": self.moment,
            "shares": self.shares,
            "bytes": self.bytes,
            "findings": [
                {name: value for name, value in vars(one).items() if name != "stacks"}
                for one in self.findings
            ],
            "stacks": [stack.to_json() for stack in self.stacks],
            "stack_like": [one.to_json() for one in self.stack_like],
        }


@dataclass
class Heaps:
    """What a replay is asked to keep for a diagnosis: the whole heap at the peak and at the end."""

    taken: dict[int, Taken] = field(default_factory=dict)  # by event

    def picture(self, keyframes: Keyframes) -> None:
        """For `replay(..., picture=...)`: no map is made."""
        self.taken = keyframes.taken


def diagnosis(
    trace: "Trace",
    result: Result,
    heaps: Heaps | None = None,
    advance: Callable[[int], None] = lambda events: None,
) -> Diagnosis:
    """Why `trace` holds what `result`, a twin's, says it holds; streams the trace once more.

    With `heaps` of the same replay the stacks that pin free pages are named too.
    """
    ends = ending(trace)
    events = {"end": result.end_event, "peak": peak_event(result)}
    watch = Watch(trace)
    profile = growth(trace, ends, list(events.values()), advance, watch)
    labels = site_labels(trace)
    place = places(labels)
    leaked = leaks(profile, place)
    if leaked.sum() < max(LEAST_LEAK_BYTES, LEAST_LEAK_SHARE * process_bytes(trace)):
        leaked[:] = 0
    parts = {"end": result.end, "peak": result.peak}
    counted = {
        moment: _causes(parts[moment], profile, leaked, events[moment]) for moment in MOMENTS
    }
    shares = {moment: _shares(causes) for moment, causes in counted.items()}
    stays, peak = (counted[moment]["resident_bytes"] for moment in MOMENTS)
    moment = "end" if stays >= STAYS * peak else "peak"
    kind = _kind(shares[moment], counted[moment], process_bytes(trace))
    held = heaps.taken.get(events[moment]) if heaps else None
    charges = _charges(profile, leaked, counted[moment], held)
    course = Course.of(trace, profile, leaked, counted, moment)
    others = sorted(
        (cause for cause in CAUSES if cause != kind and counted[moment][cause]),
        key=lambda cause: -counted[moment][cause],
    )
    findings = []
    for cause in [kind, *others]:
        size = counted[moment][cause]
        charge = charges.get(cause)
        stacks = _culprits(trace, labels, (cause, moment), charge, size)
        sentence, mend = sentences(cause, size, course, _first(labels, place, charge, size))
        if cause == kind:
            sentence += of_the_process(course)
        findings.append(Finding(cause, size, shares[moment][cause], sentence, mend, stacks))
    like = [] if course.java else watch.found(profile, labels)  # its compiler sees to those
    return Diagnosis(kind, moment, shares, counted, findings, like, profile, leaked)


def peak_event(result: Result) -> int:
    """The event of the peak: the first row of the timeline with the most resident bytes."""
    if result.timeline is None or not len(result.timeline):
        return -1
    return int(result.timeline[int(result.timeline[:, 2].argmax()), 0])


def _kind(shares: Mapping[str, float], sizes: Mapping[str, int], process: int) -> str:
    """The cause that the verdict names."""
    weight = {
        cause: share
        for cause, share in shares.items()
        if share >= WASTE_SHARE and sizes[cause] >= PROCESS_SHARE * process
    }
    weight.pop("live", None)
    if sizes["retention"] < KEPT_ANYWAY_BYTES:
        weight.pop("retention", None)
    weight.pop("leak", None)
    if shares["leak"] >= LEAK_SHARE:
        weight["leak"] = 2 * shares["leak"]
    return max(weight, key=lambda cause: weight[cause]) if weight else "live"


def _causes(
    parts: Mapping[str, int], profile: Growth, leaked: np.ndarray, event: int
) -> dict[str, int]:
    """The parts of a moment as causes; they sum to its resident bytes."""
    found = {"event": event, "resident_bytes": parts.get("resident_bytes", 0)}
    found |= dict.fromkeys(CAUSES, 0)
    for cause, names in _PARTS.items():
        found[cause] = sum(parts.get(f"{name}_bytes", 0) for name in names)
    live = parts.get("live_bytes", 0)
    rows, _, beyond = _leak_rows(profile, leaked, event)
    leak, added = min(live, int(rows.sum())), min(found["rounding"], int(beyond.sum()))
    found["rounding"] -= added
    return found | {"leak": leak + added, "live": live - leak}


def _shares(causes: Mapping[str, int]) -> dict[str, float]:
    resident = causes["resident_bytes"]
    return {cause: causes[cause] / resident if resident else 0.0 for cause in CAUSES}


def leaks(profile: Growth, place: np.ndarray) -> np.ndarray:
    """int64[row]: the bytes that each row leaks.

    A row is looked at alone first; what is left of the rows of one place together, as a leak may
    come by many ways; then what is left of all, as it may come from many places.

    place: int64[row], the same number for rows whose call sites read the same
    """
    found = leaking(profile.low, profile.kept, profile.exit.live)
    for group in (place, np.zeros_like(place)):
        rest = np.flatnonzero(found == 0)
        of, count = group[rest], int(group.max(initial=0)) + 1
        kept = profile.kept[rest]
        sums = (grouped(values, of, count) for values in (kept, profile.exit.live[rest]))
        total = leaking(grouped(profile.low[:, rest], of, count), *sums)
        whole = np.maximum(grouped(kept, of, count), 1)
        found[rest] = (total[of] * (kept / whole[of])).astype(np.int64)
    return found


def site_labels(trace: "Trace") -> list[str]:
    """The name of each site; of what Python asks for as it imports, the line that imports."""
    labels = list(trace.sites())
    asked = [row for row, label in enumerate(labels) if IMPORT_FRAMES in label]
    tree = trace.stacks()
    if not asked or len(tree.parent) != len(labels):
        return labels
    frames = trace.frames()
    for row in asked:
        at = row
        while at >= 0 and IMPORT_FRAMES in frames[tree.frame[at]]:
            at = int(tree.parent[at])
        labels[row] = f"importing in {frames[tree.frame[at]]}" if at >= 0 else IMPORTING
    return labels


def places(labels: Sequence[str]) -> np.ndarray:
    """int64[row]: 0 for the unknown site, and a number for each label."""
    first: dict[str, int] = {}
    return np.array([0, *(first.setdefault(label, len(first) + 1) for label in labels)], np.int64)


def _leak_rows(
    profile: Growth, leaked: np.ndarray, event: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three of int64[row]: bytes leaked by `event`, as if they grew evenly, blocks, rounding.

    Where the rows are known then, no more than they hold.
    """
    share = min(1.0, (event + 1) / max(1, profile.exit.event + 1))
    size = (leaked * share).astype(np.int64)
    moment = profile.moments.get(event)
    size = np.minimum(size, moment.live) if moment else size
    at = moment or profile.exit
    mean = np.maximum(1, at.live // np.maximum(1, at.blocks))
    blocks = np.minimum(at.blocks, -(-size // mean))
    return size, blocks, blocks * rounding(mean)


def _charges(
    profile: Growth, leaked: np.ndarray, causes: Mapping[str, int], held: Taken | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each cause that has culprits: bytes and blocks of each row at the moment of `causes`."""
    event = causes["event"]
    moment = profile.moments.get(event, profile.exit)
    leak, leaking_blocks, beyond = _leak_rows(profile, leaked, event)
    found = {
        "leak": (leak + beyond, leaking_blocks),
        "live": (moment.live - leak, moment.blocks - leaking_blocks),
    }
    if held is not None:
        found |= _pinned(held, beyond, leaking_blocks)
    return {
        cause: (_within(charged, causes[cause]), blocks)
        for cause, (charged, blocks) in found.items()
    }


def _within(charged: np.ndarray, whole: int) -> np.ndarray:
    """The charges, lowered evenly to the `whole` that they share where they are estimated higher,
    as what is rounded is by glibc's rule for small blocks."""
    total = int(charged.sum())
    return charged if total <= whole else (charged * (whole / total)).astype(np.int64)


def _pinned(
    held: Taken, beyond: np.ndarray, leaking_blocks: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Bytes and blocks of each row that a heap's blocks are charged with beside their own."""
    found = {}
    cost: Pins = pins(held)
    row = held.blocks.site.astype(np.int64) + 1
    of_cause = {
        "fragmentation": cost.partial,
        "retention": cost.retained,
        "rounding": cost.rounding,
    }
    for cause, charge in of_cause.items():
        charged = np.bincount(row, weights=charge, minlength=len(beyond))
        blocks = np.bincount(row[charge > 0], minlength=len(beyond))
        if cause == "rounding":  # that of leaks counts as theirs
            charged, blocks = np.maximum(charged - beyond, 0), blocks - leaking_blocks
        found[cause] = (np.rint(charged).astype(np.int64), blocks)
    return found


def _first(
    labels: Sequence[str],
    place: np.ndarray,
    charged: tuple[np.ndarray, np.ndarray] | None,
    whole: int,
) -> Place | None:
    """The call site with most bytes of a cause, over all its stacks."""
    if charged is None or not whole:
        return None
    size, blocks = (np.bincount(place, weights=values) for values in charged)
    size[0] = 0  # the unknown one
    most = int(size.argmax())
    row = int(np.flatnonzero(place == most)[0])
    share = min(1.0, float(size[most]) / whole)
    return Place(labels[row - 1], share, int(blocks[most])) if most else None


def _culprits(
    trace: "Trace",
    labels: Sequence[str],
    of: tuple[str, str],
    charged: tuple[np.ndarray, np.ndarray] | None,
    whole: int,
) -> list[Culprit]:
    """The call stacks with most bytes of a cause; those that read the same are one."""
    if charged is None or not whole:
        return []
    size, blocks = charged
    order = np.argsort(-size, kind="stable")[: 20 * STACKS]
    merged: dict[tuple[str, ...], list[int]] = {}
    for row in order[size[order] > 0].tolist():
        frames = tuple(trace.stack(row - 1)) if row else ()
        known = merged.setdefault(frames, [row - 1, 0, 0])
        known[1] += int(size[row])
        known[2] += int(blocks[row])
    found = [
        Culprit(
            *of,
            site,
            total,
            min(1.0, total / whole),
            count,
            labels[site] if site >= 0 else "unknown",
            list(frames),
        )
        for frames, (site, total, count) in merged.items()
    ]
    return sorted(found, key=lambda one: -one.bytes)[:STACKS]


def course(found: Diagnosis, result: Result, rows: int = TIMES) -> list[dict[str, Any]]:
    """The causes through time: about `rows` moments of the result's timeline, its peak and its end
    among them. The leak is taken to grow evenly."""
    timeline = result.timeline
    if timeline is None or not len(timeline):
        return []
    spread = np.linspace(0, len(timeline) - 1, min(rows, len(timeline))).astype(np.int64)
    named = [int((timeline[:, 0] == found.bytes[moment]["event"]).argmax()) for moment in MOMENTS]
    clock = result.clock_ns
    told: list[dict[str, Any]] = []
    for row in sorted({*spread.tolist(), *named}):
        parts = dict(zip(TIMELINE, timeline[row].tolist(), strict=True))
        causes = _causes(parts, found.growth, found.leaked, parts["event"])
        told.append({**causes, "time_ns": int(clock[row]) if clock is not None else None})
    return told
