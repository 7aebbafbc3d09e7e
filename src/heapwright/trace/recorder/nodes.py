"""The stacks of a recording: the files of nodes that `tree.h` writes beside the logs, as one tree.

PID.IMAGE.stacks of a log and of those before it ─► Nodes: a log's node ─► row of the trace's tree
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heapwright.trace.recorder.log import CONTINUES, MALLOC, MEMALIGN, STACKED, Log, Window
from heapwright.trace.recorder.sites import stored_sites
from heapwright.trace.stacks import LEFT_OUT, NODES

MAGIC = 0x314B415453575748
PC_LEFT_OUT = 1
NOBODY = -1  # of an event whose stack is not known


@dataclass
class Nodes:
    """One tree of the stacks of all logs of a history."""

    rows: list[np.ndarray]  # of each log int64[node number]: its row in the tree; NOBODY
    parent: np.ndarray  # int32[row]
    pc: np.ndarray  # int64[row]  return address

    def to_keys(self, rows: Window, count: int, log: int) -> None:
        """Replace nodes of this log in `caller` by 1 + the row; an unknown one by 1 + all rows."""
        here = rows.op[:count]
        asks = np.flatnonzero((here >= MALLOC) & (here <= MEMALIGN))
        nodes, known = rows.caller[asks], self.rows[log]
        row = np.where(nodes < len(known), known[np.minimum(nodes, len(known) - 1)], NOBODY)
        rows.caller[asks] = np.where(row == NOBODY, len(self.pc), row) + 1

    def to_known_keys(self, callers: np.ndarray) -> None:
        """The same of rows of the tree, as an earlier trace has them."""
        unknown = (callers < 0) | (callers >= len(self.pc))
        callers[:] = np.where(unknown, len(self.pc), callers) + 1

    def to_sites(self, sites: np.ndarray, keys: np.ndarray) -> None:
        """Replace rows of the site table in `sites` by nodes, those without one by NOBODY."""
        row = np.append(keys - 1, NOBODY)  # an event that asks for nothing has site -1
        row[row >= len(self.pc)] = NOBODY
        sites[:] = row[sites]

    def frames(self, process: str) -> tuple[list[str], dict[str, str], np.ndarray]:
        """The names of frames as a trace keeps them, their files' build-ids, int32[row] a name."""
        places, frame = np.unique(self.pc, return_inverse=True)
        names, modules = stored_sites(places.tolist(), process)
        names = [
            LEFT_OUT if place == PC_LEFT_OUT else name
            for place, name in zip(places.tolist(), names, strict=True)
        ]
        return names, modules, frame.astype(np.int32)


def nodes_of(logs: list[Log]) -> Nodes | None:
    """The stacks of a history, oldest log first; None when there are call sites alone."""
    if not logs[-1].flags & STACKED:
        return None
    rows: list[np.ndarray] = []
    before = np.full(1, NOBODY, np.int64)
    parents, places, total = [], [], 0
    for log in logs:
        first, pc, parent = _read(_file_of(log))
        first = first or len(before)
        if len(before) < first:
            before = np.append(before, np.full(first - len(before), NOBODY))
        kept = min(len(pc), NODES - total)
        known = np.concatenate([before[:first], total + np.arange(kept, dtype=np.int64)])
        parents.append(known[parent[:kept]])
        places.append(pc[:kept])
        total += kept
        rows.append(known)
        before = known
    return Nodes(rows, np.concatenate(parents).astype(np.int32), np.concatenate(places))


def _file_of(log: Log) -> Path:
    """Where the nodes of a log are: of one that goes on with another, beside the first."""
    own = log.path.with_name(log.path.name + ".stacks")
    if not log.flags & CONTINUES:
        return own
    pid, image = log.path.name.split(".")
    paths = (log.path.with_name(f"{pid}.{i}.stacks") for i in range(int(image), 0, -1))
    return next((path for path in paths if path.exists()), own)


def _read(path: Path) -> tuple[int, np.ndarray, np.ndarray]:
    """(number of the first node, pc of each, caller's node of each); 0 and nothing without a file.

    Ends where a row was not written, or names as its caller one that does not come before it.
    """
    nothing = np.zeros(0, np.int64)
    try:
        words = np.fromfile(path, np.int64, count=2 * (NODES + 1)).reshape(-1, 2)
    except (OSError, ValueError):
        return 0, nothing, nothing
    if not len(words) or words[0, 0] != MAGIC or not 0 < words[0, 1] <= NODES:
        return 0, nothing, nothing
    first = int(words[0, 1])
    pc, parent = words[1:, 0], words[1:, 1]
    sound = (pc > 0) & (parent >= 0) & (parent < first + np.arange(len(pc)))
    past = int(np.argmin(sound)) if not sound.all() else len(pc)
    return first, pc[:past], parent[:past]
