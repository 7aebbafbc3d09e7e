"""Where every manager puts the objects of a small trace: figures that are kept in `golden/`; and
what its knobs come to at their bounds (`knob_bounds.py`).

    python tests/golden_addresses.py [NAME ...]     write golden/NAME.json anew (make golden)

The suite holds compiled, interpreted and bounds-checked runs to the same file, so the three ways to
run a manager agree with each other, and with what they did before a change. A run of `STRETCH`
events is one digest: a test that fails says from which event on.
"""

import hashlib
import json
import random
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.collectors.hotspot.history import WIDTH
from heapwright.collectors.log import TOTALS
from heapwright.compiler import INTERPRETED
from heapwright.compiler.bare import CHECKED
from heapwright.machine.address_space import (
    BREAK,
    FAULTS,
    FIRST_BREAK,
    LOWEST_MAPPED,
    MAPPED_BYTES,
    RESIDENT_PAGES,
    SYSCALLS,
)
from heapwright.managers import Manager, managers
from heapwright.trace.schema import NEW, REFER, THREAD_EXIT, Events, events
from knob_bounds import booted, bounds
from naive.graph_program import random_rows
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, CollectedTrial, Trial

AS_SHIPPED = not INTERPRETED and not CHECKED
STATE_BYTES = 1 << 16  # of each array of a manager's state: those that are reserved are endless
UNTOLD = ("machine", "log")  # of the state what is told elsewhere, or has times
FOLDER = Path(__file__).parent / "golden"
STRETCH = 200  # events
EVENTS, COLLECTED_EVENTS = 1000, 3000  # at random, before those of `wide_rows`
SLOTS, MOST_LIVE = 512, 150
STEP_NS = 7_000_000  # from an event to the next: of all, as long as anything waits to go back
SCALE = 2.0  # of sizes, from one doubling to the next
THREADS = 4
RUNS = ((16, 60), (48, 40), (200, 40), (1000, 20), (4096, 12), (20_000, 8), (72, 60), (33_000, 6))
BOUNDS = (0, 1, 4088, 4096, 32_760, 65_536, 131_065, 262_144, 1 << 20, (1 << 21) - 16, 1 << 21)
BOUNDS += (1 << 47,)
GROWING = tuple(24 * 3**step >> step for step in range(2, 30))  # bytes, by half
TIMES = ("start_ticks", "end_ticks", "pause_ticks", "pause_began_ticks")  # differ from run to run


def cases() -> Iterator[tuple[str, dict[str, int]]]:
    """Every manager of the house under its defaults and each of its card's variants."""
    for name, manager in managers().items():
        if manager.family != "third party":
            for variant in [{}, *manager.card.variants]:
                yield name, dict(variant)


def label(variant: dict[str, int]) -> str:
    """A variant as a key of the file."""
    return " ".join(f"{knob}={value}" for knob, value in variant.items()) or "default"


@cache
def malloc_rows() -> list[tuple[int, ...]]:
    """(op, slot, size, align, thread) of a program with two threads, mostly small, some large; and
    what it does not come upon."""
    draw = random.Random(11).random  # the one method that every Python gives the same figures for
    rows: list[tuple[int, ...]] = []
    live: list[int] = []
    spare = list(range(SLOTS))[::-1]
    while len(rows) < EVENTS:
        thread, verb = int(draw() * 2), draw()
        size = int(SCALE ** (draw() * (21 if draw() < 0.05 else 12)))
        if live and (verb < 0.38 or len(live) > MOST_LIVE):
            slot = live.pop(int(draw() * len(live)))
            spare.append(slot)
            rows.append((FREE, slot, 0, 0, thread))
        elif live and verb < 0.5:
            rows.append((REALLOC, live[int(draw() * len(live))], size, 0, thread))
        else:
            op = MALLOC if verb < 0.85 else CALLOC if verb < 0.94 else MEMALIGN
            live.append(spare.pop())
            rows.append((op, live[-1], size, 5 + int(draw() * 8) if op == MEMALIGN else 0, thread))
    return [*rows, *wide_rows(live, spare), (THREAD_EXIT, -1, 0, 0, 1)]


