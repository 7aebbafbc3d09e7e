"""Sections of the other mallocs' table: allocators within a program, nginx's and PyTorch's.

    python -m benchmarks.agreement_embedded RECORDINGS      prints them alone

nginx's slabs are held to nginx's own source. PyTorch's caching allocator is held to its own library
over a device that is none, where HEAPWRIGHT_TORCH names a folder in which the wheels are unpacked
(see tests/cuda_programs.py), and to the snapshots of real GPUs in build/snapshots, or in the folder
that HEAPWRIGHT_SNAPSHOTS names.
"""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import malloc_packages
from benchmarks.tables import SUFFIX, name_of, pair, setting, share, table
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import MAPPED_TOP
from heapwright.managers.device.cuda_caching.state import ROW_SHIFT, SEGMENT
from heapwright.references.nginx import agreement as slabs
from heapwright.references.nginx import build as nginx
from heapwright.references.tally import Tally
from heapwright.references.torch import agreement as recorded
from heapwright.trace.importers import torch_snapshot
from heapwright.trace.schema import MALLOC, Events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.replay import Conditions, Replay

ZONES = ({"zone_bytes": 32 << 10}, {"zone_bytes": 1 << 20}, {"zone_bytes": 1 << 30})
KNOB_RECORDING = "python-threads"
SLAB_HEADER = (
    "offsets equal",
    "its own counters equal",
    "refused: twin / real",
    "resident at the end, bytes: twin / real",
)
TORCH, SNAPSHOTS = "HEAPWRIGHT_TORCH", "HEAPWRIGHT_SNAPSHOTS"
STATES = ("allocated_bytes", "reserved_bytes", "num_alloc_retries", "ooms")
SEEDS = range(11, 31)
AREAS_BYTES = 40 << 30  # of the twin's addresses, for the areas of a device that is none


def slab_row(label: list[str], found: slabs.Agreement) -> list[str]:
    """The cells of one comparison with nginx."""
    tallies, pairs = (found.offsets, found.counters), (found.refused, found.resident)
    return [*label, *map(share, tallies), *map(pair, pairs)]


def nginx_section(traces: list[Path]) -> str:
    """The tables of nginx's slabs."""
    if missing := nginx.missing():
        return f"## nginx-slab\n\nNot driven: {missing}.\n"
    rows, knob_rows = [], []
    for path in traces:
        trace, name = Trace.open(path), name_of(path)
        print(f"nginx-slab on {name}, {trace.events:,} events", file=sys.stderr)
        rows.append(slab_row([name, f"{trace.events:,}"], slabs.validate(trace)))
        for knobs in ZONES if name == KNOB_RECORDING else ():
            knob_rows.append(slab_row([setting(knobs)], slabs.validate(trace, knobs)))
    text = f"""## nginx-slab {nginx.version()}

The real one is nginx's own ngx_slab.c, compiled with a shim for the rest of nginx, in a zone of a
fresh process: 64 MiB, which is full where requests are refused. An offset counts from the zone's
first page of objects.

{table(("trace", "events", *SLAB_HEADER), rows)}
"""
    if knob_rows:
        text += f"\nIn zones of other sizes, on {KNOB_RECORDING}:\n\n"
        text += table(("setting", *SLAB_HEADER), knob_rows) + "\n"
    return text


