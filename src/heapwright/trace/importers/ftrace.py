"""The kernel's kmem events as text: trace, trace_pipe, or what `trace-cmd report` prints.

    cat-92  [000] d..1.  12.154: kmalloc: call_site=f+0x1/0x2 ptr=ffff... bytes_req=64 ...
    cat-92  [000]        12.154: mm_page_alloc: page=0xffffea... pfn=0xbd10 order=0 ...

Source     Linux: Documentation/trace/ftrace.rst, include/trace/events/kmem.h; trace-cmd-report(1)
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.trace.doors import CACHE
from heapwright.trace.importers.gfp import flags_of
from heapwright.trace.importers.kernel_events import EVENTS, Heard, Row, nothing, sound
from heapwright.trace.importers.kernel_notes import layouts_guessed
from heapwright.trace.importers.source import PIECE_BYTES, Source, open_source
from heapwright.trace.notes import Note
from heapwright.trace.schema import Events
from heapwright.trace.stacks import Stacks
from heapwright.trace.store import TraceWriter

TITLE = "the Linux kernel's kmem events as text (trace, trace_pipe, trace-cmd report)"
LINE_BYTES = 4096
_NAMES = "|".join(sorted(EVENTS, key=len, reverse=True)).encode()
_LINE = re.compile(
    rb"\[(\d{1,4})\]\s+(?:[^\s:]{1,12}\s+)?(\d{1,10})\.(\d{1,9}):\s+(" + _NAMES + rb"):\s*(.*)"
)
_ANY = re.compile(rb"\[\d{1,4}\]\s+(?:[^\s:]{1,12}\s+)?\d{1,10}\.\d{1,9}:\s+\w+:")
_FIELD = re.compile(r"(\w+)=(\S*)")
_LOST = re.compile(rb"LOST (\d{1,12}) EVENTS")


def recognises(head: bytes, path: Path) -> bool:
    """The tracer's own first line, or a line of an event that has a processor and a time."""
    return head.startswith(b"# tracer:") or _ANY.search(head) is not None


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`."""
    write(path, output, reading, advance)


def reading(source: Source) -> "Told":
    """The events of `source`."""
    return Told(source, lines_of)


class Told:
    """A recording being read; what else it tells is complete when `events` ends."""

    def __init__(self, source: Source, scan: Callable[[Source, Heard], Iterator[None]]) -> None:
        self.source, self.heard, self._scan = source, Heard(), scan

    def events(self, advance: Callable[[float], None] = lambda share: None) -> Iterator[Events]:
        """The events in batches; first all of the recording is read."""
        done = 0.0
        for _ in self._scan(self.source, self.heard):
            advance(self.source.share - done)
            done = self.source.share
        yield from self.heard.events()

    def labels(self) -> list[str]:
        """Names of the call sites."""
        return self.heard.sites

    def notes(self) -> list[Note]:
        """What it did not tell."""
        caches = {door.cache for door in self.heard.doors if door.call == CACHE}
        return self.heard.losses.notes() + layouts_guessed(len(caches))

    def stacks(self) -> Stacks:
        """None."""
        return Stacks(*np.zeros((2, 0), np.int32))


def write(
    path: Path, output: Path, reader: Callable[[Source], Told], advance: Callable[[float], None]
) -> None:
    """Write the trace of what `reader(source)` tells."""
    with open_source(path) as source:
        told = reader(source)
        with TraceWriter(output, program="linux", kind="imported") as writer:
            count = 0
            for batch in told.events(advance):
                writer.write(batch)
                count += len(batch.op)
            if not count:
                raise nothing(path)
            writer.sites, writer.doors = told.labels(), told.heard.doors
            writer.unmatched_frees = told.heard.losses.unmatched
            writer.facts.notes += told.notes()


def lines_of(source: Source, heard: Heard) -> Iterator[None]:
    """Enter every line of a text; yields now and then."""
    rest = b""
    while piece := source.read(PIECE_BYTES):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()[-LINE_BYTES:]
        for line in lines:
            _line(line[:LINE_BYTES], heard)
        yield
    _line(rest, heard)


def _line(line: bytes, heard: Heard) -> None:
    """One line."""
    found = _LINE.search(line)
    if found is None:
        lost = _LOST.search(line)
        if lost:
            heard.losses.lost += int(lost[1])
        elif line.strip() and not line.startswith((b"#", b"cpus=", b"CPU ", b"version =")):
            heard.losses.other += 1
        return
    cpu, seconds, fraction, name, told = found.groups()
    fields = dict(_FIELD.findall(told.decode("ascii", "replace")))
    time_ns = int(seconds) * 10**9 + int(fraction.ljust(9, b"0"))
    row = row_of(name.decode(), fields, heard, (int(cpu), time_ns))
    if row is None:
        heard.losses.unsound += 1
    else:
        heard.add(row)


def _number(text: Any, base: int = 0) -> int:
    """A number as events print it; -1 of none."""
    if isinstance(text, int):
        return text
    if text in ("(null)", "(nil)"):
        return 0
    try:
        return int(text, base) if len(text) < 25 else -1
    except ValueError:
        return -1


def row_of(name: str, fields: dict[str, Any], heard: Heard, when: tuple[int, int]) -> Row | None:
    """The row of an event; None where a field is missing or no kernel writes it."""
    kind = EVENTS[name]
    gfp = fields.get("gfp_flags", "")
    flags = flags_of(gfp if isinstance(gfp, str) else hex(gfp))
    if fields.get("accounted") == "true":
        flags = flags | 0x400000 if flags >= 0 else 0x400CC0
    if name.startswith("mm_page"):
        frame = _number(fields.get("pfn", ""))
        if frame in ((1 << 64) - 1, (1 << 32) - 1) or fields.get("page") == "(null)":
            frame = 0
        order = _number(fields.get("order", "0"))
        if frame < 0:
            return None
        return sound(
            Row(kind, frame, order, _number(fields.get("migratetype", "0")), flags, -1, -1, *when)
        )
    none = "0" if name in ("kfree", "kmem_cache_free") else ""  # a free tells no size
    size, room = (_number(fields.get(each, none)) for each in ("bytes_req", "bytes_alloc"))
    key = _number(fields.get("ptr", ""), 16)
    if key < 0 or size < 0 or room < 0:
        return None
    site = fields.get("call_site", "")
    site = heard.number("site", site if isinstance(site, str) else hex(site))
    cache = heard.number("name", str(fields.get("name", ""))[:64])
    return sound(Row(kind, key, size, room, flags, site, cache, *when))
