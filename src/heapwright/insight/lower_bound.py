"""The least memory in which any manager that does not move blocks could serve a trace.

    lower bound    the most bytes alive at once; higher only where the solver proves it
    packing        a placement of every block, made with the whole program known beforehand: greedy
                   in several orders, then for small traces by OR-Tools' CP-SAT
    distance       the most a manager held, or mapped where nothing is written, over the lower
                   bound: the line in reports

Headers, alignment and whole pages are left out: they are the manager's choice, or the machine's.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.insight.packing import Blocks, pack
from heapwright.insight.verdict import ranked
from heapwright.result import Result
from heapwright.trace.schema import FREE, NEW, REALLOC, THREAD_EXIT
from heapwright.words import bytes_text, counted, full_title

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

MOST_PACKED = 30_000  # blocks; greedy time grows with the square
MOST_SOLVED = 2_000  # blocks given to the solver
SECONDS = 10.0
_LISTED = 6  # managers in the line of a report
_COLUMNS = ("op", "slot", "size")


@dataclass
class LowerBound:
    """Between `lower_bound_bytes` and `packing_bytes` lies the optimum."""

    peak_live_bytes: int
    lower_bound_bytes: int  # nothing can take less
    packing_bytes: int | None  # height of the best placement found; None: none was tried
    blocks: int
    method: str  # that found the packing: "none", "greedy" or "CP-SAT"
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        """Whether the packing is the optimum."""
        return self.packing_bytes == self.lower_bound_bytes

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        return {
            "blocks": self.blocks,
            "peak_live_bytes": self.peak_live_bytes,
            "lower_bound_bytes": self.lower_bound_bytes,
            "packing_bytes": self.packing_bytes,
            "proven": self.proven,
            "method": self.method,
            "seconds": self.seconds,
            "notes": self.notes,
        }


def lower_bound(trace: "Trace", seconds: float = SECONDS) -> LowerBound:
    """Bound and packing of a trace; the solver stops after `seconds`. A trace of more than
    MOST_PACKED blocks gets the bound alone. Raises HeapwrightError for a corrupt trace."""
    began = time.monotonic()
    peak, count = trace.peak_live_bytes, trace.allocations + trace.reallocations
    if count > MOST_PACKED:
        note = f"A packing is looked for up to {MOST_PACKED:,} blocks; this trace has {count:,}."
        return LowerBound(peak, peak, None, count, "none", notes=[note])
    blocks = blocks_of(trace)
    offset, height = greedy(blocks)
    found = LowerBound(peak, peak, height, len(blocks.size), "greedy")
    if not found.proven and len(blocks.size) > MOST_SOLVED:
        found.notes.append(f"The solver takes up to {MOST_SOLVED:,} blocks.")
    elif not found.proven:
        _solve(found, blocks, offset, seconds)
    found.seconds = time.monotonic() - began
    return found


def blocks_of(trace: "Trace") -> Blocks:
    """Every block that was granted and is larger than nothing, in order of birth."""
    rows: list[tuple[int, int, int]] = []
    live: dict[int, tuple[int, int]] = {}  # slot: birth, size
    event = 0
    for batch in trace.batches(columns=_COLUMNS):
        columns = (batch.op.tolist(), batch.slot.tolist(), batch.size.tolist())
        for op, slot, size in zip(*columns, strict=True):
            if slot >= 0 and op != THREAD_EXIT and op <= NEW:
                if op in (FREE, REALLOC) and slot in live:
                    birth, old = live.pop(slot)
                    rows.append((birth, event, old))
                if op != FREE:
                    live[slot] = event, size
            event += 1
    rows += [(birth, event, size) for birth, size in live.values()]
    table = np.array(sorted(row for row in rows if row[2]), np.int64).reshape(-1, 3)
    return Blocks(*(np.ascontiguousarray(column) for column in table.T))


def greedy(blocks: Blocks) -> tuple[np.ndarray, int]:
    """The best of several greedy orders: offsets int64[block], and the heap's height in bytes."""
    life = blocks.death - blocks.birth
    orders = (
        np.arange(len(life)),  # as they come: first fit
        np.lexsort((-life, -blocks.size)),  # large ones first
        np.lexsort((-blocks.size, -life)),  # long-lived ones first
        np.argsort(-blocks.size * life, kind="stable"),
    )
    best, least = np.zeros(len(life), np.int64), -1
    for order in orders:
        offset, scratch = np.zeros(len(life), np.int64), np.zeros(len(life), np.int64)
        height = int(pack(blocks, order.astype(np.int64), offset, scratch))
        if least < 0 or height < least:
            best, least = offset, height
    return best, max(least, 0)


