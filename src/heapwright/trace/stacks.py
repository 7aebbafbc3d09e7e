"""Call stacks as a calling-context tree: how they are built, kept in the footer, and checked.

    frames, outermost first ─► Tree.node ─► site (a node) ─► TraceWriter.stacks = tree.arrays()

    node    parent (-1 outermost), frame (a row of the trace's table of frame names)
    stored  NODES ':' base64 of zlib of the int32 columns row - parent, frame, little-endian

A parent comes before its children, so one pass in the order of the rows sums over callers. A frame
into which functions were inlined is one row; its name has a line for each, outermost first.
"""

import base64
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

NODES = 1 << 21  # of a trace at most: 22 MB of its footer, and 16 MB of memory
DEPTH = 1 << 10  # frames of one stack at most; its outermost ones are left out past that
LEFT_OUT = "..."  # stands for the frames that were left out
_HEAD = re.compile(rb"([0-9]{1,8}):")
# Functions that only hand a request on, as the C++ library's do: see `hands_on`.
_WRAPPERS = re.compile(
    r"(?:(?:__|_)?(?:libc_|GI_)*(?:malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|"
    r"posix_memalign|valloc|pvalloc|strdup|strndup|asprintf|vasprintf)"
    r"|operator new(?:\[\])?|_Zn[aw][a-zA-Z0-9_]*"
    r"|x_?(?:malloc|calloc|realloc|zalloc|strdup)|g_(?:malloc|malloc0|realloc|try_malloc|slice_alloc)"
    r"|(?:_?Py(?:Mem|Object)(?:_Raw)?_(?:Raw)?(?:Malloc|Calloc|Realloc))"
    r"|_PyMem_(?:Raw|Debug)\w+|_PyObject_(?:Malloc|Calloc|Realloc)"
    r"|__rust_(?:alloc|alloc_zeroed|realloc)|alloc::alloc::\w+|__rdl_\w+)"
    r"(?:\(.*|@.*|\s.*)?"
)
_LIBRARY = ("std::", "__gnu_cxx::")


def hands_on(name: str) -> bool:
    """Whether a function only hands requests on: the caller above it is whom a person looks for.

    >>> [hands_on(f) for f in ("operator new(unsigned long)", "std::vector<int>::push_back(int&&)")]
    [True, True]
    >>> hands_on("std::string spell<int>(int) (spell.cpp:3)")
    False
    """
    return bool(_WRAPPERS.fullmatch(name)) or _function(name).startswith(_LIBRARY)


def asker(frame: str) -> str:
    """Of the functions of a frame, a line each, the innermost that does more than hand on; ""
    where there is none."""
    return next((name for name in reversed(frame.split("\n")) if not hands_on(name)), "")


def _function(name: str) -> str:
    """A demangled name without parameters and, which those of templates have, the type of the
    answer."""
    depth = start = 0
    for at, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if depth == 0 and letter == "(":
            return name[start:at]
        if depth == 0 and letter == " ":
            start = at + 1
    return name


class Stacks(NamedTuple):
    """The tree of a trace."""

    parent: np.ndarray  # int32[node]  the caller's node, smaller than its own row; -1 outermost
    frame: np.ndarray  # int32[node]  row of the frame names


class Tree:
    """Stacks as they are met, each frame and each node kept once."""

    def __init__(self, nodes: int = NODES) -> None:
        self.frames: list[str] = []
        self.cut = 0  # stacks deeper than DEPTH
        self.without = 0  # stacks that found no room
        self._nodes = nodes
        self._parent: list[int] = []
        self._frame: list[int] = []
        self._depth: list[int] = []
        self._frame_of: dict[str, int] = {}
        self._node_of: dict[tuple[int, int], int] = {}

    def frame(self, name: str) -> int:
        """The row of a frame's name."""
        row = self._frame_of.setdefault(name, len(self.frames))
        if row == len(self.frames):
            self.frames.append(name)
        return row

    def child(self, parent: int, frame: int) -> int:
        """The node of `frame` called by `parent` (-1: by nobody); -1 where there is no room."""
        node = self._node_of.get((parent, frame))
        if node is None:
            depth = self._depth[parent] + 1 if parent >= 0 else 1
            if len(self._parent) >= self._nodes or depth > DEPTH:
                return -1
            node = self._node_of[parent, frame] = len(self._parent)
            self._parent.append(parent)
            self._frame.append(frame)
            self._depth.append(depth)
        return node

    def node(self, frames: Sequence[str]) -> int:
        """The node of a stack, outermost frame first; -1 for an empty one or without room.

        Of a stack deeper than DEPTH the innermost frames are kept.
        """
        if len(frames) > DEPTH:
            self.cut += 1
            frames = [LEFT_OUT, *frames[len(frames) - DEPTH + 1 :]]
        node = -1
        for name in frames:
            node = self.child(node, self.frame(name))
            if node < 0:
                self.without += 1
                return -1
        return node

    def notes(self) -> list[str]:
        """What was left out, a sentence each."""
        told = []
        if self.cut:
            told.append(f"stacks deeper than {DEPTH:,} frames, cut: {self.cut:,}")
        if self.without:
            told.append(f"stacks that found no room, left out: {self.without:,}")
        return told

    def arrays(self) -> Stacks:
        """The tree as a trace keeps it."""
        return Stacks(np.array(self._parent, np.int32), np.array(self._frame, np.int32))


