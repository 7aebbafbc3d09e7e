"""The areas of a replayed manager's address space, at one event of a trace.

What the machine knows of pages, put together: a run of mapped pages that are advised alike is an
area. A manager's static variables are part of the program's image, and not told.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.linux.smaps import Row
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    FIRST_BREAK,
    HUGE_ADVISE,
    HUGE_ADVISED,
    HUGE_ALWAYS,
    HUGE_PAGE_BYTES,
    HUGE_PAGES,
    LAZY_FREE,
    LOWEST_MAPPED,
    MAPPED,
    PAGE_BYTES,
    PAGE_SHIFT,
    RESIDENT,
    Machine,
)
from heapwright.trace.schema import Events
from heapwright.tunnel.conditions import Conditions, columns_of
from heapwright.tunnel.replay import Replay

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

RESERVED = (
    "What a manager reserves without access (PROT_NONE) is counted as mapped; where the heap and "
    "the mapped zone lie is the tunnel's own choice."
)
HUGE_IF_FULL = (
    "AnonHugePages are at most so many: each 2 MiB that is resident to the last page where huge "
    "pages may be is told as one, and small pages may have filled it."
)
WHEN = ("peak", "end")


def areas_at(
    manager: str,
    trace: "Trace",
    when: str | int = "peak",
    settings: Mapping[str, int] | None = None,
    *,
    conditions: Conditions,
    progress: Callable[[int], None] = lambda events: None,
) -> tuple[int, list[Row], list[str]]:
    """The event, the areas after it, and what must be known of them.

    `when`: an event, "end" or "peak", the first moment with most bytes resident, which takes a
    replay of its own. HeapwrightError for an event that the trace has not.
    """
    settings = dict(settings or {})
    if isinstance(when, int) and not 0 <= when < trace.events:
        raise HeapwrightError(
            f"{trace.path} has no event {when:,}: they are 0 to {trace.events - 1:,}."
        )
    event = trace.events - 1 if when == "end" else when
    if when == "peak":
        twin = Replay(manager, trace, settings, conditions)
        twin.replay(trace, progress)
        event = int(twin.run.progress[twin.loop.PEAK_EVENT])
        del twin
    assert isinstance(event, int)
    twin = Replay(manager, trace, settings, conditions)
    first = 0
    for batch in trace.batches(columns_of(twin.loop, trace)):
        some = Events(*(column[: event + 1 - first] for column in batch))
        twin.loop.replay(twin.heap, twin.run, some)
        twin.end_if_fatal()
        first += len(batch.op)
        progress(first)
        if first > event:
            break
    guessed = [] if conditions.huge_pages == "never" else [HUGE_IF_FULL]
    return event, rows_of_machine(twin.heap.machine), [RESERVED, *guessed, *twin.notes()]


def rows_of_machine(machine: Machine) -> list[Row]:
    """The areas of a machine, ascending."""
    meters = machine.meters
    policy = int(meters[HUGE_PAGES])
    brk = -(-int(meters[BREAK]) // PAGE_BYTES)
    found = []
    if meters[BREAK] > meters[FIRST_BREAK]:
        found += _runs(machine.pages, int(meters[FIRST_BREAK]) >> PAGE_SHIFT, brk, "[heap]", policy)
    lowest = max(int(meters[LOWEST_MAPPED]), BREAK_BASE) >> PAGE_SHIFT
    return found + _runs(machine.pages, max(lowest, brk), len(machine.pages), "", policy)


def _runs(pages: np.ndarray, start: int, past: int, name: str, policy: int) -> list[Row]:
    """An area for each run of pages that are mapped and advised alike."""
    kind = pages[start:past] & (MAPPED | HUGE_ADVISED)
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(kind)) + 1, [len(kind)]])
    rows = []
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if high <= low or not kind[low] & MAPPED:
            continue
        here = pages[start + low : start + high]
        resident = int(np.count_nonzero(here & RESIDENT)) * PAGE_BYTES
        lazy = int(np.count_nonzero(here & LAZY_FREE)) * PAGE_BYTES
        first, last = (start + low) * PAGE_BYTES, (start + high) * PAGE_BYTES
        huge = 0
        if policy == HUGE_ALWAYS or (policy == HUGE_ADVISE and kind[low] & HUGE_ADVISED):
            huge = _full(here, start + low) * HUGE_PAGE_BYTES
        rows.append(Row(first, last, "rw-p", name, resident, resident - lazy, resident, huge))
    return rows


def _full(pages: np.ndarray, first: int) -> int:
    """How many 2 MiB at a multiple of that are resident to the last page."""
    whole = HUGE_PAGE_BYTES // PAGE_BYTES
    resident = (pages[-first % whole :] & RESIDENT) != 0
    return int(resident[: len(resident) // whole * whole].reshape(-1, whole).all(axis=1).sum())
