"""heaptrack's recordings: as its library writes them (--raw), or as heaptrack_interpret does.

    raw  t IP PARENT             a stack, by its innermost frame and the stack below it
         + SIZE STACK ADDRESS    an allocation             - ADDRESS    a free
    interpreted
         a SIZE STACK            a kind of allocation      + KIND   - KIND

All numbers are hexadecimal, stacks and kinds count from 1 and 0.

A realloc is logged as a free and an allocation, and so are a free and an allocation: nothing in the
format proves which it was, so both stay apart. Guessing, they are joined where nothing stands
between them (a realloc is logged in one go), where the block moved to grow or changed its size in
place (`matching.GUESSED_REALLOC`), and where at least half of the allocations of this stack so far
followed a free at once. realloc(p, 0) is not logged at all.
Interpreted, a free names a kind, not a block: the last one made of that kind is taken to die.

Source     KDE heaptrack: src/track/libheaptrack.cpp, src/interpret/heaptrack_interpret.cpp
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import MINUS, PLUS
from heapwright.trace.importers.heaptrack_names import KEPT, NAMES_BYTES, Names
from heapwright.trace.importers.lines import (
    AT,
    BAD_LINE,
    BAD_OBJECT,
    BEYOND,
    FAULT,
    FILLED,
    LAST,
    NO_FAULT,
    OTHER_LINES,
    STOPPED,
    byte,
    hexadecimal,
    is_blank,
    next_line,
    past_spaces,
    put,
    put_free,
)
from heapwright.trace.importers.matching import GUESSED_REALLOC
from heapwright.trace.importers.source import Source, plain
from heapwright.trace.schema import MALLOC
from heapwright.trace.stacks import DEPTH, NODES, Stacks, shortened

TITLE = "heaptrack's recordings (plain, gzip or zstd; raw or interpreted)"
STACKS = NODES + 1  # known by their frames; later ones have no call site
KINDS = 1 << 23  # of allocation in an interpreted recording
OBJECTS = 1 << 26  # live at once in an interpreted recording
LIBSTDCXX_POOL_BYTES = 72704  # allocated by the C++ runtime that heaptrack brings along
GUESSES_REALLOCS = False  # unless asked to
STACK_LINE, KIND_LINE = b"ta"
NAME_LINES = tuple(b"simxX")
TIME_LINES = tuple(b"cR")  # written by another thread, between two calls
_HEAD = re.compile(rb"v [0-9a-f]+ [0-9a-f]+\n|v [0-9a-f]+\n[xX] ")

# Books.count
(
    STACK_COUNT,
    MADE,  # allocations so far
    HELD,  # address of a free that may be the first half of a realloc
    KIND_COUNT,
    OBJECT_COUNT,
    SPARE,
    KEPT_LINES,
    OWN_POOL,
    GUESSING,  # 1 to join what may be a realloc
    AFTER_FREE,  # allocations straight after a free: each may have been a realloc
    SEVERAL,  # frees of a kind of which several blocks were live
    NO_STACK,  # stacks past the last that is kept
    NO_SITE,  # allocations whose stack found no room
    COUNTS,
) = range(14)


class Books(NamedTuple):
    """Stacks and kinds, row 0 unused; the arrays are as large as the limits, untouched at first."""

    ip: np.ndarray  # int64[stack]  innermost frame: an address, or an index when interpreted
    parent: np.ndarray  # int32[stack]  the stack below
    made: np.ndarray  # int32[stack]  allocations so far
    after_free: np.ndarray  # int32[stack]  those that followed a free at once
    size: np.ndarray  # int64[kind]  bytes
    stack: np.ndarray  # int32[kind]
    newest: np.ndarray  # int32[kind]  1 + its newest live object, 0 for none
    older: np.ndarray  # int32[object]  1 + the next older one of its kind; chain of spare ones
    start: np.ndarray  # int64[KEPT]  lines for Python to read: first byte ...
    end: np.ndarray  # int64[KEPT]  ... and past the last
    count: np.ndarray  # int64[COUNTS]


def recognises(head: bytes, path: Path) -> bool:
    """The first line tells the versions of heaptrack and of its format."""
    return _HEAD.match(plain(head)) is not None


def import_trace(
    path: Path,
    output: Path,
    advance: Callable[[float], None],
    guess_reallocs: bool = GUESSES_REALLOCS,
) -> None:
    """Write the trace of `path` to `output`; joins what may be a realloc with `guess_reallocs`."""
    text_.write(path, output, lambda source: reading(source, guess_reallocs), advance)


class Recording(text_.Reading):
    """Collects names of files, functions and the program beside the events."""

    def __init__(self, source: Source, guess_reallocs: bool) -> None:
        self._names = Names()
        stacks = source.most(len("t 1 0\n"), STACKS)
        kinds = source.most(len("a 1 0\n"), KINDS)
        self._stacks = Books(
            np.zeros(stacks, np.int64),
            *(np.zeros(stacks, np.int32) for _ in range(3)),
            np.zeros(kinds, np.int64),
            *(np.zeros(kinds, np.int32) for _ in range(2)),
            np.zeros(source.most(len("+ 0\n"), OBJECTS), np.int32),
            *(np.zeros(KEPT, np.int64) for _ in range(2)),
            np.zeros(COUNTS, np.int64),
        )
        self._stacks.count[GUESSING] = guess_reallocs
        self._cut = 0  # stacks that are deeper than a trace's
        super().__init__(source, scan, self._stacks)

    def collect(self, text: np.ndarray) -> None:
        """Read the lines that carry names."""
        stacks = self._stacks
        for row in range(int(stacks.count[KEPT_LINES])):
            self._names.read(bytes(text[stacks.start[row] : stacks.end[row]]))
        stacks.count[KEPT_LINES] = 0
        self.program = self._names.program

    def labels(self) -> list[str]:
        """A name per address, or per `i` line."""
        known = 1 + int(self._stacks.count[STACK_COUNT])
        return self._names.frames(np.unique(self._stacks.ip[1:known]).tolist())

    def stacks(self) -> Stacks:
        """heaptrack's own tree: row 1 of its stacks is node 0."""
        known = 1 + int(self._stacks.count[STACK_COUNT])
        frame = np.unique(self._stacks.ip[1:known], return_inverse=True)[1]
        tree = Stacks(self._stacks.parent[1:known] - 1, frame.astype(np.int32))
        tree, self._cut = shortened(tree)
        return tree

    def notes(self) -> list[str]:
        """What heaptrack does not tell."""
        count = self._stacks.count
        told = [
            "heaptrack does not tell calloc and aligned requests from malloc, nor threads, nor "
            "requests that were refused, nor a realloc to 0 bytes",
            "heaptrack logs a realloc as a free and an allocation, like a free and an allocation: "
            + self._halves(),
        ]
        if count[SEVERAL]:
            told.append(
                "heaptrack_interpret names no addresses: of several live blocks of one size and "
                f"stack the last one is taken to be freed, {count[SEVERAL]:,} times; "
                "import a recording made with --raw"
            )
        if count[NO_STACK]:
            told.append(f"stacks past the first {NODES:,}, left out: {count[NO_STACK]:,}")
        if count[NO_SITE]:
            told.append(f"allocations whose call site found no room: {count[NO_SITE]:,}")
        if self._cut:
            told.append(f"stacks deeper than {DEPTH:,} frames, cut: {self._cut:,}")
        if self._names.left_out:
            told.append(f"names past {NAMES_BYTES:,} bytes, left out: {self._names.left_out:,}")
        if self._stacks.count[OWN_POOL]:
            told.append(
                f"the first allocation, {LIBSTDCXX_POOL_BYTES:,} bytes, may be that of the C++ "
                "runtime that heaptrack brings along"
            )
        return told + super().notes()

    def _halves(self) -> str:
        """What became of the allocations that may be second halves."""
        after, joined = int(self._stacks.count[AFTER_FREE]), self.matcher.joined
        if self._stacks.count[GUESSING]:
            return (
                f"of {after:,} allocations straight after a free {joined:,} were guessed to be "
                "reallocs, where size, place and stack speak for it"
            )
        return (
            f"{after:,} allocations came straight after a free and were kept apart from it, "
            "though some may be reallocs; --guess-reallocs joins the likely ones"
        )


