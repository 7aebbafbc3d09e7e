"""A real CPython that does what a graph trace says: when it collects, and what.

    events ─► a file ─► `python -S -E` with the module collector.c ─► rows of gc.callbacks

What is the interpreter's own is frozen before the first event, so the collector sees the trace's
objects and nothing else. HEAPWRIGHT_PYTHON is the command that starts another interpreter than this
one, as "env PYTHONHOME=/opt/py/usr /opt/py/ld.so --library-path /opt/py/lib /opt/py/bin/python3".
"""

import os
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.references.bounded import bounded
from heapwright.references.c_program import executable
from heapwright.trace.schema import ATOM, DICT, KINDS, NEW, Events
from heapwright.versions import version_number

VARIABLE = "HEAPWRIGHT_PYTHON"
EVENT = np.dtype(
    [("size", "i8"), ("slot", "i4"), ("field", "i4"), ("target", "i4"), ("op", "u1"), ("pad", "V3")]
)
COLUMNS = ("op", "slot", "size", "field", "target")  # of a graph trace, that are sent
ROW = 4
OLDEST = version_number("3.11")
MOST_KEYS = 1 << 20  # fields of a dictionary
SCRIPT = """
import gc, os, sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
library, events, out, slots, fields, *asked = sys.argv[1:]
loader = ExtensionFileLoader("collector", library)
collector = module_from_spec(spec_from_file_location("collector", library, loader=loader))
loader.exec_module(collector)
collector.load(events, int(slots), int(fields))
thresholds = [int(one) if int(one) >= 0 else old for one, old in zip(asked, gc.get_threshold())]
gc.set_threshold(*thresholds)
if int(asked[3]):
    gc.disable()
step = collector.step
gc.collect()
gc.freeze()
gc.collect()
own, frozen = len(gc.get_objects(2)), gc.get_freeze_count()
collector.begin(collector.told)
while step():
    pass
collector.finish(out, own, frozen)
sys.stdout.write("%d.%d.%d" % sys.version_info[:3])
sys.stdout.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class Collected:
    """What the real interpreter said."""

    version: str
    own: int  # tracked objects before the first event
    counts: tuple[int, ...]  # gc.get_count() before the first event
    end: tuple[int, ...]  # and after the last
    runs: np.ndarray  # int64[collection, 4]: event, generation, collected, uncollectable
    frozen: int = 0  # objects of its own that were frozen before
    grown: int = 0  # bytes by which its resident memory rose over that before the first event
    # int64[row, 3]: what of weak references was cleared and called, as `weak.HEARD` says
    heard: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))


def interpreter() -> list[str]:
    """The command that starts the real one."""
    if named := os.environ.get(VARIABLE):
        return shlex.split(named)
    base = getattr(sys, "_base_executable", "") or sys.executable
    return [base]


def missing() -> str:
    """What to install so that it can be driven; "" when nothing is."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if header.exists():
        return ""
    return (
        f"Python.h of this Python is not in {header.parent}; on Debian and Ubuntu: apt install "
        "python3-dev"
    )


@cache
def library() -> Path:
    """The module; HeapwrightError without a compiler or Python's headers."""
    if lacks := missing():
        raise HeapwrightError(f"driving the real collector of CPython: {lacks}.")
    include = sysconfig.get_paths()["include"]
    flags = ("-O2", "-shared", "-fPIC", "-I", include)
    source = Path(__file__).with_name("collector.c")
    parts = [source.with_name("weak.h")]
    return executable("CPython's collector", "collector.abi3.so", [source], parts, flags)


def drive(
    batches: Iterable[Events], slots: int, settings: Mapping[str, int] | None = None
) -> Collected:
    """Do what `batches` say in a fresh interpreter; `settings`: threshold0, ... and disable.

    HeapwrightError where it cannot be started, or the trace has blocks that are no objects.
    """
    asked = {"threshold0": -1, "threshold1": -1, "threshold2": -1, "disable": 0}
    for knob in (settings or {}).keys() - asked.keys() - {"version"}:
        raise HeapwrightError(
            f"the real collector has no knob {knob!r}; it has: {', '.join(asked)}."
        )
    asked |= {knob: value for knob, value in (settings or {}).items() if knob in asked}
    with tempfile.TemporaryDirectory(prefix="heapwright-") as name:
        told, out = Path(name) / "events", Path(name) / "rows"
        fields = 0
        with told.open("wb") as file:
            for batch in batches:
                fields = max(fields, _put(batch, file))
        command = [*interpreter(), "-S", "-E", "-c", SCRIPT, str(library()), str(told), str(out)]
        command += [str(slots), str(fields), *(str(value) for value in asked.values())]
        try:
            done = bounded(command, "the real CPython")
        except OSError as error:
            raise HeapwrightError(
                f"cannot start {command[0]}: {error.strerror}; {VARIABLE} is its command"
            ) from None
        if done.returncode or not out.exists():
            last = next(reversed(done.stderr.strip().splitlines()), "no message")
            raise HeapwrightError(f"the real CPython ended with {done.returncode}: {last}")
        rows = np.fromfile(out, np.int64).reshape(-1, ROW)
    version = done.stdout.strip()
    if version_number(version) < OLDEST:
        raise HeapwrightError(f"{command[0]} is CPython {version}; 3.11 or later is driven.")
    start, end, memory = rows[:3].tolist()
    grown = max(0, memory[1] - memory[0])
    counts, past = (tuple(start[1:]), tuple(end[1:])), 3 + memory[3]
    runs, heard = rows[3:past], rows[past:, :3]
    return Collected(version, start[0], *counts, runs, memory[2], grown, heard)


def _put(batch: Events, file: object) -> int:
    """Write a batch; the most fields of a dictionary in it."""
    packed = np.zeros(len(batch.op), EVENT)
    for column in COLUMNS:
        packed[column] = getattr(batch, column)
    born = batch.op == NEW
    kinds = batch.target[born]
    if ((kinds >= 0) & (kinds % 4 == ATOM) & (batch.field[born] > 0)).any():
        raise HeapwrightError(
            "this trace has blocks that are no objects, as a recording has: it is compared with "
            "what the recorded program's own collector did."
        )
    assert (kinds < KINDS).all()
    packed.tofile(file)  # type: ignore[arg-type]
    dicts = (kinds >= 0) & (kinds % 4 == DICT)
    return min(int(batch.field[born][dicts].max(initial=0)), MOST_KEYS)
