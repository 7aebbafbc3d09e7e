"""Which references the twin's collections cleared, and which finalisers they ran, beside the JVM's.

A row is compared if the program still had the reference object: what is cleared in one that is dead
itself, and was not found so, no program can see.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.collectors.references import logged
from heapwright.references.hotspot import played
from heapwright.references.hotspot.driver import CLOCK, FINALISED, FULLS, YOUNGS
from heapwright.trace.schema import FINALISABLE, PHANTOM, SOFT, WEAK

if TYPE_CHECKING:
    from heapwright.collectors.references import References
    from heapwright.references.hotspot.driver import Observed
    from heapwright.trace.store import Trace

NAMES = {FINALISED: "finalised", SOFT: "soft", WEAK: "weak", PHANTOM: "phantom"}


def compare(found: Any, refs: "References", trace: "Trace", observed: "Observed") -> None:
    """Enter each event that cleared or finalised anything, here or there."""
    real = observed.cleared
    ours = logged(refs)
    at = np.searchsorted(played.rows_of_events(trace), ours[:, 0])
    kind = np.where(ours[:, 1] == FINALISABLE, FINALISED, ours[:, 1])
    seen = (ours[:, 3] != 0) | (kind == FINALISED)
    mine = _by_event(at[seen], kind[seen], ours[seen, 2])
    seen = (real[:, 3] != 0) | (real[:, 1] == FINALISED)
    theirs = _by_event(real[seen, 0], real[seen, 1], real[seen, 2])
    found.references_seen = tuple(
        (
            NAMES[kind],
            sum(_of(each, kind) for each in mine.values()),
            sum(_of(each, kind) for each in theirs.values()),
        )
        for kind in NAMES
    )
    _compare_order(found, (at, ours), observed)
    for event in sorted(mine.keys() | theirs.keys()):
        here, there = mine.get(event, Counter()), theirs.get(event, Counter())
        found.references.add(np.array([here == there]))
        if here != there and not found.differs:
            counts = [
                f"{NAMES[kind]} {_of(here, kind)} here and {_of(there, kind)} there"
                for kind in NAMES
                if _of(here - there, kind) or _of(there - here, kind)
            ]
            found.differs = (
                f"References differ first at event {event:,} of those played: {', '.join(counts)}."
            )


def _compare_order(found: Any, twin: tuple[np.ndarray, np.ndarray], observed: "Observed") -> None:
    """Enter in what order each young collection's cleared references are in their queue. What full
    ones clear is found in an order of its own; and the threads of the JVM may enqueue what one
    collection cleared before another that follows at once has cleared more, or after."""
    at, ours = twin
    alone = {
        int(event)
        for event, young, full in zip(
            observed.rows[1:, 0],
            np.diff(observed.column(YOUNGS)),
            np.diff(observed.column(FULLS)),
            strict=True,
        )
        if (young, full) == (1, 0)
    }
    mine = _queues(np.column_stack([at, ours[:, 1:]]), alone)
    theirs = _queues(observed.cleared, alone)
    for event in sorted(mine.keys() | theirs.keys()):
        found.queues.add(np.array([mine.get(event) == theirs.get(event)]))


def _queues(rows: np.ndarray, events: set[int]) -> dict[int, list[tuple[int, int]]]:
    """By event (kind, slot) of what the program found in the queue, in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    for event, kind, slot, held in rows.tolist():
        if event in events and held and kind in (SOFT, WEAK, PHANTOM):
            found.setdefault(event, []).append((kind, slot))
    return found


def times(trace: "Trace", real: np.ndarray) -> np.ndarray:
    """int64[row, 2]: the trace's events that collected, -1 before all, and what the JVM's clock of
    soft references showed after each, ms."""
    told = real[real[:, 1] == CLOCK]
    events = played.rows_of_events(trace)
    found = np.stack([told[:, 0], told[:, 2] - told[0, 2]], axis=1)
    found[1:, 0] = events[told[1:, 0]]
    return found


def _by_event(
    events: np.ndarray, kinds: np.ndarray, slots: np.ndarray
) -> dict[int, Counter[tuple[int, int]]]:
    """By event how often each (kind, slot) was cleared."""
    found: dict[int, Any] = {}
    for event, kind, slot in zip(events.tolist(), kinds.tolist(), slots.tolist(), strict=True):
        found.setdefault(event, Counter())[kind, slot] += 1
    return found


def _of(counts: Counter[tuple[int, int]], kind: int) -> int:
    return sum(count for (one, _), count in counts.items() if one == kind)
