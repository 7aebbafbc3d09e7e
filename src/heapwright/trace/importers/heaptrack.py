"""heaptrack's recordings: as its library writes them (--raw), or as heaptrack_interpret does.

    raw  t IP PARENT             a stack, by its innermost frame and the stack below it
         + SIZE STACK ADDRESS    an allocation             - ADDRESS    a free
    interpreted
         a SIZE STACK            a kind of allocation      + KIND   - KIND

All numbers are hexadecimal, stacks and kinds count from 1 and 0.

A realloc is logged as a free followed by an allocation. Both are joined where the block moved to
grow or changed its size in place (`matching.GUESSED_REALLOC`), and where at least half of the
allocations of this stack so far followed a free at once. realloc(p, 0) is not logged at all.
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
from heapwright.trace.importers.heaptrack_names import KEPT, Names
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
    next_line,
    past_spaces,
    put,
)
from heapwright.trace.importers.matching import GUESSED_REALLOC
from heapwright.trace.importers.source import Source
from heapwright.trace.schema import FREE, MALLOC

TITLE = "heaptrack's recordings (plain, gzip or zstd; raw or interpreted)"
STACKS = 1 << 22  # known by their frames; later ones have no call site
SITES_LIMIT = 1 << 20  # that events can name
KINDS = 1 << 23  # of allocation in an interpreted recording
OBJECTS = 1 << 26  # live at once in an interpreted recording
LIBSTDCXX_POOL_BYTES = 72704  # allocated by the C++ runtime that heaptrack brings along
_HEAD = re.compile(rb"v [0-9a-f]+ [0-9a-f]+\r?\n|v [0-9a-f]+\r?\n[xX] ")

# Stacks.count
(STACK_COUNT, SITES, HELD, KIND_COUNT, OBJECT_COUNT, SPARE, KEPT_LINES, OWN_POOL, COUNTS) = range(9)


class Stacks(NamedTuple):
    """Stacks and kinds, row 0 unused; the arrays are as large as the limits, untouched at first."""

    ip: np.ndarray  # int64[stack]  innermost frame: an address, or an index when interpreted
    parent: np.ndarray  # int32[stack]  the stack below
    site: np.ndarray  # int32[stack]  1 + row of the site table, 0 while no event named it
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
    return _HEAD.match(head) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Recording(text_.Reading):
    """Collects names of files, functions and the program beside the events."""

    def __init__(self, source: Source) -> None:
        self._names = Names()
        stacks = source.most(len("t 1 0\n"), STACKS)
        kinds = source.most(len("a 1 0\n"), KINDS)
        self._stacks = Stacks(
            np.zeros(stacks, np.int64),
            *(np.zeros(stacks, np.int32) for _ in range(4)),
            np.zeros(kinds, np.int64),
            *(np.zeros(kinds, np.int32) for _ in range(2)),
            np.zeros(source.most(len("+ 0\n"), OBJECTS), np.int32),
            *(np.zeros(KEPT, np.int64) for _ in range(2)),
            np.zeros(COUNTS, np.int64),
        )
        super().__init__(source, scan, self._stacks)

    def collect(self, text: np.ndarray) -> None:
        """Read the lines that carry names."""
        stacks = self._stacks
        for row in range(int(stacks.count[KEPT_LINES])):
            self._names.read(bytes(text[stacks.start[row] : stacks.end[row]]))
        stacks.count[KEPT_LINES] = 0
        self.program = self._names.program

    def labels(self) -> list[str]:
        """A label per call site."""
        stacks = self._stacks
        used = np.flatnonzero(stacks.site[: stacks.count[STACK_COUNT] + 1])
        order = used[np.argsort(stacks.site[used])]
        return self._names.labels(order.tolist(), stacks.ip, stacks.parent)

    def notes(self) -> list[str]:
        """What heaptrack does not tell."""
        told = [
            "heaptrack does not tell calloc and aligned requests from malloc, nor threads, nor "
            "requests that were refused, nor a realloc to 0 bytes",
            "heaptrack logs a realloc as a free and an allocation: joined where size, place and "
            "stack speak for it",
        ]
        if self._stacks.count[KIND_COUNT]:
            told.append(
                "heaptrack_interpret names no addresses: of several live blocks of one size and "
                "stack the last one is taken to be freed; import a recording made with --raw"
            )
        if self._stacks.count[OWN_POOL]:
            told.append(
                f"the first allocation, {LIBSTDCXX_POOL_BYTES:,} bytes, may be that of the C++ "
                "runtime that heaptrack brings along"
            )
        return told + super().notes()


def reading(source: Source) -> Recording:
    """The events of `source`."""
    return Recording(source)


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
    op = byte(text, at, end)
    if byte(text, at + 1, end) != 32:
        lines.state[OTHER_LINES] += 1
        return NO_FAULT
    if op not in (43, 45, 116, 97):  # + - t a
        if op in (115, 105, 109, 120, 88):  # s i m x X
            row = unsigned(count[KEPT_LINES])
            stacks.start[row], stacks.end[row] = at, end
            count[KEPT_LINES] += 1
        else:
            lines.state[OTHER_LINES] += 1
        return NO_FAULT
    first, at = hexadecimal(text, at + 2, end)
    if first < 0:
        return BAD_LINE
    if op == 45:
        return _freed(lines, stacks, first)
    second, at = hexadecimal(text, past_spaces(text, at, end), end)
    if op == 43:
        if second < 0 and count[KIND_COUNT]:
            return _made_of_kind(lines, stacks, first)
        third, at = hexadecimal(text, past_spaces(text, at, end), end)
        if second < 0 or third < 0:
            return BAD_LINE
        return _made(lines, stacks, first, second, third)
    if second < 0:
        return BAD_LINE
    if op == 97:
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
    return NO_FAULT


@kernel
def _let_go(lines, stacks):
    """Put the free that was held back in case a realloc followed."""
    held = stacks.count[HELD]
    if held:
        stacks.count[HELD] = 0
        put(lines, FREE, (held, 0), (0, 0), (0, -1))


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
            return put(lines, FREE, (8, 0), (0, 0), (0, -1))  # no object lies there: unmatched
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
    if size == LIBSTDCXX_POOL_BYTES and count[SITES] == 0:
        count[OWN_POOL] = 1
    site = np.int64(-1)
    held = count[HELD]
    if 0 < stack <= count[STACK_COUNT]:
        row = unsigned(stack)
        if stacks.site[row] == 0 and count[SITES] < SITES_LIMIT:
            count[SITES] += 1
            stacks.site[row] = count[SITES]
        site = np.int64(stacks.site[row]) - 1
        if stacks.made[row] < 1 << 30:
            stacks.made[row] += 1
            stacks.after_free[row] += 1 if held else 0
        if held and 2 * stacks.after_free[row] >= stacks.made[row]:
            count[HELD] = 0
            return put(lines, GUESSED_REALLOC, (address, held), (size, 0), (0, site))
    _let_go(lines, stacks)
    return put(lines, MALLOC, (address, 0), (size, 0), (0, site))
