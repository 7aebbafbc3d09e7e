"""The worst case: the program with at most M units live that makes a manager's heap largest.

    model      first fit, best fit and the buddy system as they are by default: their next placement
               depends on the live blocks alone, so `placement_game` holds the whole game
    search     any other manager, or other knobs: `game` plays it in its own memory; breadth first,
               and where that takes too long a beam of the most promising states
    optimal    every policy at once: the least heap that no adversary gets beyond

Whatever finds the sequence, the registered manager then plays it from boot, and what that took is
the answer. Of a heap that is one run of memory it is the high water: from the lowest to the highest
byte of any block ever, in units. Where blocks lie in areas of their own, between which other things
lie, the distance between two of them is nobody's cost: there it is what the machine has given.

Source     Robson 1974, JACM 21(3): M (1 + log2(n) / 2) - n + 1 units are enough for the best
           manager, and needed, when sizes are powers of two up to n
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from heapwright.adversary import placement_game as placement
from heapwright.adversary.state_search import search
from heapwright.adversary.subject import (
    INEXACT_OVERHEAD_BYTES,
    INEXACT_UNIT_BYTES,
    Rules,
    Subject,
    beginnings,
    unit_of,
)
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_LIMIT, PEAK_MAPPED_BYTES
from heapwright.managers.grounds import OVER
from heapwright.managers.registry import Manager, managers, named

OPTIMAL = "optimal"  # instead of a manager's name
MODELS = {
    "first-fit": placement.FIRST_FIT,
    "best-fit": placement.BEST_FIT,
    "buddy": placement.LOWEST_ALIGNED,
}
MOST_LIVE = 64  # units; beyond it nothing is exhausted anyhow
SECONDS = 30.0
_ROWS = (1 << 18, 1 << 22, 1 << 26)  # tables of the model, tried one after the other
_CHUNK = 1 << 16  # states between two looks at the clock

Progress = Callable[[int, int], None]  # states found so far, worst units so far


@dataclass
class WorstCase:
    """What the adversary achieved."""

    manager: str
    live: int  # M, units
    ratio: int  # n, largest block in units; the smallest is one
    sizes: str  # "all" from 1 to n, or "powers" of two
    high_water: int  # units spanned by the blocks, as the registered manager laid them
    exhaustive: bool  # no program does worse; else the worst found in the time given
    states: int
    unit_bytes: int = 0  # 0: no real manager played
    overhead_bytes: int = 0  # a block of k units is asked for as k * unit_bytes less these
    moves: list[int] = field(default_factory=list)  # units asked for, or -1 - slot freed
    starts: list[int] = field(default_factory=list)  # units from the heap's start; -1: no block
    settings: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    areas: bool = False  # blocks lie in areas of their own: what counts is what was taken
    taken_bytes: int = 0  # given by the machine at most, for whatever; 0: no real manager played
    first_bytes: int = 0  # of them, for a first block of one unit

    @property
    def optimum(self) -> float:
        """Robson's: what the best manager needs, units."""
        return optimum(self.live, self.ratio)

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        best = self.optimum
        return {
            "manager": self.manager,
            "settings": self.settings,
            "live": self.live,
            "ratio": self.ratio,
            "sizes": self.sizes,
            "high_water": self.high_water,
            "optimum": int(best) if best == int(best) else best,
            "measure": "taken" if self.areas else "span",
            "taken_bytes": self.taken_bytes,
            "first_bytes": self.first_bytes,
            "exhaustive": self.exhaustive,
            "states": self.states,
            "seconds": self.seconds,
            "unit_bytes": self.unit_bytes,
            "overhead_bytes": self.overhead_bytes,
            "sequence": self.steps(),
            "notes": self.notes,
        }

    def steps(self) -> list[dict[str, int | str]]:
        """The sequence: op, slot, units, and where a block was put."""
        steps: list[dict[str, int | str]] = []
        live: dict[int, int] = {}
        for move, start in zip(self.moves, self.starts, strict=True):
            if move > 0:
                slot = next(free for free in range(len(live) + 1) if free not in live)
                live[slot] = move
                steps.append({"op": "malloc", "slot": slot, "units": move, "start_units": start})
            else:
                slot = -1 - move
                steps.append({"op": "free", "slot": slot, "units": live.pop(slot)})
        return steps


def optimum(live: int, ratio: int) -> float:
    """Robson's M (1 + log2(n) / 2) - n + 1, with the largest power of two up to `ratio` as n."""
    power = 1 << (ratio.bit_length() - 1)
    return live * (1 + math.log2(power) / 2) - power + 1


