"""All schedules of all small programs on all small graphs: which barrier keeps every object.

keeper = Keeper("yuasa", "snapshot", "black")        what is tried
verdict = explore(keeper, Bounds(objects=3, fields=1, steps=4))
verdict.losing, verdict.schedules, verdict.example
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from heapwright.adversary import interleaving, small_world
from heapwright.adversary.small_world import MOST_SLOTS, World
from heapwright.allocators.boundary_tags import ALIGN_BYTES, HEAD_BYTES
from heapwright.collectors import barriers, log, mutator, object_bins, tricolour
from heapwright.collectors.object_bins import OBJECT_OFFSET
from heapwright.collectors.objects import WORD_BYTES
from heapwright.errors import HeapwrightError
from heapwright.machine import Machine, machine

ROOTS = ("snapshot", "once", "again")  # in the order of tricolour's values
BIRTHS = ("black", "white")
MOST_OBJECTS, MOST_FIELDS = 5, 2  # for which MOST_MOVES and MOST_DEPTH suffice
FIRST_ROWS = 1 << 16
NOTHING = np.zeros(0, np.int64)


class Keeper(NamedTuple):
    """What is to keep every object: a barrier, when the roots are scanned, and the birth colour."""

    barrier: str
    roots: str
    birth: str


SOUND = tuple(
    Keeper(name, ROOTS[barriers.ROOTS_OF[kind]], BIRTHS[barriers.BIRTH_OF[kind]])
    for kind, name in enumerate(barriers.NAMES)
    if kind != barriers.NONE
)


class Bounds(NamedTuple):
    """How small is small."""

    objects: int = 3  # of a graph to begin with
    fields: int = 1  # references of each object
    roots: int = 2  # to begin with, and the most globals ever
    steps: int = 4  # of the program
    births: int = 1  # objects that the program may allocate


class Graph(NamedTuple):
    """A graph to begin with, all of it reachable."""

    edges: tuple[int, ...]  # [slot * fields], a slot or -1
    roots: tuple[int, ...]  # a slot that a local holds, or -1 - a slot that a global does


@dataclass(frozen=True)
class Verdict:
    """What the schedules showed."""

    keeper: Keeper
    bounds: Bounds
    graphs: int
    states: int
    transitions: int
    schedules: int
    losing: int  # schedules that lose an object
    broken: int  # states in which an invariant failed
    longest: int  # moves of a schedule
    graph: Graph | None  # where the shortest schedule begins that loses an object
    example: tuple[int, ...]  # its moves, as numbers of `small_world`


def graphs(bounds: Bounds) -> Iterator[Graph]:
    """Every graph within the bounds whose objects are all reachable, up to their names."""
    count, slots = bounds.objects, range(bounds.objects)
    seen = set()
    for edges in itertools.product(range(-1, count), repeat=count * bounds.fields):
        for roots in _rootings(bounds):
            if not _all_reachable(edges, roots, bounds):
                continue
            renamed = (
                _renamed(edges, roots, names, bounds.fields)
                for names in itertools.permutations(slots)
            )
            graph = min(renamed)
            if graph not in seen:
                seen.add(graph)
                yield graph


def _rootings(bounds: Bounds) -> Iterator[tuple[int, ...]]:
    """Locals as a set and globals as a sequence, one to `bounds.roots` in all."""
    slots = range(bounds.objects)
    for in_locals in range(bounds.roots + 1):
        for in_globals in range(bounds.roots + 1 - in_locals):
            if in_locals + in_globals:
                for held in itertools.combinations(slots, in_locals):
                    for known in itertools.permutations(slots, in_globals):
                        yield *held, *(-1 - slot for slot in known)


def _all_reachable(edges: tuple[int, ...], roots: tuple[int, ...], bounds: Bounds) -> bool:
    pending = [root if root >= 0 else -1 - root for root in roots]
    found = set(pending)
    while pending:
        first = pending.pop() * bounds.fields
        for target in edges[first : first + bounds.fields]:
            if target >= 0 and target not in found:
                found.add(target)
                pending.append(target)
    return len(found) == bounds.objects


def _renamed(
    edges: tuple[int, ...], roots: tuple[int, ...], names: tuple[int, ...], fields: int
) -> Graph:
    """The graph with object i called names[i]."""
    moved = [-1] * len(edges)
    for i, target in enumerate(edges):
        slot, field = divmod(i, fields)
        moved[names[slot] * fields + field] = names[target] if target >= 0 else -1
    locals_ = sorted(names[root] for root in roots if root >= 0)
    globals_ = [-1 - names[-1 - root] for root in roots if root < 0]
    return Graph(tuple(moved), (*locals_, *globals_))


class Explorer:
    """A small heap, and the table of the states that were met."""

    def __init__(self, keeper: Keeper, bounds: Bounds, *, checked: bool = False) -> None:
        slots = bounds.objects + min(bounds.births, bounds.steps)
        if not (bounds.objects > 0 and slots <= MOST_OBJECTS and 0 < bounds.fields <= MOST_FIELDS):
            raise HeapwrightError(
                f"{slots} objects of {bounds.fields} fields: at most {MOST_OBJECTS} of one to "
                f"{MOST_FIELDS} can be explored."
            )
        self.bounds = bounds
        self.world = _world(keeper, bounds, slots, checked)
        self.search = _search(len(self.world.boot), FIRST_ROWS)
        self._act(interleaving.PREPARE)

    def _act(self, verb: int, numbers: np.ndarray = NOTHING, roots: np.ndarray = NOTHING) -> int:
        return int(interleaving.act(self.world, self.search, verb, numbers, roots))

    def stage(self, graph: Graph) -> None:
        """Begin a cycle on `graph`."""
        edges, roots = (np.array(part, np.int64) for part in graph)
        self._act(interleaving.STAGE, edges, roots)

    def make(self, move: int) -> bool:
        """Make one move; whether an object is lost now."""
        return bool(self._act(interleaving.MAKE, np.array([move], np.int64)))

    def colours(self) -> list[int]:
        """Of each slot's object: one of `small_world`'s ABSENT, WHITE, GREY, BLACK."""
        colours = np.zeros(int(self.world.rules[small_world.KNOWN]), np.int64)
        self._act(interleaving.LOOK, colours)
        return colours.tolist()

    def explore(self, graph: Graph) -> tuple[int, int, int]:
        """All schedules on `graph`: their number, how many lose an object, moves to the nearest."""
        while True:
            self.stage(graph)
            self._act(interleaving.EXPLORE)
            tally = self.search.tally
            if not tally[interleaving.FULL]:
                answer = tally[interleaving.ANSWER : interleaving.ANSWER_NEAR + 1]
                return tuple(answer.tolist())
            self._enlarge()

    def _enlarge(self) -> None:
        """Twice the rows; what is in the table stays."""
        old = self.search
        rows = 2 * len(old.print)
        tally = old.tally.copy()
        tally[interleaving.ROWS], tally[interleaving.FULL] = rows, 0
        self.search = _search(len(self.world.boot), rows)._replace(tally=tally)
        interleaving.copy_table(old, self.search)

    def example(self, graph: Graph) -> tuple[int, ...]:
        """The moves of a shortest schedule on `graph`, which was explored, that loses an object."""
        self.stage(graph)
        moves = []
        while True:
            moves.append(self._act(interleaving.NEAREST))
            if self.make(moves[-1]):
                return tuple(moves)


def explore(keeper: Keeper, bounds: Bounds, *, checked: bool = False) -> Verdict:
    """Run every schedule within the bounds; with `checked` test the invariants in every state.

    Raises HeapwrightError for bounds that are too wide.
    """
    explorer = Explorer(keeper, bounds, checked=checked)
    total, losing, count = 0, 0, 0
    nearest, where = interleaving.FAR, None
    for graph in graphs(bounds):
        schedules, lost, near = explorer.explore(graph)
        total, losing, count = total + schedules, losing + lost, count + 1
        if near < nearest:
            nearest, where = near, graph
    tally = explorer.search.tally
    return Verdict(
        keeper=keeper,
        bounds=bounds,
        graphs=count,
        states=int(tally[interleaving.STATES]),
        transitions=int(tally[interleaving.TRANSITIONS]),
        schedules=total,
        losing=losing,
        broken=int(tally[interleaving.BROKEN]),
        longest=int(tally[interleaving.DEEPEST]),
        graph=where,
        example=explorer.example(where) if where else (),
    )


def _search(words: int, rows: int) -> interleaving.Search:
    """An empty table of `rows`, and room for a path."""
    tally = np.zeros(interleaving.TALLIES, np.int64)
    tally[interleaving.ROWS] = rows
    depth = interleaving.MOST_DEPTH
    return interleaving.Search(
        print=np.zeros(rows, np.int64),
        schedules=np.zeros(rows, np.int64),
        losing=np.zeros(rows, np.int64),
        near=np.zeros(rows, np.int64),
        saved=np.zeros(depth * words, np.int64),
        moves=np.zeros(depth * small_world.MOST_MOVES, np.int64),
        path=np.zeros(depth * interleaving.PATH, np.int64),
        tally=tally,
    )


def _world(keeper: Keeper, bounds: Bounds, slots: int, checked: bool) -> World:
    """An empty heap with room for `slots` objects; its small arrays lie in one."""
    space, program = machine(), mutator.mutator(MOST_SLOTS, 2 * MOST_SLOTS)
    colours = tricolour.marking(
        space,
        program,
        log.log(),
        barriers.NAMES.index(keeper.barrier),
        ROOTS.index(keeper.roots),
        BIRTHS.index(keeper.birth),
    )
    heap = object_bins.object_bins(colours, 0, 0, steps_shift=0)
    rules = np.zeros(small_world.RULES, np.int64)
    rules[small_world.LEFT] = bounds.steps
    rules[small_world.SLOTS], rules[small_world.FIELDS] = slots, bounds.fields
    rules[small_world.MOST_GLOBALS], rules[small_world.CHECKED] = bounds.roots, checked
    block = OBJECT_OFFSET + bounds.fields * WORD_BYTES + ALIGN_BYTES
    rules[small_world.HEAP_WORDS] = (slots * block + 4 * HEAD_BYTES) // WORD_BYTES
    edges = np.full(MOST_SLOTS * bounds.fields, -1, np.int64)
    arrays = _arrays((heap, edges, rules))
    cells = np.concatenate(arrays)
    parts = np.split(cells, np.cumsum([len(array) for array in arrays])[:-1])
    moved = {id(array): part for array, part in zip(arrays, parts, strict=True)}
    words = len(cells) + int(rules[small_world.HEAP_WORDS]) + 2 + MOST_SLOTS
    heap, edges, rules = _with((heap, edges, rules), moved)
    return World(heap, edges, rules, cells, boot=np.zeros(words, np.int64))


def _arrays(state: Any) -> list[np.ndarray]:
    """Each array of a nested tuple once, but for those of a machine, a log and a prefetch queue."""
    if isinstance(state, np.ndarray):
        return [state]
    if isinstance(state, (Machine, log.Log)):
        return []
    found = {id(array): array for part in state for array in _arrays(part)}
    return list(found.values())


def _with(state: Any, moved: dict[int, np.ndarray]) -> Any:
    """A nested tuple with other arrays in the place of some."""
    if isinstance(state, np.ndarray):
        return moved.get(id(state), state)
    parts = [_with(part, moved) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
