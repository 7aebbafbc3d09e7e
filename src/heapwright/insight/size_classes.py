"""Which size classes would fit a trace, and what those of real allocators lose on it.

    trace ─► size_census ─► demands, a row for each size ─► class_search ─► the best table
                                                        └─► class_rules  ─► others beside it

Lost bytes are those that a block has beyond what was asked. They are counted in one of three ways:
`peak`, of the blocks alive when most bytes are; `mean`, of those alive on average, over events;
`requests`, of every request once. What pages lose at a span's end, and headers, are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.insight import size_census as census
from heapwright.insight.class_rules import RULES, as_wright
from heapwright.insight.class_search import best_classes
from heapwright.words import counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

MEASURES = {"peak": census.PEAK, "mean": census.LIFETIME, "requests": census.REQUESTS}
LARGEST = 256 << 10  # bytes; real allocators give larger blocks pages of their own
MOST = 64
MOST_CLASSES = 1024
GRANULE = 16
BEST = "best"
AS_WRIGHT = "best, in wright"
COLUMNS = ("op", "slot", "size")


@dataclass
class Table:
    """A table of size classes and what it loses."""

    name: str
    sizes: list[int]  # up to the first that holds the largest request
    lost_bytes: dict[str, float]  # by measure
    lost_share: dict[str, float]  # of what was asked, by measure

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        return {"name": self.name, "classes": len(self.sizes), **vars(self)}


@dataclass
class SizeClasses:
    """The best table for a trace, `tables[0]`, and the others."""

    by: str
    most: int
    granule: int
    largest: int
    requests: int  # that the tables serve
    larger_requests: int  # that no class serves
    tables: list[Table]
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        """Those of the best table."""
        return self.tables[0].sizes

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints, which is a table's file too."""
        known = {name: value for name, value in vars(self).items() if name != "tables"}
        return {
            "sizes": self.sizes,
            **known,
            "tables": [table.to_json() for table in self.tables],
        }


def size_classes(
    trace: "Trace",
    most: int = MOST,
    *,
    by: str = "peak",
    granule: int = GRANULE,
    largest: int = LARGEST,
    advance: Callable[[int], None] = lambda events: None,
) -> SizeClasses:
    """The best table of at most `most` classes, multiples of `granule` bytes, for requests of up
    to `largest`; and what others lose. HeapwrightError for what is no measure or granule."""
    if by not in MEASURES:
        raise HeapwrightError(f"--by is one of {', '.join(MEASURES)}, not {by!r}.")
    if granule < 8 or granule & (granule - 1) or granule > 4096:
        raise HeapwrightError(f"--granule is a power of two from 8 to 4,096, not {granule}.")
    if not granule <= largest <= LARGEST or largest % granule:
        raise HeapwrightError(
            f"--largest is a multiple of the granule, at most {LARGEST:,}, not {largest:,}."
        )
    if not 1 <= most <= MOST_CLASSES:
        raise HeapwrightError(f"--most is 1 to {MOST_CLASSES:,}, not {most:,}.")
    tally = census.size_census(trace, largest)
    for batch in trace.batches(COLUMNS):
        census.count(tally, batch)
        advance(len(batch.op))
    census.finish(tally)
    weights = tally.weights[:, :-1]  # the last row is of what is larger
    asked = np.flatnonzero(weights[census.REQUESTS, :, census.COUNT])
    if not len(asked):
        raise HeapwrightError(
            f"{trace.path} asks for no block of up to {largest:,} bytes: no classes can fit it."
        )
    sizes = best_classes(*_demands(weights[MEASURES[by]], int(asked[-1]), granule), most)
    events = trace.events >> int(tally.totals[census.LIFE_SHIFT])
    tables = [_table(BEST, sizes, weights, int(asked[-1]), events)]
    notes = []
    try:
        taken = as_wright(sizes)
        tables.append(_table(AS_WRIGHT, taken, weights, int(asked[-1]), events))
    except HeapwrightError as error:
        notes.append(str(error))
    for name, rule in RULES.items():
        tables.append(_table(name, rule(largest), weights, int(asked[-1]), events))
    if aligned := int(tally.totals[census.ALIGNED]):
        notes.append(f"{counted(aligned, 'request')} for an alignment counted by size alone.")
    every = tally.weights[census.REQUESTS, :, census.COUNT]
    return SizeClasses(
        by, most, granule, largest, int(every[:-1].sum()), int(every[-1]), tables, notes
    )


def _demands(weights: np.ndarray, last: int, granule: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes that are asked for, as multiples of the granule, and blocks of each.

    The largest request is there even where the measure has none of it.
    """
    sizes = np.maximum(np.arange(last + 1) << census.ROW_SHIFT, 1)
    rounded = (sizes + granule - 1) // granule
    blocks = np.zeros(int(rounded[-1]) + 1, np.int64)
    np.add.at(blocks, rounded, weights[: last + 1, census.COUNT])
    present = np.flatnonzero(blocks)
    if not len(present) or present[-1] != rounded[-1]:
        present = np.append(present, rounded[-1])
    return present * granule, blocks[present]


def _table(name: str, sizes: Sequence[int], weights: np.ndarray, last: int, events: int) -> Table:
    """What a table loses; `sizes` reach at least as far as the largest request."""
    rows = np.maximum(np.arange(last + 1) << census.ROW_SHIFT, 1)
    chosen = np.searchsorted(np.array(sizes), rows)
    given = np.array(sizes, np.int64)[chosen]
    lost, share = {}, {}
    for measure, number in MEASURES.items():
        blocks, asked = weights[number, : last + 1].T
        total = int((blocks * given).sum() - asked.sum())
        lost[measure] = total / max(1, events) if number == census.LIFETIME else total
        share[measure] = total / int(asked.sum()) if asked.sum() else 0.0
    return Table(name, [int(size) for size in sizes[: int(chosen.max()) + 1]], lost, share)