def sizes_of(kind: str, ratio: int) -> list[int]:
    """The sizes in units that the adversary may ask for, ascending."""
    if kind == "all":
        return list(range(1, ratio + 1))
    if kind == "powers":
        return [1 << i for i in range(ratio.bit_length())]
    raise HeapwrightError(f"sizes is all or powers, not {kind!r}.")


def worst_case(  # noqa: PLR0913 the first three say what, the others how
    name: str,
    live: int,
    ratio: int,
    *,
    sizes: str | None = None,
    settings: Mapping[str, int] | None = None,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> WorstCase:
    """The worst case of manager `name`, or of the best possible one for "optimal".

    `sizes` None: all from 1 to `ratio` where the manager's blocks can have them, else powers of
    two. After `seconds` the worst found so far is the answer. Raises HeapwrightError for figures
    that make no game, an unknown manager or knob, and one that cannot be played.
    """
    if not 1 <= ratio <= live <= MOST_LIVE:
        raise HeapwrightError(
            f"live is 1 to {MOST_LIVE} units and ratio 1 to live, not {live} and {ratio}."
        )
    if seconds <= 0:
        raise HeapwrightError(f"seconds is more than 0, not {seconds:g}.")
    began = time.monotonic()
    if name == OPTIMAL:
        if settings:
            raise HeapwrightError("the optimal manager has no knobs.")
        found = optimal(live, ratio, sizes or "powers", began + seconds, progress)
    else:
        if OVER not in name and name not in managers():
            raise HeapwrightError(
                f"no manager is named {name!r}; known: {', '.join([*managers(), OPTIMAL])}."
            )
        found = _against(named(name), (live, ratio), sizes, dict(settings or {}), seconds, progress)
    found.seconds = time.monotonic() - began
    return found


def _against(
    manager: Manager,
    game: tuple[int, int],
    kind: str | None,
    settings: dict[str, int],
    seconds: float,
    progress: Progress | None,
) -> WorstCase:
    """A registered manager's worst case."""
    if manager.collected:
        raise HeapwrightError(
            f"{manager.name} has a collector, and the game is of malloc and free: name another one."
        )
    live, ratio = game
    notes = []
    for kind_ in [kind] if kind else ["all", "powers"]:
        kind, sizes = kind_, sizes_of(kind_, ratio)
        unit = unit_of(manager, settings, sizes)
        if unit:
            break
    else:
        kind = kind if len(sizes) else "all"
        notes.append(
            f"Blocks of 1 to {ratio} units never cost exactly that: rounding and headers count, "
            f"a unit is {INEXACT_UNIT_BYTES} bytes asked for."
        )
    exact = unit is not None
    unit = unit or (INEXACT_UNIT_BYTES, INEXACT_OVERHEAD_BYTES)
    low = beginnings(manager, settings, unit, sizes)
    if exact and manager.name in MODELS and not settings and live <= placement.HEAP_UNITS:
        moves, exhaustive, states = _modelled(
            MODELS[manager.name], (live, sizes), seconds, progress
        )
    else:
        subject = Subject(manager, settings, (live, sizes), unit)
        subject.learn(low)

        def measure(moves: list[int]) -> int:
            return measured(manager, settings, (live, sizes), (unit, low), moves).cost

        moves, exhaustive, states = search(subject, seconds, measure, progress)
    played = measured(manager, settings, (live, sizes), (unit, low), moves)
    first = measured(manager, settings, (live, sizes), (unit, low), [sizes[0]])
    if not exhaustive:
        notes.append(
            "Not every program was tried: a worse one may exist. More --seconds look further."
        )
    return WorstCase(
        manager=manager.name,
        live=live,
        ratio=ratio,
        sizes=str(kind),
        high_water=played.span,
        exhaustive=exhaustive,
        states=states,
        unit_bytes=unit[0],
        overhead_bytes=unit[1],
        moves=moves,
        starts=played.starts,
        settings=settings,
        notes=notes,
        areas=low[1] > 0 and played.taken_bytes > first.taken_bytes,
        taken_bytes=played.taken_bytes,
        first_bytes=first.taken_bytes,
    )


class Played(NamedTuple):
    """What a sequence took of a freshly booted manager."""

    cost: int  # units: of what counts, at its end
    span: int  # units
    taken_bytes: int  # given by the machine, at most
    starts: list[int]  # of each block, units


def measured(
    manager: Manager,
    settings: Mapping[str, int],
    rules: Rules,
    frame: tuple[tuple[int, int], tuple[int, int]],
    moves: list[int],
) -> Played:
    """Play `moves` on the manager, freshly booted.

    `frame`: the unit, and where blocks begin (see `subject`).
    """
    unit, low = frame
    subject = Subject(manager, settings, rules, unit)
    subject.begin(low)
    placed = subject.play(moves)[:, 0].tolist()
    base, mapped = subject.game.fields[[subject.loop.LOWEST, subject.loop.MAPPED_LOWEST]].tolist()
    starts = [
        (start - (mapped if start >= BREAK_LIMIT else base)) // unit[0] if start else -1
        for start in placed
    ]
    cost, span = subject.loop.cost(subject.heap, subject.game), subject.loop.span(subject.game)
    taken = subject.heap.machine.meters[PEAK_MAPPED_BYTES]
    return Played(-(-int(cost) // unit[0]), -(-int(span) // unit[0]), int(taken), starts)


def _modelled(
    policy: int, rules: Rules, seconds: float, progress: Progress | None
) -> tuple[list[int], bool, int]:
    """Moves of the worst program, whether none is worse, states: from the compact model."""
    live, units = rules[0], np.array(rules[1], np.int64)
    deadline = time.monotonic() + seconds
    for rows in _ROWS:
        table = placement.table(rows)
        fields, more, in_time = table.fields, True, True
        while more and in_time:
            more = placement.explore(table, policy, live, units, _CHUNK)
            in_time = time.monotonic() < deadline
            if progress:
                progress(int(fields[placement.COUNT]), int(fields[placement.WORST_UNITS]))
        full = fields[placement.COUNT] == rows
        if not (full and in_time):
            break
    exhaustive = not more and not fields[placement.CUT]
    return _program(table), bool(exhaustive), int(fields[placement.COUNT])


def _program(table: placement.Table) -> list[int]:
    """The moves from the empty heap to the worst placement that the model found."""
    rows, row = [], int(table.fields[placement.WORST_STATE])
    while row:
        rows.append(row)
        row = int(table.parent[row])
    moves: list[int] = []
    slot_of: dict[int, int] = {}  # by start
    state = 0
    for new in [int(table.state[row]) for row in reversed(rows)]:
        start = ((state ^ new) >> placement.HEAP_UNITS).bit_length() - 1
        if new > state:
            used = set(slot_of.values())
            slot_of[start] = next(slot for slot in range(len(used) + 1) if slot not in used)
            moves.append(int(placement.block_units(new, start)))
        else:
            moves.append(-1 - slot_of.pop(start))
        state = new
    return [*moves, int(table.fields[placement.WORST_SIZE])]


def optimal(
    live: int, ratio: int, kind: str, deadline: float, progress: Progress | None = None
) -> WorstCase:
    """The least heap in which some policy serves every program, by solving the game for one size
    after another; HeapwrightError when time or room runs out before it is known."""
    sizes = np.array(sizes_of(kind, ratio), np.int64)
    states = 0
    for heap_units in range(live, placement.HEAP_UNITS + 1):
        found = _holds(heap_units, live, sizes, deadline)
        states += found[1]
        if progress:
            progress(states, heap_units)
        if found[0]:
            return WorstCase(OPTIMAL, live, ratio, kind, heap_units, True, states)
    raise HeapwrightError(
        f"{placement.HEAP_UNITS} units do not decide the game of {live} live; ask for fewer."
    )


def _holds(heap_units: int, live: int, sizes: np.ndarray, deadline: float) -> tuple[bool, int]:
    """Whether some policy serves every program in a heap of `heap_units`; states looked at."""
    late = HeapwrightError(
        f"the time ran out while a heap of {heap_units} units was tried; allow more --seconds or "
        "ask for fewer live units."
    )
    for rows in _ROWS:
        table = placement.table(rows)
        while placement.spread(table, heap_units, live, sizes, _CHUNK):
            if time.monotonic() > deadline:
                raise late
        if not table.fields[placement.CUT]:
            break
    else:
        raise HeapwrightError(f"the game of {live} live units has too many states; ask for fewer.")
    while not table.lost[0] and placement.settle(table, heap_units, live, sizes):
        if time.monotonic() > deadline:
            raise late
    return not table.lost[0], int(table.fields[placement.COUNT])
