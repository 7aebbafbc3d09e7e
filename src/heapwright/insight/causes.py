"""What is said of each cause, and what a person can do about it: sentences alone.

The place that is named is the call site with most of the cause, where it has a telling part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.insight.growth import Growth, leaking
from heapwright.words import bytes_text, counted, percent_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

TELLING = 0.2  # of a cause; a place with less is not named in its sentence
FILLED = 0.9  # of what is live at the end; when that much is there it is filled
STOOD_STILL = 0.75  # of the trace, by when what is filled once is filled
AT_ONCE = 0.02  # of the trace
LABEL_CHARACTERS = 70  # of a call site in a sentence


@dataclass(frozen=True)
class Culprit:
    """A call stack and what of a cause it is responsible for."""

    cause: str
    moment: str  # end or peak
    site: int  # the trace's; -1 unknown
    bytes: int
    share: float  # of the cause's bytes at that moment
    blocks: int
    label: str
    frames: list[str]  # outermost first

    def to_json(self) -> dict[str, Any]:
        """As `why --json` prints it."""
        return dict(vars(self))


class Place(NamedTuple):
    """The call site with most of a cause."""

    label: str
    share: float
    blocks: int


@dataclass(frozen=True)
class Course:
    """How the program's memory went, as far as sentences need it."""

    moment: str  # that is judged
    resident_bytes: int  # then
    live_bytes: int  # then, what leaks included
    peak_live_bytes: int
    exit_bytes: int  # freed in the exit phase
    growing_bytes: int  # live, still growing at the end, and freed by the exit phase
    filled_at: float | None  # share of the trace after which live memory stood still
    heap_bytes: int  # resident at the peak
    process_bytes: int  # that the whole process had at most; 0 where that is not known
    python: bool = False  # whether most of it lies in arenas of Python's own allocator
    device: bool = False  # whether it is of a device's memory, which no malloc serves
    java: bool = False  # whether it is of a JVM's objects, which none serves either

    @classmethod
    def of(
        cls,
        trace: Trace,
        profile: Growth,
        leaked: np.ndarray,
        causes: Mapping[str, Mapping[str, int]],
        moment: str,
    ) -> Course:
        """The course of a trace."""
        at_exit = int(profile.exit.live.sum())
        rows = [values.sum(axis=-1, keepdims=True) for values in (profile.low, profile.exit.live)]
        grows = int(leaking(rows[0], rows[1], rows[1])[0])
        known = causes[moment]
        return cls(
            moment,
            known["resident_bytes"],
            known["leak"] + known["live"],
            trace.peak_live_bytes,
            at_exit - int(profile.kept.sum()),
            max(0, grows - int(leaked.sum())),
            filled_at(profile.live),
            causes["peak"]["resident_bytes"],
            process_bytes(trace),
            bool(trace.python),
            trace.on_device,
            bool(trace.graph and trace.java),
        )


def process_bytes(trace: Trace) -> int:
    """The most that the recorded process had resident, its code and files included; 0 unknown."""
    text = trace.origin.get("resident_bytes", "")
    return int(text) if text.isdecimal() else 0


def of_the_process(course: Course) -> str:
    """What part of the process the heap is, where that is less than half; else nothing."""
    if course.heap_bytes * 2 >= course.process_bytes:
        return ""
    heap, process = bytes_text(course.heap_bytes), bytes_text(course.process_bytes)
    return f" The recorded heap is {heap} of the {process} that the process has at most."


DEVICE_MENDS = {  # of PyTorch's allocator, where a malloc has other settings
    "caches": "Call torch.cuda.empty_cache() after a load.",
    "fragmentation": "Try PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, first by "
    "`heapwright compare --set cuda-caching.expandable_segments=1`.",
    "retention": "Try PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, first by "
    "`heapwright compare --set cuda-caching.expandable_segments=1`.",
    "rounding": "Ask for fewer and larger tensors: each takes a multiple of 512 bytes.",
}
JAVA_MENDS = {  # of a JVM's heap
    "caches": "Smaller buffers of threads, -XX:TLABSize, or fewer threads.",
    "fragmentation": "A collector that moves objects has none: `heapwright compare` tries them.",
    "retention": "A smaller -Xmx keeps less; `heapwright compare --heap 1.5x,2x,3x` says what that "
    "costs in collections.",
    "rounding": "Fewer and larger objects: each has a header of 12 bytes, an array 16, and takes "
    "a multiple of 8.",
    "garbage": "A smaller -Xmx or -Xmn collects earlier; `heapwright compare --heap 1.5x,2x,3x` "
    "says what that costs in collections.",
}


def filled_at(live: np.ndarray) -> float | None:
    """The share of the windows after which live memory stays within a tenth of its last value;
    None where that is only late, or nothing is live."""
    last = int(live[-1]) if len(live) else 0
    if last <= 0:
        return None
    apart = np.flatnonzero((live < FILLED * last) | (live > last / FILLED))
    share = (int(apart[-1]) + 1) / len(live) if len(apart) else 0.0
    return share if share <= STOOD_STILL else None