def wide_rows(live: list[int], spare: list[int]) -> list[tuple[int, ...]]:
    """Runs of blocks of one size, filled and emptied in several orders; sizes about pages and huge
    pages, and beyond all memory; a block that grows and shrinks step by step, large alignments;
    threads that end, whose blocks others free, and that begin anew; at last a heap that is empty,
    and the first blocks after it."""
    rows: list[tuple[int, ...]] = []

    def made(op: int, size: int, align: int = 0, thread: int = 0) -> None:
        live.append(spare.pop())
        rows.append((op, live[-1], size, align, thread))

    def freed(slots: list[int], thread: int) -> None:
        for slot in slots:
            live.remove(slot)
            spare.append(slot)
            rows.append((FREE, slot, 0, 0, thread))

    freed(live[: -MOST_LIVE // 3], 0)
    for turn, (size, count) in enumerate(RUNS):
        for _ in range(count):
            made(MALLOC, size, thread=turn % THREADS)
        run = live[-count:]
        order = (run[::-1], run, run[::2] + run[1::2], run[count // 2 :])[turn % 4]
        freed(order, (turn + turn % 2) % THREADS)
        if turn % 3 == 2:
            rows.append((THREAD_EXIT, -1, 0, 0, turn % THREADS))
    for size in BOUNDS:
        for op, thread in ((MALLOC, 0), (CALLOC, 1)):
            made(op, size, thread=thread)
        made(MEMALIGN, size, 4 + size.bit_length() // 2)
        freed(live[-3:-1], 1)
    made(MALLOC, 24)
    rows += [(REALLOC, live[-1], size, 0, 2) for size in (*GROWING, *GROWING[::-2])]
    for align in range(13, 23, 2):
        made(MEMALIGN, 3000, align, align % THREADS)
    freed(live[::3] + live[1::3], 2)
    rows += [(THREAD_EXIT, -1, 0, 0, thread) for thread in (2, 3)]
    freed(live[::-1], 0)
    for size in (*BOUNDS[:4], 100, 3000, 70_000):
        made(CALLOC, size, thread=2)
    return rows


@cache
def graph_rows() -> list[tuple[int, ...]]:
    """(op, slot, size, field, target) of a random program with a garbage collector; of its objects
    one in four is eight times as large as it says, one in forty-one is large; some are references
    of every kind, some have finalisers."""
    found: list[tuple[int, ...]] = []
    for number, row in enumerate(random_rows(5, COLLECTED_EVENTS, 1500, MOST_LIVE, 20)):
        op, slot, size, field, target = row
        if op == NEW:
            size *= 64 if number % 41 == 0 else 8 if number % 4 == 0 else 1
        found.append((op, slot, size, field, target))
    return found


def figures(manager: Manager, variant: dict[str, int]) -> dict[str, Any]:
    """Digests of addresses, a stretch each; the paths taken, and what machine and log counted."""
    if manager.collected:
        columns = ("op", "slot", "size", "field", "target")
        rows = graph_rows()
        references = sum(row[0] == REFER for row in rows)
        trial: Any = CollectedTrial(manager.name, variant, SLOTS, references=references)
    else:
        columns, rows = ("op", "slot", "size", "align", "thread"), malloc_rows()
        trial = Trial(manager.name, variant, SLOTS)
    found: dict[str, Any] = {"addresses": []}
    for first in range(0, len(rows), STRETCH):
        part = np.array(rows[first : first + STRETCH], np.int64).T
        times = {"time_ns": (first + np.arange(len(part[0]))) * STEP_NS}
        batch = events(**dict(zip(columns, part, strict=True)), **times)
        placed = replayed(trial, batch)
        sign = hashlib.sha256(placed.tobytes())
        if manager.collected:
            if first == 2 * STRETCH:
                collect(trial)
            sign.update(trial.held.handles.tobytes())
        found["addresses"].append(sign.hexdigest()[:12])
        if manager.collected and trial.run.progress[trial.loop.REFUSED]:
            break  # out of memory, such a program is dead
    meters = trial.machine.meters
    found["paths"] = trial.heap.paths.tolist()
    found["machine"] = meters[[RESIDENT_PAGES, MAPPED_BYTES, FAULTS, SYSCALLS, BREAK]].tolist()
    found["state"] = state_of(trial.heap)
    if manager.collected:
        totals = dict(zip(TOTALS, trial.heap.log.totals.tolist(), strict=True))
        found["totals"] = {name: value for name, value in totals.items() if name not in TIMES}
    return found


def replayed(trial: Any, batch: Events) -> np.ndarray:
    """As `Trial.replay`; as shipped by the kernel that every replay calls, which the examples of
    the documents have compiled, and not by the one that answers the tests' questions too."""
    if not AS_SHIPPED:
        return trial.replay(batch)
    placed = np.zeros((len(batch.op), 2), np.int64)
    trial.loop.survey(trial.heap, trial.run, batch, trial.ledger, placed)
    return placed


def collect(trial: Any) -> None:
    """A full collection, likewise."""
    if AS_SHIPPED:
        trial.loop.collect(trial.heap)
    else:
        trial.collect_all()


def state_of(heap: Any) -> str:
    """A digest of the words that a manager keeps, beside its blocks and between them."""
    sign = hashlib.sha256()

    def take(part: Any) -> None:
        for name in part._fields:
            one = getattr(part, name)
            if hasattr(one, "_fields") and name not in UNTOLD:
                take(one)
            elif isinstance(one, np.ndarray) and name not in UNTOLD and one.dtype.kind in "iu":
                sign.update(one.reshape(-1)[: STATE_BYTES // one.itemsize].tobytes())

    take(heap)
    words, meters = heap.machine.words, heap.machine.meters
    sign.update(meters.tobytes())
    for first in (meters[FIRST_BREAK], meters[LOWEST_MAPPED]):
        sign.update(words[first >> 3 :][: STATE_BYTES // 8].tobytes())
    return sign.hexdigest()[:12]


def ended(heap: Any) -> str:
    """A digest of a collected heap at the end of a run: what it holds, counted and noted."""
    totals = dict(zip(TOTALS, heap.log.totals.tolist(), strict=True))
    told = [value for name, value in totals.items() if name not in TIMES]
    whole = (state_of(heap), told, heap.paths.tolist(), heap.mutator.handles.tolist())
    past = heap.history[: 1 + int(heap.history[0]) * WIDTH].tolist()
    return hashlib.sha256(repr((*whole, past)).encode()).hexdigest()[:12]


def kept(name: str) -> dict[str, Any]:
    """What is kept of a manager; empty before `make golden` saw it."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(names: list[str]) -> None:
    """Write the files of these managers, or of all."""
    FOLDER.mkdir(exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for name, variant in cases():
        if not names or name in names:
            found.setdefault(name, {})[label(variant)] = figures(managers()[name], variant)
    for name, by_variant in found.items():
        by_variant["knobs"] = {
            knob: [booted(managers()[name], knob, values, state_of), values]
            for knob, values in bounds(managers()[name]).items()
        }
        lines = [f" {json.dumps(key)}: {json.dumps(by_variant[key])}" for key in by_variant]
        (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"golden/{name}.json: {len(by_variant) - 1} variants")


if __name__ == "__main__":
    write(sys.argv[1:])
