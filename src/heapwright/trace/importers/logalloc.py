"""Mozilla's logalloc: `PID TID function(arguments)=result`, raw or munged for its replayer.

    18545 18545 malloc(32)=0x7f90495120e0        1 1 malloc(32)=#1
    18545 18545 posix_memalign(256,240)=0x...    1 1 jemalloc_stats()

Old logs have no thread id. A log may hold several processes: the first is imported.

Source     mozilla-central: memory/replace/logalloc/README, LogAlloc.cpp
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from heapwright.compiler import kernel
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import OPENING
from heapwright.trace.importers.calls import (
    NOT_OF_THE_FAMILY,
    arguments,
    name_of,
    put_call,
    result,
)
from heapwright.trace.importers.lines import (
    BAD_LINE,
    BEYOND,
    FAULT,
    NO_FAULT,
    NO_THREAD,
    OTHER_LINES,
    OTHER_PROCESS,
    byte,
    decimal,
    next_line,
    past_spaces,
    thread_number,
)
from heapwright.trace.importers.source import Source, plain

TITLE = "logs of Mozilla's logalloc (MALLOC_LOG)"
_LINE = re.compile(rb"\d+ (\d+ )?[a-z_]+\([^ \n]*\)(=(0x[0-9a-f]+|#\d+|\(nil\)))?(\n|$)")


def recognises(head: bytes, path: Path) -> bool:
    """The first line is a process, perhaps a thread, and a call without spaces."""
    return _LINE.match(plain(head)) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


def reading(source: Source) -> text_.Reading:
    """The events of `source`."""
    return text_.Reading(source, scan, np.full(1, -1, np.int64))


@kernel
def scan(lines, process):
    """Records of all whole lines, until the records are full."""
    start, end = next_line(lines)
    while start >= 0:
        start = past_spaces(lines.text, start, end)
        if start < end:
            fault = _line(lines, process, start, end)
            if fault == NOT_OF_THE_FAMILY:
                lines.state[OTHER_LINES] += 1
            elif fault != NO_FAULT:
                lines.state[FAULT] = fault
                break
        start, end = next_line(lines)


@kernel
def _line(lines, process, at, end):
    text = lines.text
    pid, at = decimal(text, at, end)
    at = past_spaces(text, at, end)
    tid, after = decimal(text, at, end)
    if tid >= 0:
        at = past_spaces(text, after, end)
    else:
        tid = pid
        lines.state[NO_THREAD] += 1
    name, at = name_of(text, at, end)
    if pid < 0 or pid >= BEYOND or tid >= BEYOND or byte(text, at, end) != OPENING:
        return BAD_LINE
    if process[0] < 0:
        process[0] = pid
    elif process[0] != pid:
        lines.state[OTHER_PROCESS] += 1
        return NO_FAULT
    given, at = arguments(text, at + 1, end)
    where = (thread_number(lines, tid), -1)
    return put_call(lines, name, given, result(text, at, end), where)