def reading(source: Source, guess_reallocs: bool = GUESSES_REALLOCS) -> Recording:
    """The events of `source`."""
    return Recording(source, guess_reallocs)


@kernel
def scan(lines, stacks):
    """Records of all whole lines, until the records or the names are full."""
    state = lines.state
    start, end = next_line(lines)
    while start >= 0:
        fault = _line(lines, stacks, start, end) if start < end else NO_FAULT
        if fault != NO_FAULT:
            state[FAULT] = fault
            break
        if stacks.count[KEPT_LINES] == len(stacks.start):
            state[STOPPED] = 1
            break
        start, end = next_line(lines)
    if start < 0 and state[LAST] and state[AT] == state[FILLED]:
        _let_go(lines, stacks)


@kernel
def _line(lines, stacks, at, end):
    text, count = lines.text, stacks.count
    at = past_spaces(text, at, end)
    op = byte(text, at, end)
    if not is_blank(byte(text, at + 1, end)):
        lines.state[OTHER_LINES] += 1
        return NO_FAULT
    if op not in (PLUS, MINUS, STACK_LINE, KIND_LINE):
        if op in NAME_LINES:
            row = unsigned(count[KEPT_LINES])
            stacks.start[row], stacks.end[row] = at, end
            count[KEPT_LINES] += 1
        else:
            lines.state[OTHER_LINES] += 1
            if op in TIME_LINES:
                _let_go(lines, stacks)
        return NO_FAULT
    first, at = hexadecimal(text, past_spaces(text, at + 2, end), end)
    if first < 0:
        return BAD_LINE
    if op == MINUS:
        return _freed(lines, stacks, first)
    second, at = hexadecimal(text, past_spaces(text, at, end), end)
    if op == PLUS:
        if second < 0 and count[KIND_COUNT]:
            return _made_of_kind(lines, stacks, first)
        third, at = hexadecimal(text, past_spaces(text, at, end), end)
        if second < 0 or third < 0:
            return BAD_LINE
        return _made(lines, stacks, first, second, third)
    if second < 0:
        return BAD_LINE
    if op == KIND_LINE:
        row = count[KIND_COUNT]
        if row + 1 >= len(stacks.size):
            return BAD_OBJECT
        stacks.size[unsigned(row)] = first
        stacks.stack[unsigned(row)] = second if second < len(stacks.ip) else 0
        count[KIND_COUNT] += 1
    elif count[STACK_COUNT] + 1 < len(stacks.ip):
        count[STACK_COUNT] += 1
        row = unsigned(count[STACK_COUNT])
        stacks.ip[row] = first
        stacks.parent[row] = second if second < count[STACK_COUNT] else 0
    else:
        count[NO_STACK] += 1
    return NO_FAULT