def _solve(found: LowerBound, blocks: Blocks, offset: np.ndarray, seconds: float) -> None:
    """Improve `found`, whose packing is `offset`, with CP-SAT; notes what stands in the way."""
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        found.notes.append(
            "For a better packing install OR-Tools: pip install 'heapwright[optimise]'."
        )
        return
    model = cp_model.CpModel()
    height = model.new_int_var(found.lower_bound_bytes, int(found.packing_bytes or 0), "height")
    lives, places, starts = [], [], []
    for birth, death, size, at in zip(*(c.tolist() for c in (*blocks, offset)), strict=True):
        start = model.new_int_var(0, int(found.packing_bytes or 0) - size, "")
        model.add(start + size <= height)
        model.add_hint(start, at)
        lives.append(model.new_fixed_size_interval_var(birth, death - birth, ""))
        places.append(model.new_fixed_size_interval_var(start, size, ""))
        starts.append(start)
    model.add_no_overlap_2d(lives, places)
    model.minimize(height)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1  # repeatable
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        tops = [solver.value(start) for start in starts] + blocks.size
        if int(tops.max()) < int(found.packing_bytes or 0):
            found.packing_bytes, found.method = int(tops.max()), "CP-SAT"
    found.lower_bound_bytes = max(found.lower_bound_bytes, int(solver.best_objective_bound))
    if not found.proven:
        found.notes.append(
            f"The solver stopped after {seconds:g} s; more --seconds may close the gap."
        )


def least_bytes(trace: "Trace", results: Sequence[Result]) -> int:
    """What no manager can hold less than at the peak: bytes alive; where the replay writes as
    recorded, those of them that were written."""
    recorded = any(result.conditions.get("touch") == "recorded" for result in results)
    return trace.peak_written_bytes if recorded else trace.peak_live_bytes


def compared_bytes(result: Result) -> int:
    """What of a result can be told against the most bytes alive: the most it held, or, where the
    program is assumed to write nothing and its blocks need not be resident, the most it mapped."""
    return result.mapped_bytes_peak if _unwritten(result) else result.held_bytes


def _unwritten(result: Result) -> bool:
    return result.conditions.get("touch") == "none"


def distance(result: Result, bound_bytes: int) -> float | None:
    """`compared_bytes` over the lower bound; None when nothing was ever alive."""
    return compared_bytes(result) / bound_bytes if bound_bytes else None


def _distance_text(result: Result, bound_bytes: int) -> str:
    """The distance, and its range where time decides what is held."""
    text = f"{distance(result, bound_bytes):.2f}"
    if result.spread is None or _unwritten(result):
        return text
    least, most = (f"{held / bound_bytes:.2f}" for held in result.spread.held_bytes)
    return f"{text} ({least} to {most})" if least != most else text


def distance_line(results: Sequence[Result], bound_bytes: int) -> str:
    """How far each result is from the optimum, for a report: one sentence or two."""
    if not bound_bytes or not results:
        return "Nothing was ever alive, so there is no optimum to be far from."
    carried = [r for r in results if not r.refused]  # of others a part was never served
    order = sorted(ranked(carried or results), key=lambda r: (r.refused > 0, compared_bytes(r)))
    shown = [f"{full_title(result)} {_distance_text(result, bound_bytes)}" for result in order]
    more = f", {counted(len(shown) - _LISTED, 'other')} more" if len(shown) > _LISTED else ""
    said = f"times that: {', '.join(shown[:_LISTED])}{more}."
    if any(map(_unwritten, results)):
        return (
            f"Distance to the optimum: the program is assumed to write nothing, so its "
            f"{bytes_text(bound_bytes)} alive at most need not be resident, and resident memory "
            f"cannot be compared with them. What is mapped can: {said}"
        )
    return (
        f"Distance to the optimum: without moving blocks no manager can take less than "
        f"{bytes_text(bound_bytes)}; {said}"
    )