class Beside:
    """PyTorch's own library and the twin on one program after another."""

    def __init__(self, programs: Any, wheels: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.environment = programs.built(wheels.absolute(), folder)
        self.addresses, self.states = Tally(), Tally()
        self.retries = self.refused = 0  # of the real one

    def enter(self, name: str, seed: int) -> None:
        """Compare every address and state of one program. Of expandable segments the order in which
        they appear, and the offset in each."""
        found = self.programs.answers(name, self.folder, self.environment, seed)
        segments, offsets = self.programs.placed(name, found)
        settings, events = self.programs.CASES[name].settings, self.programs.batch(name, seed)
        path = self.folder / f"program{SUFFIX}"
        with TraceWriter(path, program=name, kind="synthetic") as out:
            out.write(events)
        twin = Replay("cuda-caching", Trace.open(path), dict(settings), Conditions("none"))
        heap, start = twin.heap, MAPPED_TOP - AREAS_BYTES
        heap.device.next = start
        expands = bool(settings.get("expandable_segments"))
        ours: dict[int, int] = {}
        real: dict[int, int] = {}
        for row, op in enumerate(events.op.tolist()):
            one = Events(*(column[row : row + 1] for column in events))
            twin.loop.replay(heap, twin.run, one)
            told = twin.module.statistics(heap)
            self.states.add(np.array([told[each] for each in STATES]) == found[row, 1:])
            if op != MALLOC:
                continue
            address, offset = int(twin.run.objects.address[events.slot[row]]), int(offsets[row])
            if not address or offset < 0:
                self.addresses.add(np.array([not address and offset < 0]))
                continue
            mine, number = start, 0
            if expands:
                mine = int(heap.blocks[(int(heap.row_at[address >> 9]) << ROW_SHIFT) + SEGMENT])
                number = real.setdefault(int(segments[row]), len(real))
            same = ours.setdefault(mine, len(ours)) == number and address - mine == offset
            self.addresses.add(np.array([same]))
        self.retries += int(found[-1, 3])
        self.refused += int(found[-1, 4])

    def row(self, name: str) -> list[str]:
        """The cells of what was entered."""
        case = self.programs.CASES[name]
        return [
            *(setting(case.settings), str(case.streams), share(self.addresses), share(self.states)),
            *(f"{self.retries:,}", f"{self.refused:,}"),
        ]


def library_table(wheels: Path) -> str:
    """The twin beside PyTorch's own library."""
    programs = import_module("cuda_programs")
    rows = []
    for name in programs.CASES:
        print(f"cuda-caching beside PyTorch's library: {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            beside = Beside(programs, wheels, Path(folder))
            for seed in SEEDS:
                beside.enter(name, seed)
            rows.append(beside.row(name))
    version = next(wheels.glob("torch-*.dist-info")).name.split("-")[1].removesuffix(".dist")
    each = f"{len(SEEDS)} programs of {programs.EVENTS:,} events a row"
    header = ("setting", "streams", "addresses equal", "states equal", "retries", "refused")
    return f"""PyTorch {version}'s own `libc10_cuda.so` over a device that is none, {each}; a state
is what is allocated and reserved, retries and failures, after each event.

{table(header, rows)}
"""


def snapshot_table(snapshots: list[Path]) -> str:
    """The twin beside what snapshots of real GPUs recorded."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / f"snapshot{SUFFIX}"
        for path in snapshots:
            print(f"cuda-caching beside {path.name}", file=sys.stderr)
            torch_snapshot.write(torch_snapshot.read(path), path, output, lambda _: None)
            trace = Trace.open(output)
            try:
                found = recorded.validate(trace)
            except HeapwrightError:  # the only reason: see Places
                why = "not compared: its addresses take more than the model's 64 GiB"
                rows.append([path.stem, f"{trace.events:,}", why, "", ""])
                continue
            cells = [share(found.addresses), f"{found.segments:,}", f"{found.reserved:,}"]
            rows.append([path.stem, f"{trace.events:,}", *cells])
    header = ("snapshot", "events", "addresses equal", "segments", "reserved at the end, bytes")
    return f"""Snapshots of programs on real GPUs: every address of the history, and of what lay
there before.

{table(header, rows)}
"""


def torch_section(_: list[Path]) -> str:
    """The tables of PyTorch's caching allocator, which no malloc's trace is for."""
    text = "## cuda-caching\n"
    if wheels := os.environ.get(TORCH):
        text += "\n" + library_table(Path(wheels))
    else:
        text += f"\nPyTorch's own library was not driven: {TORCH} names no folder of its wheel.\n"
    folder = Path(os.environ.get(SNAPSHOTS) or "build/snapshots")
    if snapshots := sorted(folder.glob("*.pickle")):
        text += "\n" + snapshot_table(snapshots)
    else:
        text += f"\nNo snapshot was compared: {folder} holds none.\n"
    return text


if __name__ == "__main__":
    malloc_packages.prepare()
    found = sorted(Path(sys.argv[1]).glob(f"*{SUFFIX}"))
    print(f"{nginx_section(found)}\n{torch_section(found)}")
