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
from heapwright.trace.importers.calls import (
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
    FAULT,
    MANY_THREADS,
    NO_FAULT,
    OTHER_LINES,
    UNENDED,
    byte,
    decimal,
    next_line,
    past_spaces,
    thread_number,
    word,
)
from heapwright.trace.importers.source import Source

TITLE = "logs of ltrace -e malloc+free+calloc+realloc"
THREADS = 1 << 16
_CALL = re.compile(
    rb"^(\d+ )?([\d:.]+ )?([\w.+-]+->)?(malloc|free|calloc|realloc|memalign|_Zn\w+)(@\S+)?"
    rb"\((0x)?[0-9a-f]+[^=\n]*(= (0x[0-9a-f]+|0|<void>)|<(unfinished|no return) \.\.\.>)",
    re.MULTILINE,
)


class Pending(NamedTuple):
    """The outermost call that each thread is in."""

    depth: np.ndarray  # int32[thread]  calls entered and not left; -1: one that may never return
    name: np.ndarray  # int64[thread]
    given: np.ndarray  # int64[thread, 4]  as of `calls.arguments`


def recognises(head: bytes, path: Path) -> bool:
    """Some line is a call of malloc's family in ltrace's layout."""
    return _CALL.search(head) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


class Log(text_.Reading):
    """Says what ltrace cannot see."""

    limits = (
        "ltrace sees the calls that go through the libraries it was told to watch, no others",
    )


def reading(source: Source) -> Log:
    """The events of `source`."""
    threads = source.most(len("1 free(\n"), THREADS)
    own = Pending(
        np.zeros(threads, np.int32), np.zeros(threads, np.int64), np.zeros((threads, 4), np.int64)
    )
    return Log(source, scan, own)


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
    tid, at = _thread_and_time(text, past_spaces(text, at, end), end)
    if tid >= BEYOND:
        return NOT_OF_THE_FAMILY
    resumed = byte(text, at, end) == 60  # <... name resumed>
    if resumed:
        at = past_spaces(text, at + 4, end)
    else:
        at = _past_library(text, at, end)
    name, at = name_of(text, at, end)
    if not of_the_family(name):
        return NOT_OF_THE_FAMILY
    number = thread_number(lines, tid)
    if number >= len(pending.depth):
        return MANY_THREADS
    thread, where = unsigned(number), (number, -1)
    if resumed:
        return _left(lines, pending, name, (at, end), where)
    while at < end and text[unsigned(at)] != 40:  # @libc.so.6
        at += 1
    if at == end:
        return NOT_OF_THE_FAMILY
    given, at = arguments(text, at + 1, end)
    broken = _breaks_off(text, at, end)
    if pending.depth[thread] > 0:  # within another call
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
        return NOT_OF_THE_FAMILY  # entered before the log began
    if depth > 1:
        pending.depth[thread] = depth - 1
        return NO_FAULT
    pending.depth[thread] = 0
    if frees(name) or name != pending.name[thread]:
        return NO_FAULT
    given = pending.given[thread]
    returned = result(lines.text, rest[0], rest[1])
    return put_call(lines, name, (given[0], given[1], given[2], given[3]), returned, where)


@kernel
def _thread_and_time(text, at, end):
    """(thread id, first byte after it and after a time of day); thread 0 when none is told."""
    tid = np.int64(0)
    if byte(text, at, end) == 91:  # [pid 123]
        _, at = word(text, at + 1, end)
        tid, at = decimal(text, past_spaces(text, at, end), end)
        at = past_spaces(text, at + 1, end)
    else:
        number, after = decimal(text, at, end)
        if number >= 0 and byte(text, after, end) == 32:
            tid, at = number, past_spaces(text, after, end)
    after = at
    while after < end and (48 <= text[unsigned(after)] <= 58 or text[unsigned(after)] == 46):
        after += 1
    if after > at and byte(text, after, end) == 32:
        at = past_spaces(text, after, end)
    return max(tid, 0), at


@kernel
def _past_library(text, at, end):
    """After `lua5.4->`, if such stands there before the parenthesis."""
    probe = at
    while probe + 1 < end and text[unsigned(probe)] != 40:
        if text[unsigned(probe)] == 45 and text[unsigned(probe + 1)] == 62:
            return probe + 2
        probe += 1
    return at


@kernel
def _breaks_off(text, at, end):
    """1 for a line that ends `<unfinished ...>`, 2 for `<no return ...>`, else 0."""
    if end - at < 14 or text[unsigned(end - 1)] != 62 or text[unsigned(end - 2)] != 46:
        return 0
    while at < end and text[unsigned(at)] != 60:
        at += 1
    return 1 if byte(text, at + 1, end) == 117 else 2
