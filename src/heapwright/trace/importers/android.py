"""Android's memory_replay traces: `TID: operation POINTER arguments`, as text or zipped.

    202: malloc 0xb4827400 1024             202: memalign 0xb4827400 16 104
    202: calloc 0xb4827400 32 8             202: free 0xb4827400
    202: realloc 0xNEW 0xOLD 150            202: thread_done 0x0

Two numbers may follow, when the call began and ended; they are not kept. A thread id that comes
back after its thread_done is another thread.

Source     AOSP system/extras, memory_replay: traces/README, AllocParser.cpp
"""

import re
from collections.abc import Callable
from pathlib import Path

from heapwright.compiler import kernel
from heapwright.trace.importers import text as text_
from heapwright.trace.importers.bytes_ import COLON
from heapwright.trace.importers.lines import (
    BAD_LINE,
    BEYOND,
    FAULT,
    NO_FAULT,
    byte,
    decimal,
    next_line,
    number_of,
    past_spaces,
    pointer,
    product,
    put,
    put_free,
    thread_number,
    word,
)
from heapwright.trace.importers.source import Source, plain
from heapwright.trace.schema import CALLOC, MALLOC, MEMALIGN, REALLOC, THREAD_EXIT

TITLE = "Android memory_replay traces (text or zip)"
_LINE = re.compile(rb"\d+: ?(malloc|calloc|realloc|memalign|free|thread_done) (0x)?[0-9a-f]+")
_MALLOC, _FREE, _CALLOC = number_of("malloc"), number_of("free"), number_of("calloc")
_REALLOC, _MEMALIGN = number_of("realloc"), number_of("memalign")
_THREAD_DONE = number_of("thread_done")


def recognises(head: bytes, path: Path) -> bool:
    """The first line is a thread, an operation and a pointer."""
    return _LINE.match(plain(head)) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    text_.write(path, output, reading, advance)


def reading(source: Source) -> text_.Reading:
    """The events of `source`."""
    return text_.Reading(source, scan)


@kernel
def scan(lines, own):
    """Records of all whole lines, until the records are full."""
    text = lines.text
    start, end = next_line(lines)
    while start >= 0:
        if start < end:
            fault = _line(lines, text, start, end)
            if fault != NO_FAULT:
                lines.state[FAULT] = fault
                break
        start, end = next_line(lines)


@kernel
def _line(lines, text, at, end):
    at = past_spaces(text, at, end)
    if at == end:
        return NO_FAULT
    tid, at = decimal(text, at, end)
    if tid < 0 or tid >= BEYOND or byte(text, at, end) != COLON:
        return BAD_LINE
    name, at = word(text, past_spaces(text, at + 1, end), end)
    address, at = pointer(text, past_spaces(text, at, end), end)
    if address < 0:
        return BAD_LINE
    where = (thread_number(lines, tid), -1)
    if name == _FREE:
        return put_free(lines, address, where)
    if name == _THREAD_DONE:
        return put(lines, THREAD_EXIT, (0, 0), (0, 0), where)
    at = past_spaces(text, at, end)
    if name == _REALLOC:
        first, at = pointer(text, at, end)
    else:
        first, at = decimal(text, at, end)
    if first < 0:
        return BAD_LINE
    if name == _MALLOC:
        return put(lines, MALLOC, (address, 0), (first, 0), where)
    second, at = decimal(text, past_spaces(text, at, end), end)
    if second < 0:
        return BAD_LINE
    if name == _CALLOC:
        return put(lines, CALLOC, (address, 0), (product(first, second), 0), where)
    if name == _REALLOC:
        return put(lines, REALLOC, (address, first), (second, 0), where)
    if name == _MEMALIGN:
        return put(lines, MEMALIGN, (address, 0), (second, first), where)
    return BAD_LINE
