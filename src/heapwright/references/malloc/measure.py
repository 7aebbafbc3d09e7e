"""What memory a real allocator took for a trace, as a `Result` of kind "measured".

Of a real system the resident bytes are known, and of its blocks what was requested and what
malloc_usable_size says. The rest (headers, caches, fragments, what is kept for later) cannot be
told apart from outside: it stands under `partial_bytes`, and a note says so.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.references.malloc import systems
from heapwright.references.malloc.harness import Drive, Footprint
from heapwright.result import PARTS, TIMELINE, Result
from heapwright.trace.ending import ending
from heapwright.trace.schema import Events
from heapwright.tunnel.settled import settle

REST = (
    "Measured from outside: what is neither requested nor usable (headers, caches, fragments, "
    "retained pages) cannot be told apart and stands under partial; the allocator's static data "
    "is left out."
)
CLOCK = (
    "Replayed without the program's pauses: what it gives back by the clock comes later, so "
    "mean and end may be lower in the program."
)
PACED = "Replayed at the program's own pace, as far as its clock was read."
PACED_SECONDS = 15.0  # the longest program whose time passes again
READINGS = 50  # of its clock, at least
STEP_NS = 1_000_000  # of its clock
SENT = ("op", "slot", "size", "align", "thread")
THREADS = "{} threads, each a real one, took turns in the order of the trace."
LEFT_OUT = (
    "Left out {} calls of mallopt or malloc_trim, by which the recorded program steered its own "
    "allocator: the real {} has no such function."
)
COARSE = "This kernel counts resident pages in steps: the peak may be off by 256 KiB a processor."
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def measure(  # noqa: PLR0913 the first two say what, the others how
    name: str,
    trace: Any,
    *,
    touch: str = "all",
    huge_pages: bool = False,
    settings: dict[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
    pace: bool = False,
) -> Result:
    """Drive the real allocator `name` with `trace` in a fresh process.

    `huge_pages`: leave them as this machine has them, instead of none. `settings`: glibc's
    tunables, as {"arena_max": 2}. `seconds` are those of the replay with touching. With `pace` the
    trace's own time passes, of a system that goes by the clock and a trace that is short.
    HeapwrightError when the allocator or a compiler is missing.
    """
    replayed, ends = 0, ending(trace)
    paced = pace and systems.deployed(name).waits(settings or {}) and in_time(trace)
    with Drive(
        name,
        trace,
        touch=touch,
        huge_pages=huge_pages,
        tunables=settings,
        end_event=ends.end,
    ) as drive:
        start = time.perf_counter()
        for batch in trace.batches(columns=(*SENT, "time_ns") if paced else SENT):
            for seconds, part in _in_time(batch) if paced else [(0.0, batch)]:
                if (early := seconds - (time.perf_counter() - start)) > 0 and paced:
                    time.sleep(early)
                drive.replay(part)
            replayed += len(batch.op)
            if progress:
                progress(replayed)
        footprint = drive.finish()
    result = Result(
        manager=name,
        kind="measured",
        events=replayed,
        seconds=footprint.seconds,
        peak=parts(footprint.resident_bytes, footprint.live_bytes, footprint.usable_bytes),
        page_faults=footprint.page_faults,
        mapped_bytes_peak=footprint.mapped_bytes_peak,
        high_water_bytes=footprint.high_water_bytes,
        settings=dict(settings or {}),
        timeline=_timeline(footprint.samples),
        refused=footprint.refused,
        notes=_notes(name, trace.threads, footprint, touch, huge_pages, paced=paced),
    )
    settle(result, trace, ends)
    return result


def in_time(trace: Any) -> bool:
    """Whether `trace` knows its time well and is short enough to let it pass again."""
    if "time_ns" not in getattr(trace, "columns", ()):
        return False
    last, readings = 0, 0
    for batch in trace.batches(("time_ns",)):
        times = np.maximum.accumulate(batch.time_ns)
        readings += int(np.count_nonzero(np.diff(times, prepend=last)))
        last = max(last, int(times[-1]))
    return readings >= READINGS and last <= 1e9 * PACED_SECONDS


def _in_time(batch: Events) -> Iterator[tuple[float, Events]]:
    """The batch in parts, each with the seconds at which the program came to it."""
    times = np.maximum.accumulate(batch.time_ns)
    edges = np.flatnonzero(np.diff(times // STEP_NS)) + 1
    for first, past in itertools.pairwise([0, *edges.tolist(), len(batch.op)]):
        yield float(times[first]) / 1e9, Events(*(column[first:past] for column in batch))


def parts(resident: int, live: int, usable: int) -> dict[str, int]:
    """`resident_bytes` and its parts, which sum to it: live, rounding, and the rest as partial."""
    peak = dict.fromkeys(TIMELINE[2:], 0)
    peak["resident_bytes"] = resident
    peak["live_bytes"] = min(live, resident)
    peak["rounding_bytes"] = min(usable - live, resident - peak["live_bytes"])
    peak["partial_bytes"] = resident - peak["live_bytes"] - peak["rounding_bytes"]
    return peak


def _timeline(samples: np.ndarray) -> np.ndarray:
    """int64[sample, len(TIMELINE)] from int64[sample, 5]: event, mapped, resident, live, usable."""
    timeline = np.zeros((len(samples), len(TIMELINE)), np.int64)
    event, mapped, resident, live, usable = samples.T
    timeline[:, 0], timeline[:, 1], timeline[:, 2] = event, mapped, resident
    column = {part: 3 + number for number, part in enumerate(PARTS)}
    known = np.minimum(live, resident)
    rounding = np.minimum(usable - live, resident - known)
    timeline[:, column["live"]] = known
    timeline[:, column["rounding"]] = rounding
    timeline[:, column["partial"]] = resident - known - rounding
    return timeline


def _notes(
    name: str, threads: int, footprint: Footprint, touch: str, huge_pages: bool, *, paced: bool
) -> list[str]:
    """What a reader of the figures must know."""
    notes = [REST]
    if touch == "none":
        notes.append("The replay wrote nothing: only what the allocator itself writes is resident.")
    if systems.deployed(name).at_once:
        notes.append(PACED if paced else CLOCK)
    if threads > 1:
        notes.append(THREADS.format(f"{threads:,}"))
    if footprint.left_out:
        notes.append(LEFT_OUT.format(f"{footprint.left_out:,}", name))
    if footprint.live_bytes > footprint.resident_bytes:
        notes.append("More was requested than ever became resident: live is cut to resident.")
    within = footprint.high_water_bytes - footprint.resident_bytes
    if within:
        notes.append(
            f"Within one event it held about {within:,} bytes more than at the peak, which is "
            "taken between events."
        )
    if not footprint.exact:
        notes.append(COARSE)
    if huge_pages and _THP.exists():
        notes.append(f"Transparent huge pages as on this machine: {_THP.read_text().strip()}.")
    if footprint.refused:
        notes.append(
            f"Refused {footprint.refused:,} requests that the recorded program was granted."
        )
    return notes


def installed() -> list[str]:
    """Names of the real allocators that can be driven here."""
    return [found.name for found in systems.available() if not found.missing]
