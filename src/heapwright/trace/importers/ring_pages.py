"""The kernel's kmem events as raw pages of its ring buffer, behind the layouts of the events.

    (cat /sys/kernel/tracing/events/kmem/*/format; echo MARK RAW;
     cat /sys/kernel/tracing/per_cpu/cpu*/trace_pipe_raw) > FILE

    page   time │ bytes in use │ event │ event │ ...     event  time since the last, length, fields

Source     Linux: Documentation/trace/ring-buffer-map.rst, include/linux/ring_buffer.h
           (ring_buffer_type), Documentation/trace/events.rst for the layouts' text
"""

import re
import struct
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.trace.importers.ftrace import Told, row_of, write
from heapwright.trace.importers.kernel_events import EVENTS, Heard
from heapwright.trace.importers.source import Source

TITLE = "the Linux kernel's kmem events as raw pages behind their layouts"
MARK = b"MARK RAW\n"
PAGE = 4096
HEAD = 16  # of a page: time, bytes in use
COMMIT = 0xFFFFF  # bits of the second word that count bytes
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
LAYOUT_BYTES = 1 << 24
_FIELD = re.compile(r"field:([^;\n]+);\toffset:(\d+);\tsize:(\d+);\tsigned:([01])")


class Field(NamedTuple):
    """Where a field of an event lies."""

    offset: int
    size: int
    signed: bool
    text: bool  # at the place that the word says


class Layout(NamedTuple):
    """An event's name and fields."""

    name: str
    fields: dict[str, Field]


def recognises(head: bytes, path: Path) -> bool:
    """The text of an event's layout."""
    return head.startswith(b"name: ") and b"\nID: " in head


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    write(path, output, reading, advance)


def reading(source: Source) -> Told:
    """The events of `source`."""
    return Told(source, pages_of)


def layouts(text: str, names: Container[str] = EVENTS) -> dict[int, Layout]:
    """The layouts of these events by number, by default of kmem's."""
    found = {}
    for block in re.split(r"(?m)^name: ", text)[1:]:
        name = block.partition("\n")[0].strip()
        number = re.search(r"(?m)^ID: (\d{1,5})$", block)
        if name not in names or number is None:
            continue
        fields = {}
        for declared, offset, size, signed in _FIELD.findall(block):
            words = declared.replace("[", " ").split()
            if len(offset) < 6 and len(size) < 5 and words:
                key = next((word for word in reversed(words) if word[0].isalpha()), "")
                text_ = "__data_loc" in declared
                key = declared.split()[-1].partition("[")[0] or key
                fields[key] = Field(int(offset), int(size), signed == "1", text_)
        found[int(number[1])] = Layout(name, fields)
    return found


def pages_of(source: Source, heard: Heard) -> Iterator[None]:
    """Enter every event of a recording; yields after each page."""
    text = b""
    while MARK not in text and len(text) < LAYOUT_BYTES and (piece := source.read(1 << 16)):
        text += piece
    told, mark, rest = text.partition(MARK)
    known = layouts(told.decode("ascii", "replace"))
    if not mark or not known:
        raise HeapwrightError(
            f"{source.path} has no layouts of kmem events with a line {MARK.decode().strip()!r} "
            "and pages behind them: see docs/linux.md"
        )
    number = 0
    while rest or (rest := source.read(PAGE)):
        while len(rest) < PAGE and (piece := source.read(PAGE - len(rest))):
            rest += piece
        page, rest = rest[:PAGE], rest[PAGE:]
        if len(page) < PAGE:
            raise HeapwrightError(
                f"page {number} of {source.path} is cut short: it has {len(page)} of {PAGE} bytes; "
                "copy the recording again"
            )
        try:
            for time, body in bodies(page):
                _enter(body, known, heard, time)
        except (struct.error, IndexError):
            raise HeapwrightError(
                f"page {number} of {source.path} is damaged: an event in it goes beyond its end; "
                "record it again"
            ) from None
        number += 1
        yield


def bodies(page: bytes) -> Iterator[tuple[int, bytes]]:
    """The events of one page, each with its time; struct.error or IndexError where it is
    damaged."""
    time, word = struct.unpack_from("<QQ", page)
    at, end = HEAD, HEAD + (word & COMMIT)
    if end > PAGE:
        raise IndexError
    while at < end:
        (first,) = struct.unpack_from("<I", page, at)
        kind, delta = first & 31, first >> 5
        at += 4
        if kind in (TIME_EXTEND, TIME_STAMP):
            (high,) = struct.unpack_from("<I", page, at)
            at += 4
            if kind == TIME_EXTEND:
                time += delta + (high << 27)
            else:
                time = time & (0x1F << 59) | delta | high << 27
        elif kind == PADDING:
            if delta == 0:
                return
            (length,) = struct.unpack_from("<I", page, at)
            time += delta
            at += max(length, 4)
        else:
            time += delta
            length = kind * 4
            if kind == 0:
                (length,) = struct.unpack_from("<I", page, at)
                at, length = at + 4, length - 4
            if length < 0 or at + length > end:
                raise IndexError
            yield time, page[at : at + length]
            at += (length + 3) & ~3


def fields_of(layout: Layout, body: bytes) -> dict[str, Any]:
    """An event's fields by name: numbers, text, and bytes of arrays; IndexError where one is
    missing."""
    fields: dict[str, Any] = {}
    for name, (offset, size, signed, text) in layout.fields.items():
        value = body[offset : offset + size]
        if len(value) < size:
            raise IndexError
        number = int.from_bytes(value, "little", signed=signed)
        if text:
            start = number & 0xFFFF
            held = body[start : start + (number >> 16 & 0xFFFF)].partition(b"\0")[0]
            fields[name] = held.decode("ascii", "replace")
        else:
            fields[name] = number if size <= 8 else value
    return fields


def _enter(body: bytes, known: dict[int, Layout], heard: Heard, time: int) -> None:
    """One event's bytes."""
    layout = known.get(int.from_bytes(body[:2], "little"))
    if layout is None:
        heard.losses.other += 1
        return
    try:
        fields = fields_of(layout, body)
    except IndexError:
        heard.losses.unsound += 1
        return
    if fields.pop("accounted", 0):
        fields["accounted"] = "true"
    row = row_of(layout.name, fields, heard, (0, time))
    if row is None:
        heard.losses.unsound += 1
    else:
        heard.add(row)
