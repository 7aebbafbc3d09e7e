"""ltrace's output for malloc's family, of one thread or (-f) of many whose lines interleave.

    12488 lua->malloc(10)                        = 0x55d89306a2a0
    12907 t->malloc(11 <unfinished ...>
    12907 <... malloc resumed> )                 = 0x7fb34c000b70

A free counts where it begins, everything else where it ends. A call within a call (libc's malloc
under a library's realloc) is the outer one's business. posix_memalign's block is not printed:
such calls are left out and counted.

Source     ltrace 0.7.3: output.c
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import (
    BRACKET,
    COLON,
    DOT,
    GREATER,
    LESS,
    MINUS,
    NINE,
    OPENING,
    ZERO,
)
from heapwright.trace.importers.calls import (
    FREES,
    NOT_OF_THE_FAMILY,
    arguments,
    frees,
    name_of,
    of_the_family,
    put_call,
    result,
)
from heapwright.trace.importers.lines import (
    BEYOND,
    ENTERED_BEFORE,
    FAULT,
    MANY_THREADS,
    NO_FAULT,
    NO_THREAD,
    OTHER_LINES,
    UNENDED,
    UNFINISHED,
    WITHIN,
    before_spaces,
    byte,
    decimal,
    is_blank,
    next_line,
    past_spaces,
    thread_number,
    word,
)
from heapwright.trace.importers.source import Source, plain

TITLE = "logs of ltrace -e malloc+free+calloc+realloc"
THREADS = 1 << 16
UNTOLD = -1  # the thread of a line that names none
SHORTEST_MARK = len("<no return ...>")
UNFINISHED_MARK = b"u"[0]  # of <unfinished ...>, not of <no return ...>
_CALL = re.compile(
    rb"^(\d+ |\[pid \d+\] )?([\d:.]+ )?([\w.+-]+->)?"
    rb"(malloc|free|calloc|realloc|memalign|_Zn\w+)(@\S+)?\((0x)?[0-9a-f]+[^=\n]*"
    rb"(= (0x[0-9a-f]+|0|<void>)|<(unfinished|no return) \.\.\.>)",
    re.MULTILINE,
)


class Pending(NamedTuple):
    """The outermost call that each thread is in."""

    depth: np.ndarray  # int32[thread]  calls entered and not left; -1: one that may never return
    name: np.ndarray  # int64[thread]
    given: np.ndarray  # int64[thread, 4]  as of `calls.arguments`


def recognises(head: bytes, path: Path) -> bool:
    """Some line is a call of malloc's family in ltrace's layout."""
    return _CALL.search(plain(head)) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Log(text_.Reading):
    """Says what ltrace cannot see."""

    limits = (
        "ltrace sees the calls that go through the libraries it was told to watch, no others",
        "a free counts where it begins, every other call where it ends",
    )

    def __init__(self, source: Source, pending: Pending) -> None:
        super().__init__(source, scan, pending)
        self._pending, self.most_threads = pending, len(pending.depth)

    def notes(self) -> list[str]:
        """As of every text, and the calls that the log leaves open."""
        pending = self._pending
        still = np.count_nonzero((pending.depth > 0) & ~np.isin(pending.name, FREES))
        more = [f"calls that had not returned when the log ended, left out: {still:,}"]
        return super().notes() + more * bool(still)


def reading(source: Source) -> Log:
    """The events of `source`."""
    threads = source.most(len("1 free(\n"), THREADS)
    own = Pending(
        np.zeros(threads, np.int32), np.zeros(threads, np.int64), np.zeros((threads, 4), np.int64)
    )
    return Log(source, own)


@kernel
def scan(lines, pending):
    """Records of all whole lines, until the records are full."""
    start, end = next_line(lines)
    while start >= 0:
        fault = _line(lines, pending, start, end)
        if fault > NO_FAULT and not lines.state[UNENDED]:
            lines.state[FAULT] = fault
            break
        if fault != NO_FAULT:
            lines.state[OTHER_LINES] += 1
        start, end = next_line(lines)


@kernel
def _line(lines, pending, at, end):
    text = lines.text
    end = before_spaces(text, at, end)
    tid, at = _thread_and_time(text, past_spaces(text, at, end), end)
    if tid >= BEYOND:
        return NOT_OF_THE_FAMILY
    resumed = byte(text, at, end) == LESS  # <... name resumed>
    if resumed:
        at = past_spaces(text, at + 4, end)
    else:
        at = _past_library(text, at, end)
    name, at = name_of(text, at, end)
    if not of_the_family(name):
        return NOT_OF_THE_FAMILY
    if tid == UNTOLD:
        lines.state[NO_THREAD] += 1
    number = thread_number(lines, max(tid, 0))
    if number >= len(pending.depth):
        return MANY_THREADS
    thread, where = unsigned(number), (number, -1)
    if resumed:
        return _left(lines, pending, name, (at, end), where)
    while at < end and text[unsigned(at)] != OPENING:  # @libc.so.6
        at += 1
    if at == end:
        return NOT_OF_THE_FAMILY
    given, at = arguments(text, at + 1, end)
    broken = _breaks_off(text, at, end)
    if pending.depth[thread] > 0:  # within another call
        lines.state[WITHIN] += 1
        if broken == 1:
            pending.depth[thread] += 1
        return NO_FAULT
    if broken and frees(name):
        pending.depth[thread], pending.name[thread] = (1 if broken == 1 else -1), name
        return put_call(lines, name, given, 0, where)
    if broken:
        pending.depth[thread], pending.name[thread] = (1 if broken == 1 else -1), name
        for place in range(4):
            pending.given[thread, place] = given[place]
        return NO_FAULT
    pending.depth[thread] = 0
    return put_call(lines, name, given, result(text, at, end), where)


@kernel
def _left(lines, pending, name, rest, where):
    """A call returns: the outermost one becomes a record."""
    thread = unsigned(where[0])
    depth = pending.depth[thread]
    if depth == 0:
        lines.state[ENTERED_BEFORE] += 1
        return NO_FAULT
    if depth > 1:
        pending.depth[thread] = depth - 1
        return NO_FAULT
    pending.depth[thread] = 0
    if name != pending.name[thread]:
        lines.state[UNFINISHED] += 1
        return NO_FAULT
    if frees(name):
        return NO_FAULT
    given = pending.given[thread]
    returned = result(lines.text, rest[0], rest[1])
    return put_call(lines, name, (given[0], given[1], given[2], given[3]), returned, where)


@kernel
def _thread_and_time(text, at, end):
    """(thread id, first byte after it and after a time of day); UNTOLD when none is told."""
    tid = np.int64(UNTOLD)
    if byte(text, at, end) == BRACKET:  # [pid 123]
        _, at = word(text, at + 1, end)
        tid, at = decimal(text, past_spaces(text, at, end), end)
        at = past_spaces(text, at + 1, end)
    else:
        number, after = decimal(text, at, end)
        if number >= 0 and is_blank(byte(text, after, end)):
            tid, at = number, past_spaces(text, after, end)
    after = at
    while after < end and _of_a_time(text[unsigned(after)]):
        after += 1
    if after > at and is_blank(byte(text, after, end)):
        at = past_spaces(text, after, end)
    return max(tid, UNTOLD), at


@kernel(inline=True)
def _of_a_time(char):
    """Whether a byte is one of 12:34:56.789's."""
    return ZERO <= char <= NINE or char in (COLON, DOT)


@kernel
def _past_library(text, at, end):
    """After `lua5.4->`, if such stands there before the parenthesis."""
    probe = at
    while probe + 1 < end and text[unsigned(probe)] != OPENING:
        if text[unsigned(probe)] == MINUS and text[unsigned(probe + 1)] == GREATER:
            return probe + 2
        probe += 1
    return at


@kernel
def _breaks_off(text, at, end):
    """1 for a line that ends `<unfinished ...>`, 2 for `<no return ...>`, else 0."""
    if (
        end - at < SHORTEST_MARK
        or text[unsigned(end - 1)] != GREATER
        or text[unsigned(end - 2)] != DOT
    ):
        return 0
    while at < end and text[unsigned(at)] != LESS:
        at += 1
    return 1 if byte(text, at + 1, end) == UNFINISHED_MARK else 2
