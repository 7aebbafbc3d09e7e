"""Whose blocks live like a stack's: call sites that an arena, or the stack itself, would serve.

    events ─► follow ─► of each row: how many died, in which order, how many frames up

In order    a block dies as the youngest live one of its call site in its thread (LIFO)
Frames up   how many of the frames that asked for it a block outlives. A request shows the frames of
            its thread at that moment: those that the one before had and it has not were left in
            between. So 0 means that it died before its own function was seen left, 1 before its
            caller was, and so on. Two requests of one stack are taken for two calls of its
            innermost function; calls further out that nothing tells apart count as one
Often left  an arena is of use in a frame that is left often, not in one that is there to the end
Graph       PUSH and POP tell the frames exactly, and deaths that follow a POP are of that frame
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, NEW, POP, PUSH, REALLOC, Events
from heapwright.trace.stacks import depths

if TYPE_CHECKING:
    from heapwright.insight.growth import Growth
    from heapwright.trace.store import Trace

LEVELS = 1 << 22  # threads x frames of which it is kept when they were left, 8 bytes each
OTHER_HEADS = 8  # youngest blocks of other threads that are passed over
LEAST_CALLS = 100  # a call site with fewer is not worth an arena
PASSING = 4  # the longest-lived lives for less than one part of the trace in so many
MOST_IN_A_FRAME = 1000  # blocks that a frame leaves behind; an arena of more is kept too long
SITES = 10  # that are named

# Columns of Book.figures; LOST: those that outlived all frames that can be left
DIED, BYTES, OUT_OF_ORDER, ELSEWHERE, MOST_UP, LOST, LONGEST, FIGURES = range(8)

# Words of Book.clock
NEXT, DEPTH, POPPED, CLOCK = range(4)  # POPPED: start of the frame left just now, -1 for none


class Book(NamedTuple):
    """What is kept while a trace streams by."""

    row: np.ndarray  # int32[slot], 1 + site of the live object
    size: np.ndarray  # int64[slot]; -1 of the dead
    birth: np.ndarray  # int64[slot], event
    thread: np.ndarray  # int32[slot]
    older: np.ndarray  # int32[slot], 1 + the next older live object of its row
    younger: np.ndarray  # int32[slot]
    youngest: np.ndarray  # int32[row], 1 + slot
    figures: np.ndarray  # int64[row, FIGURES]
    parent: np.ndarray  # int32[node], the tree of stacks
    depth: np.ndarray  # int32[node], frames
    leaves: np.ndarray  # int64[node], how often it was seen left
    node: np.ndarray  # int32[thread], of its last request; -1 before
    left: np.ndarray  # int64[thread, level], event at which the frame there was last seen left;
    # of a graph trace [0, level], event at which the frame there was entered
    clock: np.ndarray  # int64[CLOCK]


@kernel
def follow(book, events):  # type: ignore[no-untyped-def]
    """Enter a batch. Slots, sites and threads must lie within the arrays."""
    sited, threaded = len(events.site) > 0, len(events.thread) > 0
    levels, clock = book.left.shape[1], book.clock
    for number in range(len(events.op)):
        i = unsigned(number)
        op, slot = np.int64(events.op[i]), np.int64(events.slot[i])
        thread = np.int64(events.thread[i]) if threaded else 0
        now = clock[NEXT] + number
        if op == PUSH:
            clock[DEPTH] += 1
            if clock[DEPTH] < levels:
                book.left[0, unsigned(clock[DEPTH])] = now
        elif op == POP:
            clock[POPPED] = book.left[0, unsigned(min(clock[DEPTH], levels - 1))]
            clock[DEPTH] = max(0, clock[DEPTH] - 1)
            continue
        if op == FREE:
            _died(book, unsigned(slot), thread, now)
            continue
        clock[POPPED] = -1
        if slot < 0 or not (MALLOC <= op <= MEMALIGN or op == NEW):
            continue
        s = unsigned(slot)
        birth = now
        if op == REALLOC:
            birth = book.birth[s]
            _unlink(book, s)
        row = np.int64(events.site[i]) + 1 if sited else 0
        if row > 0 and len(book.depth):
            _moved(book, thread, row - 1, now)
        book.row[s], book.size[s], book.thread[s] = row, events.size[i], thread
        book.birth[s] = birth
        head = book.youngest[unsigned(row)]
        book.older[s], book.younger[s] = head, 0
        if head:
            book.younger[unsigned(head - 1)] = slot + 1
        book.youngest[unsigned(row)] = slot + 1
        if op == NEW:  # the frame it was born in
            book.thread[s] = min(clock[DEPTH], levels - 1)
    clock[NEXT] += len(events.op)


@kernel
def _moved(book, thread, node, now):  # type: ignore[no-untyped-def]
    """A thread asks from `node`: note the frames of its last request that it has left."""
    before = np.int64(book.node[unsigned(thread)])
    book.node[unsigned(thread)] = node
    other = np.int64(book.parent[unsigned(node)]) if before == node else node
    while before != other:
        if before < 0 or (
            other >= 0 and book.depth[unsigned(other)] > book.depth[unsigned(before)]
        ):
            other = np.int64(book.parent[unsigned(other)])
            continue
        level = np.int64(book.depth[unsigned(before)])
        book.leaves[unsigned(before)] += 1
        if level < book.left.shape[1]:
            book.left[unsigned(thread), unsigned(level)] = now
        before = np.int64(book.parent[unsigned(before)])


@kernel
def _died(book, s, thread, now):  # type: ignore[no-untyped-def]
    """The object in slot `s` dies at the hands of `thread`."""
    row = unsigned(np.int64(book.row[s]))
    figures, graph = book.figures, len(book.node) == 0
    head = np.int64(book.youngest[row])
    passed = 0
    if not graph:
        while head and book.thread[unsigned(head - 1)] != book.thread[s] and passed < OTHER_HEADS:
            head = np.int64(book.older[unsigned(head - 1)])
            passed += 1
    figures[row, DIED] += 1
    figures[row, BYTES] += book.size[s]
    figures[row, OUT_OF_ORDER] += head != np.int64(s) + 1
    figures[row, ELSEWHERE] += not graph and book.thread[s] != thread
    born, level = _levels(book, s, graph)
    figures[row, MOST_UP] = max(figures[row, MOST_UP], born - level)
    figures[row, LOST] += level < (1 if graph else 2)
    figures[row, LONGEST] = max(figures[row, LONGEST], now - book.birth[s])
    _unlink(book, s)
    book.size[s] = -1


@kernel
def _levels(book, s, graph):  # type: ignore[no-untyped-def]
    """At which level the frame is that asked for the object in slot `s`, and at which the innermost
    of its frames that it has not outlived; 0 for none."""
    birth = book.birth[s]
    if graph:
        level = born = np.int64(book.thread[s])
        while level > 0:
            active = level <= book.clock[DEPTH] and book.left[0, unsigned(level)] <= birth
            just_left = level == book.clock[DEPTH] + 1 and 0 <= book.clock[POPPED] <= birth
            if active or just_left:
                break
            level -= 1
        return born, level
    row = np.int64(book.row[s])
    if row == 0 or len(book.depth) == 0:
        return np.int64(0), np.int64(0)
    deepest = np.int64(book.depth[unsigned(row - 1)])
    level = min(deepest, book.left.shape[1] - 1)
    thread = unsigned(np.int64(book.thread[s]))
    while level > 0 and book.left[thread, unsigned(level)] > birth:
        level -= 1
    return deepest, level


@kernel
def _unlink(book, s):  # type: ignore[no-untyped-def]
    older, younger = np.int64(book.older[s]), np.int64(book.younger[s])
    if older:
        book.younger[unsigned(older - 1)] = younger
    if younger:
        book.older[unsigned(younger - 1)] = older
    else:
        book.youngest[unsigned(np.int64(book.row[s]))] = older


@dataclass(frozen=True)
class StackLike:
    """A call site whose blocks live like a stack's, and what serves them instead."""

    site: int
    label: str
    frames: list[str]  # outermost first
    calls: int  # malloc and free that would not be made
    bytes: int  # asked for in all
    in_order: bool  # each died as the youngest of its thread and site
    frames_up: int  # that the longest-lived outlived; see the module
    within: str  # the frame that all die within; "" where none is known
    mend: str

    def to_json(self) -> dict[str, Any]:
        """As `why --json` prints it."""
        return dict(vars(self))


