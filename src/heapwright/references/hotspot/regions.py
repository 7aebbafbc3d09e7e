"""G1's twin beside a real JVM: every pause by its regions.

Equal      the event that caused it, young or full, regions of eden before it, of survivors, old and
           humongous ones after it, the threshold; the age table as each collecting event leaves it
Given      regions of the JVM's own before the first event: they are as many in the twin

The JVM's own log says how many regions there are, its counters the rest. With the default IHOP
cycles run beside the program, so that they are not the same twice: see how many there were.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.collectors.hotspot.history import CONCURRENT, FIRST_AGE, FULL, PAST_AGES
from heapwright.references.hotspot import driver

if TYPE_CHECKING:
    from heapwright.references.hotspot.driver import Observed

EVENT, KIND, EDEN, SURVIVORS, HUMONGOUS, OLD, THRESHOLD = range(FIRST_AGE)
COLUMN = {name: number for number, name in enumerate(driver.REGIONS)}
STANDING = ("old_after", "humongous_after", "archive_after")


def own_bytes(observed: "Observed") -> int:
    """Bytes of the regions that the JVM had before the first event, but for young ones."""
    before = observed.regions[: len(observed.regions) - _pauses(observed)]
    row = before[-1] if len(before) else np.zeros(len(driver.REGIONS), np.int64)
    return int(sum(row[COLUMN[name]] for name in STANDING)) * observed.region_bytes


def own_end(observed: "Observed") -> int:
    """Bytes of the heap's start that the JVM's own objects take, which a full collection has moved
    there; 0, unknown, where some lie in an archive too."""
    before = observed.regions[: len(observed.regions) - _pauses(observed)]
    archived = len(before) and before[-1][COLUMN["archive_after"]]
    return 0 if archived else observed.first(driver.OLD)


def finalizers(observed: "Observed") -> int:
    """From the heap's start to the list of Finalizers. Where the JVM has that in a region of its
    archive, at the heap's end, the twin has it in the first or the last region of the JVM's own, in
    which the table is not."""
    offset, own = max(0, observed.finalizers - observed.old), own_bytes(observed)
    if offset < own:
        return offset
    table = (observed.table - observed.old) // observed.region_bytes
    return 0 if table else max(0, own - 8)


def _pauses(observed: "Observed") -> int:
    """Young and full collections of the events."""
    youngs, fulls = observed.column(driver.YOUNGS), observed.column(driver.FULLS)
    return int(youngs[-1] - youngs[0] + fulls[-1] - fulls[0])


def compare(found: Any, at: np.ndarray, ours: np.ndarray, observed: "Observed") -> None:
    """Enter each pause of the JVM beside the twin's of the same number; `at` int64[collection] is
    the played event of each of `ours`."""
    counts = np.diff(
        np.stack([observed.column(driver.YOUNGS), observed.column(driver.FULLS)], axis=1), axis=0
    )
    pauses = _pauses(observed)
    real = observed.regions[len(observed.regions) - pauses :]
    before = observed.regions[: len(observed.regions) - pauses]
    start = before[-1] if len(before) else np.zeros(len(driver.REGIONS), np.int64)
    stopping = ours[:, KIND] != CONCURRENT
    at, ours = at[stopping], ours[stopping]
    found.collections = (len(ours), pauses)
    events = observed.rows[1:, 0]
    number = 0
    for row, event in enumerate(events.tolist()):
        young, full = counts[row].tolist()
        last = None
        for _ in range(young + full):
            last = _enter(found, (number, event), (at, ours), (real[number], start))
            number += 1
        if last is None:
            continue  # a pause of the concurrent cycle
        ages = [int(observed.column(name)[row + 1]) for name in driver.AGES]
        threshold = int(observed.column(driver.THRESHOLD)[row + 1])
        found.thresholds.add(np.array([last[THRESHOLD] == threshold]))
        found.ages.add(np.array([last[FIRST_AGE:PAST_AGES].tolist() == ages]))


def _enter(
    found: Any,
    which: tuple[int, int],
    twin: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Enter one pause, by its number and event; the twin's row."""
    number, event = which
    at, ours = twin
    told, start = real
    row = ours[number] if number < len(ours) else np.full(PAST_AGES, -1, np.int64)
    wanted = {
        "eden": (row[EDEN], told[COLUMN["eden_before"]]),
        "survivors": (row[SURVIVORS], told[COLUMN["survivors_after"]]),
        "humongous": (row[HUMONGOUS], _since(told, start, "humongous_after")),
        "old": (row[OLD], _since(told, start, "old_after")),
    }
    equal = {name: bool(mine == theirs) for name, (mine, theirs) in wanted.items()}
    equal["moments"] = bool(number < len(at) and at[number] == event)
    is_full = told[COLUMN["survivors_after"]] == 0 and row[KIND] == FULL
    equal["kinds"] = bool(is_full or row[KIND] != FULL)
    for name, same in equal.items():
        getattr(found, name).add(np.array([same]))
    found.whole.add(np.array([all(equal.values())]))
    if not all(equal.values()) and not found.differs:
        wrong = ", ".join(name for name, same in equal.items() if not same)
        found.differs = (
            f"First different is collection {number + 1:,}, at event {event:,} of those played: "
            f"{wrong}; eden, survivors, humongous, old here {row[EDEN:THRESHOLD].tolist()}, there "
            f"{[int(theirs) for _, theirs in wanted.values()]}."
        )
    return row


def _since(told: np.ndarray, start: np.ndarray, name: str) -> int:
    """Regions beyond those that the JVM had before the first event."""
    return int(told[COLUMN[name]] - start[COLUMN[name]])
