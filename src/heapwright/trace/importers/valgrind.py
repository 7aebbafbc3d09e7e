"""valgrind's `--trace-malloc=yes`: a line per call, between other words of valgrind's.

    --12398-- malloc(10) = 0x4A40040
    --12398-- realloc(0x4A40040,0)free(0x4A40040)
    --12398--  = 0

Aligned requests of any name are printed as memalign; realloc(NULL, n) as malloc. Threads are not
told. At the end valgrind lets libc free its own blocks, unless --run-libc-freeres=no.

Source     valgrind: coregrind/m_replacemalloc/vg_replace_malloc.c
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import CLOSING, LOWER_F, MINUS, OPENING
from heapwright.trace.importers.calls import (
    NOT_OF_THE_FAMILY,
    arguments,
    name_of,
    put_call,
    result,
)
from heapwright.trace.importers.lines import (
    BEYOND,
    FAULT,
    NO_FAULT,
    OTHER_LINES,
    OTHER_PROCESS,
    UNENDED,
    byte,
    decimal,
    next_line,
    past_spaces,
)
from heapwright.trace.importers.source import Source, plain

TITLE = "logs of valgrind --trace-malloc=yes"
_CALL = re.compile(rb"^--[\d:. ]*\d+-- \w+\((al |size )?(0x)?[0-9A-Fa-f]+.*\)", re.MULTILINE)
_COMMAND = re.compile(rb"^[ \t]*==\d+==[ \t]+Command:[ \t]+(.*?)[ \t]*\r?$", re.MULTILINE)
_PREAMBLE = re.compile(rb"==\d+== .*\n==\d+== Copy")


def recognises(head: bytes, path: Path) -> bool:
    """A call between valgrind's marks, or valgrind's own first words."""
    head = plain(head)
    return _CALL.search(head) is not None or _PREAMBLE.match(head) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Log(text_.Reading):
    """Takes the program's name from valgrind's preamble."""

    limits = (
        "valgrind tells no threads and no call sites, and prints aligned requests as memalign",
        "at its end valgrind lets libc free what libc holds, unless --run-libc-freeres=no",
    )

    def collect(self, text: np.ndarray) -> None:
        """The command, which stands before the first call."""
        if not self.program:
            found = _COMMAND.search(bytes(text[: min(4096, int(self.counts[1]))]))
            self.program = found[1].decode(errors="replace")[:200] if found else "valgrind"


def reading(source: Source) -> Log:
    """The events of `source`."""
    return Log(source, scan, np.full(1, -1, np.int64))


@kernel
def scan(lines, process):
    """Records of all whole lines, until the records are full."""
    start, end = next_line(lines)
    while start >= 0:
        fault = _line(lines, process, start, end)
        if fault > NO_FAULT and not lines.state[UNENDED]:
            lines.state[FAULT] = fault
            break
        if fault != NO_FAULT:
            lines.state[OTHER_LINES] += 1
        start, end = next_line(lines)


@kernel
def _line(lines, process, at, end):
    """--PID-- or --TIME PID--, then a call; anything else is valgrind's own business."""
    text = lines.text
    at = past_spaces(text, at, end)
    if byte(text, at, end) != MINUS or byte(text, at + 1, end) != MINUS:
        return NOT_OF_THE_FAMILY
    at += 2
    pid = np.int64(-1)
    while at < end and text[unsigned(at)] != MINUS:  # the last number before the next --
        number, after = decimal(text, at, end)
        if number >= 0:
            pid, at = number, after
        else:
            at += 1
    if pid < 0 or pid >= BEYOND or byte(text, at + 1, end) != MINUS:
        return NOT_OF_THE_FAMILY
    name, at = name_of(text, past_spaces(text, at + 2, end), end)
    if byte(text, at, end) != OPENING:
        return NOT_OF_THE_FAMILY
    given, at = arguments(text, at + 1, end)
    if process[0] < 0:
        process[0] = pid
    elif process[0] != pid:
        lines.state[OTHER_PROCESS] += 1
        return NO_FAULT
    freed_within = byte(text, at, end) == CLOSING and byte(text, at + 1, end) == LOWER_F  # )free(
    returned = np.int64(0) if freed_within else result(text, at, end)
    return put_call(lines, name, given, returned, (0, -1))
