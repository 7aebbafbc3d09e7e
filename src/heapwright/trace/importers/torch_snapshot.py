"""PyTorch's snapshots of a GPU's memory: the history that torch.cuda.memory._dump_snapshot writes.

    pickle ─► plain data ─► device_traces: alloc, free_completed, oom ─► TraceWriter
                          └ segments: what lay there when the history began, by walking it back

A stream is a thread, a Python stack a call site, a request that ended in an out-of-memory error one
that was granted and freed at once: a replay that refuses it runs out of memory, one that does not
would have gone on. What lay there at the start is asked for again, segment by segment and in the
order of addresses, holes included, which are then freed; so the blocks lie as they did.

Recorded too: the settings that the snapshot tells (PyTorch 2.1 and later), and the device's
capacity from what it says was free at an out-of-memory error.

Source     PyTorch torch/csrc/cuda/memory_snapshot.cpp, c10/cuda/CUDACachingAllocator.cpp
Omits      devices but the one with the longest history; private pools of CUDA graphs, which are
           taken for common ones; when other streams were done with a block, but as a free completed
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import pickled
from heapwright.trace.importers.isolation import isolated
from heapwright.trace.importers.snapshot_start import LIMIT, Start, number, start_of
from heapwright.trace.importers.source import open_source
from heapwright.trace.layout import first_line
from heapwright.trace.schema import FREE, MALLOC, SIZE_LIMIT, TRIM, events
from heapwright.trace.stacks import Tree
from heapwright.trace.writer import TraceWriter

TITLE = "PyTorch's snapshots of GPU memory (torch.cuda.memory._dump_snapshot)"
READS_PICKLES = True  # but nothing that is more than data: see pickled.py
DEVICE = "cuda"  # of a trace's origin
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
NEAR = 400  # bytes of a snapshot's start that name its parts
MOST_FRAMES, MOST_NAME = 200, 300
MIB, PERCENT = 1 << 20, 100
STEP = 1 << 16  # events between two shares told
BATCH = 1 << 17  # events written at once
DIVISIONS = (2, 4, 8, 16, 32, 64)  # of a power of two, that the twin has
USUAL_MB = (16 << 10, 24 << 10, 32 << 10, 40 << 10, 48 << 10)  # the first is the twin's default
MODELLED_BYTES = 60 << 30  # machine/device.py: MOST_CAPACITY_BYTES
ACTIONS = frozenset(
    (
        *("alloc", "free_completed", "oom", "free_requested", "snapshot"),
        *("segment_alloc", "segment_free", "segment_map", "segment_unmap"),
    )
)


def recognises(head: bytes, path: Path) -> bool:
    """A pickle of protocol 2 or later that begins with segments."""
    if _PROTOCOL.match(head) is None:
        return False
    return any(word in head[:NEAR] for word in (b"segments", b"device_traces", b"total_size"))


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of `path` to `output`, in a process of its own."""
    isolated(__name__, path, output, advance)


