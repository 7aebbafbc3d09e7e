"""glibc's mtrace: MALLOC_TRACE=FILE, mtrace() called, libc_malloc_debug.so preloaded.

    = Start
    @ ./p:(main+0x1d)[0x11bb] + 0x562b2e6912a0 0xa       an allocation
    @ ./p:[0x11e3] < 0x562b2e6912a0                      a realloc, from ...
    @ ./p:[0x11e3] > 0x562b2e6914c0 0x1388               ... to
    @ ./p:[0x131d] ! 0x7f107b149010 0x2000000000000000   a refused realloc
    @ ./p:[0x12a5] - 0x562b2e6914a0                      a free

calloc and aligned requests look like malloc, and threads are not told.
At the program's end mtrace lets libc free its own blocks, which otherwise nobody does.

Source     glibc: malloc/mtrace-impl.c
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import (
    AT_SIGN,
    BANG,
    EQUALS,
    GREATER,
    LESS,
    MINUS,
    OPENING,
    PLUS,
    ZERO,
)
from heapwright.trace.importers.lines import (
    BAD_LINE,
    FAULT,
    NO_FAULT,
    NOT_MOVED,
    OTHER_LINES,
    before_spaces,
    byte,
    is_blank,
    next_line,
    past_spaces,
    pointer,
    put,
    put_free,
)
from heapwright.trace.importers.source import Source, plain
from heapwright.trace.schema import MALLOC, REALLOC

TITLE = "logs of glibc's mtrace (MALLOC_TRACE)"
CALLERS = 1 << 16  # named at most; further ones are unknown
LABEL_BYTES = 200
_HEAD = re.compile(rb"\A(= Start\n|@ [^\n]+ [-+<>!] (0x[0-9a-f]+|\(nil\)))")


class Callers(NamedTuple):
    """Call sites by the hash of their text, and the realloc that has only been announced."""

    key: np.ndarray  # int64[row], a power of two  hash, 0 for an empty row
    number: np.ndarray  # int32[row]
    start: np.ndarray  # int64[caller]  first byte in the text, of those new in this call
    end: np.ndarray  # int64[caller]
    count: np.ndarray  # int64[3]  callers known; address of the announced realloc, 0 for none;
    # events whose caller found no room


def recognises(head: bytes, path: Path) -> bool:
    """mtrace's first line, or a line of its layout."""
    return _HEAD.match(plain(head)) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Log(text_.Reading):
    """Keeps the callers' names."""

    limits = (
        "mtrace does not tell calloc and aligned requests from malloc, nor threads",
        "at its end mtrace lets libc free what libc holds",
    )

    def __init__(self, source: Source) -> None:
        self._names: list[str] = []
        most = source.most(len("@ a - 0x0\n"), CALLERS)
        rows = 2 << most.bit_length()
        self._callers = Callers(
            np.zeros(rows, np.int64),
            np.zeros(rows, np.int32),
            np.zeros(most, np.int64),
            np.zeros(most, np.int64),
            np.zeros(3, np.int64),
        )
        super().__init__(source, scan, self._callers)

    def collect(self, text: np.ndarray) -> None:
        """Names of the callers met for the first time."""
        for row in range(len(self._names), int(self._callers.count[0])):
            name = bytes(text[self._callers.start[row] : self._callers.end[row]])
            self._names.append(name[:LABEL_BYTES].decode(errors="replace"))

    def notes(self) -> list[str]:
        """As of every text, and whose callers found no room."""
        nameless = int(self._callers.count[2])
        more = [f"events of callers past the first {CALLERS:,}, which have no site: {nameless:,}"]
        return super().notes() + more * bool(nameless)

    def labels(self) -> list[str]:
        """The callers as mtrace names them: file, function if exported, offset."""
        return self._names


def reading(source: Source) -> Log:
    """The events of `source`."""
    return Log(source)


@kernel
def scan(lines, callers):
    """Records of all whole lines, until the records are full."""
    start, end = next_line(lines)
    while start >= 0:
        start = past_spaces(lines.text, start, end)
        if start < end:
            fault = _line(lines, callers, start, end)
            if fault != NO_FAULT:
                lines.state[FAULT] = fault
                break
        start, end = next_line(lines)


@kernel
def _line(lines, callers, at, end):
    text = lines.text
    if byte(text, at, end) == EQUALS:  # = Start, = End
        lines.state[OTHER_LINES] += 1
        return NO_FAULT
    site = np.int64(-1)
    if byte(text, at, end) == AT_SIGN:
        first = past_spaces(text, at + 1, end)
        at = first
        while at + 3 < end and not _ends_caller(text, at, end):
            at += 1
        site = _site(callers, text, first, before_spaces(text, first, at))
        at += 1
    op = byte(text, at, end)
    address, at = pointer(text, past_spaces(text, at + 1, end), end)
    if address < 0:
        return BAD_LINE
    where = (0, site)
    announced, callers.count[1] = callers.count[1], 0
    if announced and op != GREATER:  # what was to move is gone all the same
        lines.state[NOT_MOVED] += 1
        put_free(lines, announced, where)
    if op == MINUS:
        return put_free(lines, address, where)
    if op == LESS:
        callers.count[1] = address
        return NO_FAULT
    size, at = pointer(text, past_spaces(text, at, end), end)
    if size < 0:
        return BAD_LINE
    if op == PLUS:
        return put(lines, MALLOC, (address, 0), (size, 0), where)
    if op == GREATER:
        return put(lines, REALLOC, (address, announced), (size, 0), where)
    if op == BANG:
        return put(lines, REALLOC, (0, address), (size, 0), where)
    return BAD_LINE


@kernel
def _ends_caller(text, at, end):
    """Whether a blank, one of + - < > !, a blank and an address stand here."""
    sign = byte(text, at + 1, end)
    if not is_blank(text[unsigned(at)]) or sign not in (PLUS, MINUS, LESS, GREATER, BANG):
        return False
    if not is_blank(byte(text, at + 2, end)):
        return False
    return byte(text, past_spaces(text, at + 2, end), end) in (ZERO, OPENING)


@kernel
def _site(callers, text, start, end):
    """The number of the caller whose name is text[start:end]."""
    mask = len(callers.key) - 1
    hashed = np.int64(0)
    for at in range(start, end):
        hashed = (hashed * 31 + np.int64(text[unsigned(at)])) & 0xFFFFFFFFFFFF
    hashed += 1
    row = (hashed ^ (hashed >> 17)) & mask
    while callers.key[unsigned(row)] != hashed and callers.key[unsigned(row)] != 0:
        row = (row + 1) & mask
    if callers.key[unsigned(row)] == 0:
        count = callers.count[0]
        if count == len(callers.start):
            callers.count[2] += 1
            return np.int64(-1)
        callers.key[unsigned(row)], callers.number[unsigned(row)] = hashed, count
        callers.start[unsigned(count)], callers.end[unsigned(count)] = start, end
        callers.count[0] = count + 1
    return np.int64(callers.number[unsigned(row)])