def sentences(cause: str, size: int, course: Course, place: Place | None) -> tuple[str, str]:
    """The sentence of a cause and its mend."""
    if not course.resident_bytes:
        return "Nothing is resident: no request of the trace was granted.", "Record a longer run."
    when = "that stay once it has settled" if course.moment == "end" else "resident at the peak"
    whole = f"of the {bytes_text(course.resident_bytes)} {when}"
    share = percent_text(size / course.resident_bytes)
    if place and place.share < TELLING:
        place = None
    if place and len(place.label) > LABEL_CHARACTERS:
        place = place._replace(label=place.label[: LABEL_CHARACTERS - 3] + "...")
    told = {
        "leak": _leak,
        "fragmentation": _fragmentation,
        "caches": _caches,
        "rounding": _rounding,
        "retention": _retention,
        "garbage": _garbage,
        "live": _live,
    }[cause]
    said, mend = told(f"{bytes_text(size)} {whole} ({share})", place, course)
    others = DEVICE_MENDS if course.device else JAVA_MENDS if course.java else {}
    return said, others.get(cause, mend)


def _by(place: Place | None) -> str:
    """`, 92 % of it asked for by PLACE`."""
    if not place:
        return ""
    share = percent_text(place.share)
    return f", {'all' if share == '100 %' else share} of it asked for by {place.label}"


def _leak(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    few = f" in {counted(place.blocks, 'block')}" if place and place.blocks <= 3 else ""
    return (
        f"A leak: {much} were never freed{few} and still grow{_by(place)}.",
        (f"Free what {place.label} makes, or bound it" if place else "Free it, or bound it")
        + ": no allocator and no setting mends a leak.",
    )


def _fragmentation(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    pinned, whose = "", "Keep long-lived blocks"
    if place:
        share, blocks = percent_text(place.share), counted(place.blocks, "block")
        pinned = f"; {blocks} of {place.label} hold {share} of it"
        whose = f"Keep what {place.label} makes"
    return (
        f"Fragmentation: {much} are free, on pages that live blocks hold{pinned}.",
        f"{whose} apart from the short-lived: from a pool of its own, or made before the load. "
        "`heapwright advise` tries the settings and allocators that can be deployed.",
    )


def _caches(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    return (
        f"The allocator's caches: {much} are free blocks that it keeps at hand.",
        "Smaller caches: GLIBC_TUNABLES=glibc.malloc.tcache_count=0 (and glibc.malloc.mxfast=0), "
        "fewer threads, or malloc_trim(0) after a load.",
    )


def _rounding(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    whose = f", most for the small blocks of {place.label}" if place else ""
    least = "a multiple of 16 bytes in pymalloc" if course.python else "at least 32 bytes in glibc"
    return (
        f"Rounding and headers: {much} are what the allocator adds to each block{whose}.",
        (f"Put what {place.label} makes" if place else "Put small blocks")
        + f" into arrays or larger records: each block costs {least}.",
    )


def _retention(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    above = f" below blocks of {place.label}" if place else ""
    told = f"Retention: {much} are empty pages that the allocator has not given back{above}."
    if course.python:
        what = f"what {place.label} keeps" if place else "what is kept since the load"
        return (
            told,
            f"Free {what}, or make it before the load: a block keeps its arena of 1 MiB (256 KiB "
            "before 3.10). What glibc keeps besides, `ctypes.CDLL(None).malloc_trim(0)` gives "
            "back.",
        )
    return (
        told,
        "Call malloc_trim(0) after the load, or set MALLOC_TRIM_THRESHOLD_=65536 and "
        "MALLOC_MMAP_THRESHOLD_=65536"
        + (f"; or free what {place.label} keeps above them." if place else "."),
    )


def _garbage(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    return (
        f"Garbage: {much} are dead and not yet collected.",
        "Collect more often: a smaller heap limit or growth factor.",
    )


def _live(much: str, place: Place | None, course: Course) -> tuple[str, str]:
    asked = _by(place)
    whose = f"what {place.label} keeps" if place else "what is kept"
    if course.moment == "peak":
        return (
            f"Simply live: {much} were in use then{asked}; the program frees most of it again.",
            f"Only a smaller working set lowers it: look at {whose}.",
        )
    if course.growing_bytes * 4 >= course.live_bytes > 0:
        return (
            f"Simply live: {much} are in use{asked}; it grows to the end and is freed at the exit: "
            "the program still knows of it.",
            f"Bound {whose} if the program is to run longer.",
        )
    if course.filled_at is not None:
        since = f"after {percent_text(course.filled_at)} of the run"
        if course.filled_at < AT_ONCE:
            since = "from the start"
        return (
            f"Simply live, no leak: {much} are in use{asked}; it was filled once and stands still "
            f"{since}, as a cache does.",
            f"Bound or shrink {whose}: nothing else lowers it.",
        )
    return (
        f"Simply live: {much} are in use{asked}.",
        f"Only a smaller working set lowers it: look at {whose}.",
    )
