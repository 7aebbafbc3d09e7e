"""The page on tri-colour marking: every schedule of small programs, and what the barriers cost.

    python -m benchmarks.tri_colour [-o docs/tri-colour.md] [--objects 1000000]

Nothing in its schedules and tables is typed by hand: run this again after a change to the
collector. It takes some minutes, most of them for the widest of the bounds.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.barrier_cost import nanoseconds
from benchmarks.worst_cases import table
from heapwright.adversary import small_world as moves
from heapwright.adversary.schedules import (
    BIRTHS,
    ROOTS,
    SOUND,
    Bounds,
    Explorer,
    Graph,
    Keeper,
    Verdict,
    explore,
)
from heapwright.adversary.small_world import FIELD_SHIFT, KIND_MASK, SOURCE_SHIFT, TARGET_SHIFT
from heapwright.collectors import mutator
from heapwright.collectors.barriers import NAMES
from heapwright.collectors.log import PAUSE_COLUMNS, PAUSE_WORK, PAUSES
from heapwright.collectors.objects import WORD_BYTES
from heapwright.machine import load
from heapwright.result import Collecting
from heapwright.trace import programs
from heapwright.trace.store import Trace
from heapwright.tunnel.collecting import collecting
from heapwright.tunnel.replay import Conditions, Replay

SMALL = Bounds(objects=2, fields=1, roots=2, steps=4, births=1)
WIDE = (
    Bounds(objects=2, fields=1, roots=2, steps=5, births=1),
    Bounds(objects=2, fields=2, roots=2, steps=3, births=1),
    Bounds(objects=3, fields=1, roots=2, steps=4, births=1),
)
TOLD = (  # what is told step by step, and why it happens
    (
        Keeper("none", "snapshot", "black"),
        "The program takes the only reference to a white object out of a grey one, which is then "
        "scanned in vain. All that it takes to lose an object: a reference that is hidden where "
        "the collector was, and one that is cut where it has not been.",
    ),
    (
        Keeper("dijkstra", "once", "black"),
        "Dijkstra's barrier shades what is written to the heap; a read into a local is no write "
        "to the heap. So the stack stays grey, and has to be scanned again at the end.",
    ),
    (
        Keeper("yuasa", "once", "black"),
        "Yuasa's barrier shades what is overwritten. Here a reference moves from a stack that is "
        "not yet scanned to a global behind the collector, and nothing is overwritten but a local. "
        "So all roots have to be scanned before the program goes on; or, as Go does it, what is "
        "written is shaded too for as long.",
    ),
    (
        Keeper("hybrid", "once", "white"),
        "Go's barrier lets the stack be black once it is scanned; then nobody looks at what is "
        "born there, so it must be born black.",
    ),
)
COUNTED = ("marked_objects", "barriers")
COLOURS = {moves.ABSENT: "†", moves.WHITE: "○", moves.GREY: "◐", moves.BLACK: "●"}

INTRODUCTION = """# Tri-colour marking, and the object that is lost

Written by `python -m benchmarks.tri_colour`.

A collector that marks while the program runs must not lose an object: find it white, and free it,
although the program still holds it. The manager `tri-colour` flies with any of four write barriers
(`--set tri-colour.barrier=1`: Dijkstra's; 2: Steele's; 3: Yuasa's; 4: Go's hybrid, the default.
With 0, none, marking is one pause). `collectors/barriers.py` says what each does, and whose it is.

Whether they keep their promise is not argued here but tried: the kernels that fly are run on small
heaps in **every** order that steps of the program and of the collector can take.

- The **program** may, whenever it is its turn, read a reference or a global into a local, drop a
  local, write a reference, set or clear a global, or allocate: whatever it can do with what it
  holds. So every program of so many steps is among the schedules.
- The **collector** has begun a cycle. It may scan the stack (at once), one global, or one reference
  of a grey object, in any order, as several markers would; when nothing is left it finishes, and
  sweeps object by object. Marking, barrier and sweep are the production code, on a machine's words.
- An **oracle** keeps the same graph by numbers alone. An object is lost when the oracle reaches it
  and the heap has freed it. At the end of each schedule one more collection must leave what can be
  reached, and nothing else; in every state each reference must be what was written, and the heap's
  invariants must hold, among them the strong tri-colour invariant for Dijkstra's and Steele's.
- Two paths that meet in one state are one from there on (states are told apart by a hash of 63
  bits); schedules are counted, not sampled. Graphs to begin with are all those whose objects are
  reachable, up to their names.