def convert(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of the snapshot `path`; HeapwrightError for what is none."""
    pickled.limited(path.stat().st_size)
    try:
        write(read(path), path, output, advance)
    except MemoryError:
        raise HeapwrightError(f"{path} asks for more memory than a snapshot needs") from None


def read(path: Path) -> Any:
    """What the pickle `path` holds; HeapwrightError for what is no plain data."""
    with open_source(path) as source:
        try:
            content = b"".join(iter(lambda: source.read(1 << 22), b""))
            return pickled.loads(content)
        except pickled.Refused as refused:
            raise HeapwrightError(f"{path} is a pickle, and {refused}") from None
        except MemoryError:
            raise
        except pickled.FAULTS as fault:
            raise HeapwrightError(
                f"{path} is a pickle that is damaged or cut short: {first_line(fault) or 'it ends'}"
            ) from None


def write(snapshot: Any, path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Write the trace of what a pickle held."""
    history, segments, others = _parts(snapshot, path)
    start, device = start_of(segments, history), device_of(history, segments)
    with TraceWriter(output, program=path.name, kind="imported") as writer:
        reader = _Reader(writer, start, device)
        reader.begin()
        for at in range(0, len(history), STEP):
            part = history[at : at + STEP]
            for event in part:
                reader.event(event)
            advance(len(part) / len(history))
        reader.flush()
        writer.sites, writer.stacks = reader.tree.frames, reader.tree.arrays()
        writer.unmatched_frees = reader.unmatched
        writer.facts.origin |= {"device": DEVICE}
        told, unread = settings_of(snapshot)
        writer.facts.settings |= told | device.knobs
        for text, cases in [*reader.notes(), *unread, *device.notes, *others]:
            writer.note(text, cases=cases)
        for text in reader.tree.notes():
            writer.note(text)


def _parts(snapshot: Any, path: Path) -> tuple[list[Any], list[Any], list[tuple[str, int]]]:
    """The longest history, its device's segments, and what must be known of the others."""
    if isinstance(snapshot, list):
        raise HeapwrightError(
            f"{path} holds segments alone, as torch.cuda.memory_snapshot() tells: record a history "
            "(torch.cuda.memory._record_memory_history) and dump that"
        )
    traces = snapshot.get("device_traces") if isinstance(snapshot, dict) else None
    segments = snapshot.get("segments") if isinstance(snapshot, dict) else None
    if not isinstance(traces, list) or not isinstance(segments, list):
        raise HeapwrightError(f"{path} is a pickle, but no snapshot of PyTorch's GPU memory")
    if not all(isinstance(trace, list) for trace in traces) or not any(traces):
        raise HeapwrightError(
            f"{path} holds no history: call torch.cuda.memory._record_memory_history() before the "
            "program allocates, and dump then"
        )
    device = max(range(len(traces)), key=lambda number: len(traces[number]))
    own = [
        each
        for each in segments
        if isinstance(each, dict) and each.get("device", device) in (device, -1)
    ]
    left = sum(len(trace) for trace in traces) - len(traces[device])
    said = [(f"Left out {left:,} events of other devices than number {device}.", left)]
    return traces[device], own, said if left else []


class _Reader:
    """Turns a history's events into a trace's."""

    def __init__(self, writer: TraceWriter, start: Start, device: "Device") -> None:
        self.tree = Tree()
        self._writer, self._start, self._device = writer, start, device
        self._reserved = device.reserved_bytes
        self._before: int | None = None  # what was, while segments are going back
        self._rows: list[tuple[int, int, int, int, int, int, int]] = []
        self._slot_of: dict[int, int] = {}
        self._spare: list[int] = []
        self._slots = 0
        self._threads: dict[int, int] = {}
        self._sites: dict[int, tuple[Any, int]] = {}  # by the list's identity; the list is kept
        self._began: int | None = None
        self.unmatched = self._unsound = self._ooms = self._twice = self._emptied = 0

    def begin(self) -> None:
        """Ask again for what lay there at the start, and free the holes."""
        holes = []
        for piece in self._start.pieces:
            slot = self._take(piece.address)
            self._row(MALLOC, slot, piece.size, piece.stream, address=piece.address)
            if piece.passing:  # only so that its segment is as long as it was
                self._free(piece.address, piece.stream)
            elif not piece.live:
                holes.append(piece)
        for piece in holes:
            self._free(piece.address, piece.stream)

    def event(self, event: Any) -> None:
        """Enter one of the history's."""
        action = event.get("action") if isinstance(event, dict) else None
        size, address = number(event, "size", SIZE_LIMIT), number(event, "addr")
        stream = event.get("stream", 0) if isinstance(event, dict) else 0
        if not isinstance(action, str) or action not in ACTIONS or type(stream) is not int:
            self._unsound += 1
            return
        when = number(event, "time_us", LIMIT // 1000)
        if when >= 0 and self._began is None:
            self._began = when
        time_ns = max(when - (self._began or 0), 0) * 1000
        self._emptying(action, size, stream, time_ns)
        if action == "alloc" and size >= 0 and address > 0:
            if address in self._slot_of:
                self._twice += 1
                self._free(address, stream, time_ns)
            slot = self._take(address)
            site = self._site(event.get("frames"))
            self._row(MALLOC, slot, size, stream, site=site, address=address, time_ns=time_ns)
        elif action == "free_completed" and address > 0:
            self._free(address, stream, time_ns)
        elif action == "oom" and size >= 0:
            self._ooms += 1
            slot = self._take(-self._ooms)
            site = self._site(event.get("frames"))
            self._row(MALLOC, slot, size, stream, site=site, time_ns=time_ns)
            self._free(-self._ooms, stream, time_ns)
        elif action in ("alloc", "free_completed", "oom"):
            self._unsound += 1

    def _emptying(self, action: str, size: int, stream: int, time_ns: int) -> None:
        """Follow what is reserved. Segments that go back are an empty_cache(), unless it is known
        that the device had no room for the segment that follows: then the allocator did it."""
        if action in ("segment_free", "segment_unmap"):
            self._before = self._reserved if self._before is None else self._before
            self._reserved -= max(size, 0)
            return
        asked = max(size, 0) if action in ("segment_alloc", "segment_map") else 0
        if self._before is not None and action not in ("free_requested", "free_completed"):
            before, self._before = self._before, None
            own = action == "oom" or 0 < self._device.told_bytes < before + asked
            if not own:
                self._emptied += 1
                self._row(TRIM, -1, 0, stream, time_ns=time_ns)
        self._reserved += asked

    def _take(self, address: int) -> int:
        slot = self._spare.pop() if self._spare else self._slots
        self._slots = max(self._slots, slot + 1)
        self._slot_of[address] = slot
        return slot

    def _free(self, address: int, stream: int, time_ns: int = 0) -> None:
        slot = self._slot_of.pop(address, None)
        if slot is None:
            self.unmatched += 1
            return
        self._spare.append(slot)
        self._row(FREE, slot, 0, stream, time_ns=time_ns)

    def _row(  # noqa: PLR0913 an event's columns
        self,
        op: int,
        slot: int,
        size: int,
        stream: int,
        *,
        site: int = -1,
        address: int = 0,
        time_ns: int = 0,
    ) -> None:
        thread = self._threads.setdefault(stream, len(self._threads))
        self._rows.append((op, slot, size, thread, site, time_ns, address))
        if len(self._rows) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if self._rows:
            columns = np.array(self._rows, np.int64).T
            names = ("op", "slot", "size", "thread", "site", "time_ns", "address")
            self._writer.write(events(**dict(zip(names, columns, strict=True))))
            self._rows = []

    def _site(self, frames: Any) -> int:
        """The node of a stack, whose innermost frame comes first; -1 of none."""
        if not isinstance(frames, list):
            return -1
        known = self._sites.get(id(frames))
        if known is None:
            names = [_frame(frame) for frame in frames[:MOST_FRAMES]]
            known = frames, self.tree.node(names[::-1])
            self._sites[id(frames)] = known
        return known[1]

    def notes(self) -> list[tuple[str, int]]:
        """What was assumed and left out, each with its cases."""
        start, said = self._start, []
        if start.pieces:
            live = sum(piece.live for piece in start.pieces)
            said.append(
                (
                    f"The history begins with {live:,} blocks that were there before: they and the "
                    "holes between them are asked for again at the start, in the order of "
                    "addresses.",
                    live,
                )
            )
        for count, text in (
            (self._ooms, "Requests that ended out of memory are granted and freed at once"),
            (
                self._emptied,
                "What was cached went back, taken for the program's empty_cache()",
            ),
            (start.overlapping, "Blocks that overlap another one, left out"),
            (self._unsound, "Events of no known kind or with damaged figures, left out"),
            (self._twice, "Frees put in where another block came to the same place"),
        ):
            if count:
                said.append((f"{text}: {count:,}.", count))
        return said


def _frame(frame: Any) -> str:
    """A frame's name, as others' are written: function (file:line)."""
    if not isinstance(frame, dict):
        return "?"
    function, file, line = (frame.get(key) for key in ("name", "filename", "line"))
    name = str(function)[:MOST_NAME] if isinstance(function, str) and function else "?"
    name = _printable(name)
    if not isinstance(file, str) or not file or type(line) is not int:
        return name
    return f"{name} ({_printable(file[-MOST_NAME:])}:{line % (1 << 31)})"


def _printable(text: str) -> str:
    """A name on one line, of characters that any terminal can be given."""
    return "".join(each if each.isprintable() else "?" for each in text)


def settings_of(snapshot: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """The allocator's settings as knobs of its twin, and what is told that the twin has not."""
    told = snapshot.get("allocator_settings")
    if not isinstance(told, dict):
        return {}, []
    found, said = {}, []
    split = told.get("max_split_size")
    if type(split) is int and MIB <= split < SIZE_LIMIT:
        found["max_split_size_mb"] = split // MIB
    threshold = told.get("garbage_collection_threshold")
    if isinstance(threshold, float | int) and 0 < threshold < 1:
        found["garbage_collection_threshold"] = min(max(round(threshold * PERCENT), 1), 99)
    if told.get("expandable_segments") is True:
        found["expandable_segments"] = 1
    divisions = told.get("roundup_power2_divisions")
    if isinstance(divisions, dict):
        kinds = {value for value in divisions.values() if type(value) is int and value > 1}
        if len(kinds) == 1 and kinds.issubset(DIVISIONS):
            found["roundup_power2_divisions"] = kinds.pop()
        elif kinds:
            said.append(("roundup_power2_divisions differs by size, which the twin has not.", 1))
    return found, said


class Device(NamedTuple):
    """What a history tells of the device."""

    knobs: dict[str, int]  # capacity_mb, where it is known or must be assumed
    notes: list[tuple[str, int]]
    told_bytes: int  # at an out-of-memory error; 0: none
    reserved_bytes: int  # when the history began


def device_of(history: list[Any], segments: list[Any]) -> Device:
    """The capacity as a knob, and what is assumed: from what an out-of-memory error says was free,
    else as much as a usual device has that what was reserved fits into."""
    reserved = sum(max(number(each, "total_size", SIZE_LIMIT), 0) for each in segments)
    peak, seen = reserved, 0
    for event in reversed(history):
        action = event.get("action") if isinstance(event, dict) else None
        size = max(number(event, "size", SIZE_LIMIT), 0)
        if action in ("segment_alloc", "segment_map"):
            reserved -= size
        elif action in ("segment_free", "segment_unmap"):
            reserved += size
        elif action == "oom" and reserved >= 0:
            free = number(event, "device_free", SIZE_LIMIT)
            seen = seen or (free + reserved if free >= 0 else 0)
        peak = max(peak, reserved)
    text, assumed = f"The device had {seen:,} bytes for it at an out-of-memory error", seen
    if not seen:
        if peak <= USUAL_MB[0] * MIB:
            return Device({}, [], 0, reserved)
        assumed = next((each * MIB for each in USUAL_MB if each * MIB >= peak), peak)
        text = f"How large the device is is not told: it is taken for one of {assumed:,} bytes"
    if assumed > MODELLED_BYTES or assumed < MIB:
        text += ", more than is modelled (60 GiB): a capacity_mb that is named stands for it"
        return Device({}, [(f"{text}.", 1)], seen, reserved)
    knobs = {"capacity_mb": assumed // MIB}
    return Device(knobs, [(f"{text}: capacity_mb.", 1)], seen, reserved)