class Watch:
    """Watches the events of `growth.growth(..., watch=Watch(trace))`."""

    def __init__(self, trace: "Trace") -> None:
        self._trace = trace
        tree = trace.stacks()
        graph, stacked = trace.graph, trace.stack_nodes > 0
        depth = depths(tree.parent).astype(np.int32) if stacked and not graph else None
        threads = max(1, trace.threads)
        deepest = int(depth.max(initial=0)) if depth is not None else trace.peak_roots
        levels = min(1 + deepest, max(2, LEVELS // (1 if graph else threads)))
        rows = 1 + len(tree.parent)
        narrow = [np.zeros(trace.slots, np.int32) for _ in range(4)]
        self._book = Book(
            row=narrow[0],
            size=np.full(trace.slots, -1, np.int64),
            birth=np.zeros(trace.slots, np.int64),
            thread=narrow[1],
            older=narrow[2],
            younger=narrow[3],
            youngest=np.zeros(rows, np.int32),
            figures=np.zeros((rows, FIGURES), np.int64),
            parent=tree.parent.astype(np.int32),
            depth=np.zeros(0, np.int32) if depth is None else depth,
            leaves=np.zeros(len(tree.parent), np.int64),
            node=np.full(0 if graph else threads, -1, np.int32),
            left=np.full((1 if graph else threads, levels), 0 if graph else -1, np.int64),
            clock=np.array([0, 0, -1], np.int64),
        )

    def __call__(self, events: Events, first: int) -> None:
        """The next batch."""
        follow(self._book, events)

    @property
    def figures(self) -> np.ndarray:
        """int64[row, FIGURES] so far."""
        return self._book.figures

    def found(self, profile: "Growth", labels: list[str]) -> list[StackLike]:
        """The call sites whose blocks all die like a stack's, most calls first.

        None that a block of outlives the program, or that another thread frees.
        """
        figures = self.figures
        good = (figures[:, DIED] * 2 >= LEAST_CALLS) & (figures[:, ELSEWHERE] == 0)
        good &= (profile.kept_blocks == 0) & (figures[:, LONGEST] * PASSING < self._trace.events)
        good[0] = False  # unknown
        rows = np.flatnonzero(good)
        rows = rows[np.argsort(-figures[rows, DIED], kind="stable")]
        told = (self._row(int(row), labels) for row in rows)
        return list(itertools.islice(filter(None, told), SITES))

    def _row(self, row: int, labels: list[str]) -> StackLike | None:
        figures = self.figures[row].tolist()
        up, in_order = figures[MOST_UP], figures[OUT_OF_ORDER] == 0
        frame, graph = "", self._trace.graph
        within = not figures[LOST]
        if within and not graph:
            node = self._above(row - 1, up)
            within = int(self._book.leaves[node]) * MOST_IN_A_FRAME >= figures[DIED]
            frame = self._trace.frames()[self._trace.stacks().frame[node]].rpartition("\n")[2]
        if within and up == 0 and in_order:
            mend = "a local buffer, or alloca where the size is small"
        elif within and graph:
            mend = f"an arena of the frame {up} up" if up else "an arena of its frame"
        elif within:
            mend = f"an arena that {frame} empties"
        elif in_order:
            frame, mend = "", "an arena that gives back its newest block, such as an obstack"
        else:
            return None
        return StackLike(
            row - 1,
            labels[row - 1],
            self._trace.stack(row - 1),
            2 * figures[DIED],
            figures[BYTES],
            in_order,
            up,
            frame,
            mend,
        )

    def _above(self, node: int, up: int) -> int:
        """The node `up` frames above a node."""
        for _ in range(up):
            node = int(self._book.parent[node])
        return node