def checked(stacks: Iterable[Sequence[int] | np.ndarray], names: int) -> Stacks:
    """The tree, its columns int32; a ValueError says what is wrong with it.

    names: rows of the frame names
    """
    parent, frame = (np.ascontiguousarray(column, np.int64) for column in stacks)
    if parent.ndim != 1 or parent.shape != frame.shape or len(parent) > NODES:
        raise ValueError(f"its stacks are no tree of at most {NODES:,} nodes")
    row = np.arange(len(parent))
    if ((parent < -1) | (parent >= row)).any():
        raise ValueError("a stack's caller does not come before it")
    if ((frame < 0) | (frame >= names)).any():
        raise ValueError(f"a stack names a frame past the {names:,} there are")
    if len(parent) and int(depths(parent).max()) > DEPTH:
        raise ValueError(f"a stack is deeper than {DEPTH:,} frames")
    return Stacks(parent.astype(np.int32), frame.astype(np.int32))


def depths(parent: np.ndarray) -> np.ndarray:
    """int64[node]: frames from the outermost to each node, itself included.

    Each round takes every node's ancestor twice as far up: a dozen rounds for any tree.
    """
    depth = np.ones(len(parent), np.int64)
    above = np.array(parent, np.int64)
    while (rising := np.flatnonzero(above >= 0)).size:
        up = above[rising]
        depth[rising] += depth[up]
        above[rising] = above[up]
    return depth


def shortened(stacks: Stacks) -> tuple[Stacks, int]:
    """The tree with what is deeper than DEPTH cut off from its outermost frames; how many cuts."""
    depth = depths(stacks.parent)
    cut = (depth > DEPTH) & (depth % DEPTH == 1)
    return Stacks(np.where(cut, -1, stacks.parent).astype(np.int32), stacks.frame), int(cut.sum())


def subtotals(parent: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What each node and all that it called come to, of what each has on its own.

    own: number[node] or number[node, columns]
    """
    total = own.copy()
    depth = depths(parent)
    for level in range(int(depth.max(initial=0)), 1, -1):
        rows = np.flatnonzero(depth == level)
        np.add.at(total, parent[rows], total[rows])
    return total


def stored(stacks: Stacks) -> bytes:
    """The tree as the footer keeps it."""
    row = np.arange(len(stacks.parent), dtype=np.int32)
    columns = np.concatenate([row - stacks.parent, stacks.frame]).astype("<i4")
    return b"%d:" % len(row) + base64.b64encode(zlib.compress(columns.tobytes(), 6))


def loaded(text: bytes, nodes: int, names: int) -> Stacks:
    """The tree of a footer that promises `nodes`; a ValueError says what is wrong with it."""
    head = _HEAD.match(text)
    if not head or int(head[1]) != nodes or nodes > NODES:
        raise ValueError("its stacks are not those that its facts count")
    stream = zlib.decompressobj()
    try:
        packed = base64.b64decode(text[head.end() :], validate=True)
        columns = stream.decompress(packed, 8 * nodes + 1)
    except (ValueError, zlib.error):
        raise ValueError("its stacks cannot be unpacked") from None
    if len(columns) != 8 * nodes or not stream.eof or stream.unused_data:
        raise ValueError("its stacks are not those that its facts count")
    above, frame = np.frombuffer(columns, "<i4").reshape(2, nodes)
    return checked((np.arange(nodes) - above, frame), names)


def askers(stacks: Stacks, frames: list[str], passed_over: np.ndarray | None = None) -> list[str]:
    """Who asked, of each node: the innermost function but for wrappers such as operator new, and
    for frames that are `passed_over` (bool[frame]): C functions below a line of Python.

    A stack of nothing but those is known by its innermost one.
    """
    known = [asker(name) for name in frames]
    passes_on = np.array([not name for name in known], bool)
    if passed_over is not None:
        passes_on |= passed_over
    chosen = np.arange(len(stacks.parent))
    at = chosen.copy()
    climbing = np.flatnonzero(passes_on[stacks.frame])
    while climbing.size:
        at[climbing] = stacks.parent[at[climbing]]
        climbing = climbing[at[climbing] >= 0]
        found = ~passes_on[stacks.frame[at[climbing]]]
        chosen[climbing[found]] = at[climbing[found]]
        climbing = climbing[~found]
    rows = stacks.frame[chosen].tolist()
    return [known[row] or frames[row].rpartition("\n")[2] for row in rows]
