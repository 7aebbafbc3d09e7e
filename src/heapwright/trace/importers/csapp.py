"""The malloc laboratory's traces (CS:APP, mdriver): four numbers, then one operation a line.

    20000            a 0 512     malloc object 0
    2                r 0 640     realloc it
    4                f 0         free it; -1 is NULL
    1

The driver keeps one pointer per id: an id allocated again while in use loses its object for ever.
It reallocs to 0 bytes as glibc does, which frees.

Source     Bryant & O'Hallaron, Computer Systems: A Programmer's Perspective, malloc lab handout
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from heapwright.compiler import kernel
from heapwright.trace.importers import lines as at_
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.lines import (
    BAD_LINE,
    BEYOND,
    FAULT,
    NO_FAULT,
    byte,
    decimal,
    next_line,
    past_spaces,
    put,
    put_free,
)
from heapwright.trace.importers.source import Source, plain
from heapwright.trace.schema import MALLOC, REALLOC

TITLE = "CS:APP malloc lab traces (.rep)"
HEADER_LINES = 4
ID_LIMIT = 1 << 56
_HEAD = re.compile(rb"(\d+\n){4}([ar] \d+ \d|f -?\d)")
ALLOC_LINE, REALLOC_LINE, FREE_LINE = b"arf"


def recognises(head: bytes, path: Path) -> bool:
    """Four lines of one number, then an operation."""
    return _HEAD.match(plain(head)) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Rep(text_.Reading):
    """Knows what the header promised."""

    limits = ("malloc lab traces know neither threads, calloc, alignments nor call sites",)

    def __init__(self, source: Source) -> None:
        self.header = np.zeros(HEADER_LINES + 2, np.int64)  # its numbers; numbers read, operations
        super().__init__(source, scan, self.header, leaks=True)

    def notes(self) -> list[str]:
        """As of every text, and whether the file is as long as its header says."""
        operations = int(self.header[HEADER_LINES + 1])
        if operations in self.header[:HEADER_LINES].tolist():
            return super().notes()
        return [
            *super().notes(),
            f"the header promises another number of operations than the {operations:,} there are",
        ]


def reading(source: Source) -> Rep:
    """The events of `source`."""
    return Rep(source)


@kernel
def scan(lines, header):
    """Records of all whole lines, until the records are full."""
    start, end = next_line(lines)
    while start >= 0:
        start = past_spaces(lines.text, start, end)
        if start < end:
            fault = _line(lines, header, start, end)
            if fault != NO_FAULT:
                lines.state[FAULT] = fault
                break
        start, end = next_line(lines)


@kernel
def _line(lines, header, at, end):
    text = lines.text
    if header[HEADER_LINES] < HEADER_LINES:
        value, at = decimal(text, at, end)
        if value < 0:
            return BAD_LINE
        header[header[HEADER_LINES]] = value
        header[HEADER_LINES] += 1
        return NO_FAULT
    op = byte(text, at, end)
    name, at = decimal(text, past_spaces(text, at + 1, end), end)
    if name < 0:
        return BAD_LINE
    header[HEADER_LINES + 1] += 1
    if name >= BEYOND:
        address = np.int64(0)
    elif name >= ID_LIMIT:
        return at_.BAD_OBJECT
    else:
        address = (name + 1) * 16
    if op == FREE_LINE:
        return put_free(lines, address, (0, -1))
    size, at = decimal(text, past_spaces(text, at, end), end)
    if size < 0 or address == 0:
        return BAD_LINE
    if op == ALLOC_LINE:
        return put(lines, MALLOC, (address, 0), (size, 0), (0, -1))
    if op == REALLOC_LINE:
        return put(lines, REALLOC, (address if size else 0, address), (size, 0), (0, -1))
    return BAD_LINE
