"""The rate of a glibc that cannot carry the Python of the twins' loop: one older than this machine.

    seconds(trace, libraries) ─ the events in a file ─► rate.c, on the loader in `libraries`

The loop of the twins runs in a Python that was linked for this machine's glibc, and no program runs
on an older one than it was linked for. rate.c has the same loop in C; on this machine's own glibc
both are timed, so that the page can say how alike the two loops are.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from heapwright.references.c_program import executable
from heapwright.references.malloc import libc
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC
from heapwright.trace.store import Trace

CODES = (
    FREE,
    MALLOC,
    CALLOC,
    REALLOC,
    MEMALIGN,
)  # in rate.c's order; what else is there is no call
NOTHING = len(CODES)
FLAGS = ("-O2", "-std=gnu11", "-fno-builtin")


def seconds(trace: Trace, libraries: Path | None, runs: int) -> float:
    """The least of `runs` replays on the glibc in `libraries`, this machine's own for None."""
    flags = (*FLAGS, *libc.linked(libraries)) if libraries else FLAGS
    source = Path(__file__).with_name("rate.c")
    program = executable("a glibc", "rate", [source], [], flags)
    with tempfile.NamedTemporaryFile() as file:
        _write(trace, Path(file.name))
        told = [
            subprocess.run([program, file.name], capture_output=True, text=True, check=True).stdout
            for _ in range(runs)
        ]
    return min(map(float, told))


def _write(trace: Trace, path: Path) -> None:
    parts = list(trace.batches(columns=("op", "slot", "size", "align")))
    op, slot, size, align = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("op", "slot", "size", "align")
    )
    code = np.full(256, NOTHING, np.uint8)
    code[list(CODES)] = range(len(CODES))
    align = align if len(align) else np.zeros(len(op), np.uint8)
    with path.open("wb") as file:
        np.array([len(op), trace.slots], np.int64).tofile(file)
        for column, kind in (
            (size, np.int64),
            (slot, np.int64),
            (code[op], np.uint8),
            (align, np.uint8),
        ):
            np.ascontiguousarray(column, kind).tofile(file)
