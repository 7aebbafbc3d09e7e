"""A flame graph's data: what each frame of the tree of stacks and all that it called come to.

    rows of a profile ─► subtotals ─► callees that read the same are one ─► small ones left out

What Python calls to import a module, six frames deep each time, is one frame here. Values are of
VALUES, in bytes; a node's is that of all stacks through it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.insight.growth import Growth, growth
from heapwright.insight.why import (
    IMPORT_FRAMES,
    IMPORTING,
    leaks,
    peak_event,
    places,
)
from heapwright.result import Result
from heapwright.trace.ending import ending
from heapwright.trace.stacks import subtotals

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

VALUES = ("peak", "end", "allocated", "leaked")
LEAST = 1 / 2000  # of a value's whole; what is smaller in all of them is left out
NODES = 20_000  # at most
UNKNOWN = "unknown"  # the frame of requests without a call site


@dataclass
class Flame:
    """Nodes in an order in which callers come first; columns of one length. Node 0 is the whole."""

    parent: list[int]  # node; -1 of the whole
    name: list[int]  # row of `names`
    names: list[str]
    values: dict[str, list[int]]  # of VALUES: bytes, callees included
    left_out: int = 0  # nodes too small to be seen

    def to_json(self) -> dict[str, Any]:
        """As the page embeds it."""
        return dict(vars(self))


def columns(profile: Growth, leaked: np.ndarray, events: Mapping[str, int]) -> np.ndarray:
    """int64[row, len(VALUES)]: what the stacks themselves hold; `events` of peak and end.

    Where the peak's event is not one of the profile's moments, when most bytes were live counts.
    """
    peak = profile.moments.get(events["peak"], profile.peak)
    end = profile.moments.get(events["end"], profile.exit)
    return np.stack([peak.live, end.live, profile.allocated, leaked], axis=1)


def flame_of(trace: "Trace", result: Result | None) -> Flame:
    """The flame graph of a trace, which is streamed once; peak and end are those of `result`."""
    ends = ending(trace)
    events = {"peak": peak_event(result) if result else -1, "end": ends.end}
    profile = growth(trace, ends, list(events.values()))
    return flame(trace, columns(profile, leaks(profile, places(trace.sites())), events))


def flame(trace: "Trace", own: np.ndarray) -> Flame:
    """The flame graph of `own`, int64[row, value]: row 0 of unknown sites, else 1 + node."""
    tree = trace.stacks()
    parent = tree.parent.astype(np.int64)
    total = subtotals(parent, own[1:])
    whole = own.sum(axis=0)
    large = (total > np.maximum(whole * LEAST, 0)).any(axis=1)
    most = np.where(whole > 0, total / np.maximum(whole, 1), 0).max(axis=1)
    if np.count_nonzero(large) > NODES:
        large &= most >= np.partition(most, -NODES)[-NODES]
    frames = [name.split("\n") for name in trace.frames()]
    found = Flame([-1], [0], ["all"], {})
    sums = [whole.copy()]
    known = {"all": 0}
    child: dict[tuple[int, int], int] = {}
    at = np.zeros(len(parent), np.int64)  # of a node of the tree, that of the graph

    def entered(above: int, name: str, values: np.ndarray) -> int:
        row = known.setdefault(name, len(known))
        if row == len(found.names):
            found.names.append(name)
        node = child.setdefault((above, row), len(found.parent))
        if node == len(found.parent):
            found.parent.append(above)
            found.name.append(row)
            sums.append(np.zeros(len(VALUES), np.int64))
        sums[node] += values
        return node

    if own[0].any():
        entered(0, UNKNOWN, own[0])
    for node in np.flatnonzero(large).tolist():
        above = int(at[parent[node]]) if parent[node] >= 0 else 0
        for frame in frames[tree.frame[node]]:
            name = IMPORTING if IMPORT_FRAMES in frame else frame
            if name != IMPORTING or found.names[found.name[above]] != IMPORTING:
                above = entered(above, name, total[node])
        at[node] = above
    found.left_out = int(np.count_nonzero((total > 0).any(axis=1) & ~large))
    table = np.stack(sums)
    found.values = {name: table[:, n].tolist() for n, name in enumerate(VALUES)}
    return found