"""

ROOTS_TOLD = """
`snapshot`: all roots are scanned in the first step. `once`: each at some time, the stack at once.
`again`: likewise, and the stack once more at the end. An object born while others are marked is
black or white. A cell says in how many of the schedules an object is lost; **keeps**: in none.
"""


class Teller:
    """A schedule in words; the objects are A, B, C in the order in which the roots reach them."""

    def __init__(self, explorer: Explorer, graph: Graph) -> None:
        self.explorer = explorer
        self.fields = explorer.bounds.fields
        explorer.stage(graph)
        order: list[int] = [root if root >= 0 else -1 - root for root in graph.roots]
        for slot in order:
            row = graph.edges[slot * self.fields : (slot + 1) * self.fields]
            order += [target for target in row if target >= 0 and target not in order]
        order = list(dict.fromkeys(order))
        order += [slot for slot in range(moves.MOST_SLOTS) if slot not in order]
        self.name = {slot: "ABCDEFGH"[i] for i, slot in enumerate(order)}

    def step(self, move: int) -> tuple[str, str]:
        """Make a move: who made it, and what it did."""
        kind, slot = move & KIND_MASK, self.name.get(move >> SOURCE_SHIFT & 15, "")
        field, target = move >> FIELD_SHIFT & 15, (move >> TARGET_SHIFT) - 1
        place = f"{slot}.{field}"
        about = self._subject(kind)
        before = self.explorer.colours()
        self.explorer.make(move)
        if kind == moves.SWEEP:
            about = next(
                (
                    f"frees {self.name[i]}"
                    for i, (old, new) in enumerate(
                        zip(before, self.explorer.colours(), strict=True)
                    )
                    if old != new
                ),
                "passes an object that is not white",
            )
        told = {
            moves.SCAN_STACK: "scans the stack",
            moves.SCAN_GLOBAL: f"scans the global {about}",
            moves.SCAN_FIELD: f"scans {about}",
            moves.FINISH: "finishes the marking",
            moves.SWEEP: about,
            moves.READ: f"reads {place} into a local",
            moves.READ_GLOBAL: f"reads the global {slot} into a local",
            moves.DROP: f"drops the local {slot}",
            moves.WRITE: f"writes {place} = {self.name[target] if target >= 0 else 'null'}",
            moves.ROOT: f"lets a global refer to {slot}",
            moves.UNROOT: f"clears the global {slot}",
            moves.NEW: f"allocates {self._newest()}",
        }[kind]
        return "collector" if kind <= moves.SWEEP else "program", told

    def _newest(self) -> str:
        return self.name[len(self.explorer.colours()) - 1]

    def _subject(self, kind: int) -> str:
        """What the collector is about to look at."""
        marking = self.explorer.world.heap.marking
        program = marking.mutator
        if kind == moves.SCAN_GLOBAL:
            return self.name[int(program.globals[marking.globals_left - 1])]
        if kind == moves.SCAN_FIELD:
            address, field = marking.scanned, marking.field
            if not address:
                address, field = load(marking.machine, marking.stack.top - WORD_BYTES), 0
            return f"{self.name[program.handles.tolist().index(address)]}.{field}"
        return ""

    def state(self) -> tuple[str, str, str]:
        """Locals, globals, and the objects with their colours and references."""
        program = self.explorer.world.heap.marking.mutator
        objects = []
        for slot, colour in enumerate(self.explorer.colours()):
            first = slot * self.fields
            edges = self.explorer.world.edges[first : first + self.fields].tolist()
            to = "".join(f"→{self.name[target]}" for target in edges if target >= 0)
            objects.append(self.name[slot] + COLOURS[colour] + to)
        locals_ = program.locals[: program.counts[mutator.LOCALS]].tolist()
        globals_ = program.globals[: program.counts[mutator.GLOBALS]].tolist()
        names = ["".join(sorted(self.name[slot] for slot in held)) for held in (locals_, globals_)]
        return names[0] or "-", names[1] or "-", " ".join(sorted(objects))


def shortest(keeper: Keeper) -> Verdict:
    """The verdict of the fewest program steps that lose an object."""
    for steps in range(1, SMALL.steps + 1):
        verdict = explore(keeper, SMALL._replace(steps=steps))
        if verdict.losing:
            return verdict
    raise AssertionError(f"{keeper} keeps every object")


def told(keeper: Keeper, why: str) -> Iterator[str]:
    """A shortest schedule that loses an object, step by step."""
    verdict = shortest(keeper)
    assert verdict.graph
    teller = Teller(Explorer(keeper, verdict.bounds), verdict.graph)
    rows: list[tuple[object, ...]] = [("", "the cycle has begun", *teller.state())]
    for move in verdict.example:
        who, what = teller.step(move)
        rows.append((who, what, *teller.state()))
    yield f"### barrier {keeper.barrier}, roots {keeper.roots}, born {keeper.birth}"
    yield ""
    yield why
    yield ""
    yield from table(("turn", "step", "locals", "globals", "objects"), rows)
    yield ""


def small_table() -> Iterator[str]:
    """Every barrier with every way to scan the roots, and either colour at birth."""
    rows = []
    for barrier in NAMES:
        for roots in ROOTS:
            cells = []
            for birth in BIRTHS:
                verdict = explore(Keeper(barrier, roots, birth), SMALL)
                lost = f"{verdict.losing:,} of {verdict.schedules:,}"
                cells.append(lost if verdict.losing else f"**keeps**, {verdict.schedules:,}")
            rows.append((barrier, roots, *cells))
    yield from table(("barrier", "roots", *(f"born {birth}" for birth in BIRTHS)), rows)


def wide_table() -> Iterator[str]:
    """The settings of the manager within wider bounds, each state checked."""
    rows = []
    for bounds in WIDE:
        for keeper in SOUND:
            found = explore(keeper, bounds, checked=True)
            assert not found.losing and not found.broken, (keeper, bounds)
            rows.append(
                (
                    f"{bounds.objects}, {bounds.fields}, {bounds.births}",
                    bounds.steps,
                    keeper.barrier,
                    f"{found.graphs:,}",
                    f"{found.states:,}",
                    f"{found.transitions:,}",
                    f"{found.schedules:,}",
                    found.losing,
                )
            )
    header = ("objects, fields, born", "steps", "barrier", "graphs", "states", "moves made")
    yield from table((*header, "schedules", "losing"), rows)


def pause_table(trace: Trace, tries: int) -> Iterator[str]:
    """Pauses of gcbench: mark-sweep against each barrier."""
    flights = [("mark-sweep", "-", {"sweeping": 0}), ("mark-sweep", "-", {"sweeping": 1})]
    flights += [("tri-colour", name, {"barrier": kind}) for kind, name in enumerate(NAMES)]
    rows: list[tuple[object, ...]] = []
    for manager, barrier, settings in flights:
        runs = [_flown(manager, trace, settings) for _ in range(tries)]
        found, work = runs[0]
        label = manager
        if manager == "mark-sweep":
            label += ", lazy" if settings["sweeping"] else ", eager"
        row: list[object] = [label, barrier, sum(found.collections.values()), f"{found.pauses:,}"]
        for name in ("median", "p99"):
            row.append(f"{statistics.median(run.pause_ns[name] for run, _ in runs) / 1000:,.0f}")
        row += [f"{work >> 10:,}", *(f"{found.totals[name]:,}" for name in COUNTED)]
        rows.append(tuple(row))
    header = ("manager", "barrier", "cycles", "pauses", "median µs", "99 % µs", "most KiB")
    yield from table((*header, "marked objects", "barriers"), rows)


def _flown(manager: str, trace: Trace, settings: dict[str, int]) -> tuple[Collecting, int]:
    """What the collector did, and the most bytes that it marked and swept in one pause."""
    flight = Replay(manager, trace, settings, Conditions())
    flight.replay(trace, None)
    log = flight.heap.log
    pauses = log.pauses[: log.totals[PAUSES] * PAUSE_COLUMNS].reshape(-1, PAUSE_COLUMNS)
    return collecting(log, flight.clock), int(pauses[:, PAUSE_WORK].max())


def cost_table() -> Iterator[str]:
    """Nanoseconds of a write."""
    rows = []
    for name, (beside, *marking) in nanoseconds().items():
        cells = [f"{ns:.1f} ({ns / beside:.1f})" for ns in marking]
        rows.append((name, f"{beside:.1f}", *cells))
    header = ("barrier", "not marking", "marking, all reached", "marking, each target white")
    yield from table(header, rows)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/tri-colour.md"))
    parser.add_argument("--objects", type=int, default=1_000_000, help="of gcbench")
    parser.add_argument("--tries", type=int, default=3)
    options = parser.parse_args()
    lines = [INTRODUCTION, "## How an object is lost", ""]
    lines += ["○ white, ◐ grey, ● black, † freed. Each is a shortest such schedule.", ""]
    for keeper, why in TOLD:
        lines += told(keeper, why)
    bounds = f"{SMALL.objects} objects of {SMALL.fields} field, up to {SMALL.roots} roots, "
    bounds += f"{SMALL.births} allocation, programs of up to {SMALL.steps} steps"
    lines += ["## Which pairs keep every object", "", f"Bounds: {bounds}.", ROOTS_TOLD]
    lines += [*small_table(), "", "## Within wider bounds", ""]
    lines += [*wide_table(), "", "## What it costs", ""]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gcbench.heap.parquet"
        programs.synthesise("gcbench", path, {"objects": options.objects})
        trace = Trace.open(path)
        lines += [
            f"gcbench, {trace.events:,} events; times are medians of {options.tries} replays."
        ]
        lines += ["Most: of one pause, marked and swept together.", ""]
        lines += pause_table(trace, options.tries)
    lines += [
        "",
        "A write in nanoseconds; in parentheses, times one while nothing is marked (medians):",
        "",
    ]
    lines += [*cost_table(), ""]
    options.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