@kernel
def _let_go(lines, stacks):
    """Put the free that was held back in case a realloc followed."""
    held = stacks.count[HELD]
    if held:
        stacks.count[HELD] = 0
        put_free(lines, held, (0, -1))


@kernel
def _freed(lines, stacks, name):
    """A free of an address, or of the newest object of a kind."""
    count = stacks.count
    _let_go(lines, stacks)
    if count[KIND_COUNT]:
        if name >= count[KIND_COUNT]:
            return BAD_OBJECT
        newest = np.int64(stacks.newest[unsigned(name)])
        if newest == 0:
            return put_free(lines, 8, (0, -1))  # no object lies there: unmatched
        if stacks.older[unsigned(newest)]:
            count[SEVERAL] += 1
        stacks.newest[unsigned(name)] = stacks.older[unsigned(newest)]
        stacks.older[unsigned(newest)] = count[SPARE]
        count[SPARE] = newest
        name = newest * 16
    if name >= BEYOND:
        return BAD_LINE
    count[HELD] = name
    return NO_FAULT


@kernel
def _made_of_kind(lines, stacks, kind):
    """An allocation of an interpreted recording."""
    count = stacks.count
    if kind >= count[KIND_COUNT]:
        return BAD_OBJECT
    new = count[SPARE]
    if new:
        count[SPARE] = stacks.older[unsigned(new)]
    else:
        count[OBJECT_COUNT] += 1
        new = count[OBJECT_COUNT]
        if new >= len(stacks.older):
            return BAD_OBJECT
    stacks.older[unsigned(new)] = stacks.newest[unsigned(kind)]
    stacks.newest[unsigned(kind)] = new
    size, stack = stacks.size[unsigned(kind)], np.int64(stacks.stack[unsigned(kind)])
    return _made(lines, stacks, size, stack, new * 16)


@kernel
def _made(lines, stacks, size, stack, address):
    """An allocation, perhaps the second half of a realloc."""
    count = stacks.count
    if size == LIBSTDCXX_POOL_BYTES and count[MADE] == 0:
        count[OWN_POOL] = 1
    count[MADE] += 1
    site = np.int64(-1)
    held = count[HELD]
    count[AFTER_FREE] += 1 if held else 0
    if 0 < stack <= count[STACK_COUNT]:
        row = unsigned(stack)
        site = stack - 1
        if stacks.made[row] < 1 << 30:
            stacks.made[row] += 1
            stacks.after_free[row] += 1 if held else 0
        often = 2 * stacks.after_free[row] >= stacks.made[row]
        if held and often and count[GUESSING]:
            count[HELD] = 0
            return put(lines, GUESSED_REALLOC, (address, held), (size, 0), (0, site))
    if site < 0 and stack:
        count[NO_SITE] += 1
    _let_go(lines, stacks)
    return put(lines, MALLOC, (address, 0), (size, 0), (0, site))
