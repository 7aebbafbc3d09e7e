"""What memory a real allocator took for a trace, as a `Result` of kind "measured".

Of a real system the resident bytes are known, and of its blocks what was requested and what
malloc_usable_size says. The rest (headers, caches, fragments, what is kept for later) cannot be
told apart from outside: it stands under `partial_bytes`, and a note says so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.references.malloc import systems
from heapwright.references.malloc.harness import Drive, Footprint
from heapwright.result import PARTS, TIMELINE, Result
from heapwright.trace.ending import ending
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
THREADS = "{} threads, each a real one, took turns in the order of the trace."
LEFT_OUT = (
    "Left out {} calls of mallopt or malloc_trim, by which the recorded program steered its own "
    "allocator: the real {} has no such function."
)
COARSE = "This kernel counts resident pages in steps: the peak may be off by 256 KiB a processor."
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def measure(
    name: str,
    trace: Any,
    *,
    touch: bool = True,
    huge_pages: bool = False,
    settings: dict[str, int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """Drive the real allocator `name` with `trace` in a fresh process.

    `huge_pages`: leave them as this machine has them, instead of none. `settings`: glibc's
    tunables, as {"arena_max": 2}. `seconds` are those of the replay with touching.
    HeapwrightError when the allocator or a compiler is missing.
    """
    replayed, ends = 0, ending(trace)
    with Drive(
        name,
        trace,
        touch=touch,
        huge_pages=huge_pages,
        tunables=settings,
        end_event=ends.end,
    ) as drive:
        for batch in trace.batches(columns=("op", "slot", "size", "align", "thread")):
            drive.replay(batch)
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
        notes=_notes(name, trace.threads, footprint, touch, huge_pages),
    )
    settle(result, trace, ends)
    return result


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
    name: str, threads: int, footprint: Footprint, touch: bool, huge_pages: bool
) -> list[str]:
    """What a reader of the figures must know."""
    notes = [REST]
    if not touch:
        notes.append("The replay wrote nothing: only what the allocator itself writes is resident.")
    if name != "glibc":
        notes.append(CLOCK)
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
