"""A random program with a garbage collector, and reachability found anew after every event.

rows = random_rows(seed, events)     (op, slot, size, field, target) of a graph trace, each
                                     death right after the event that caused it
rows = hiding_rows(seed, turns)      the same of one that hides objects from a collector
"""

import random

from heapwright.trace.schema import (
    FINALISABLE,
    FREE,
    GET,
    HOLD,
    NEW,
    POP,
    PUSH,
    REFER,
    ROOT,
    SOFT,
    UNROOT,
    WRITE,
)

VERBS = [*[NEW] * 4, *[WRITE] * 3, HOLD, ROOT, UNROOT, UNROOT, PUSH, PUSH, POP, POP]
Row = tuple[int, int, int, int, int]


class Program:
    """Objects, frames and globals; `rows` is the trace so far."""

    def __init__(self) -> None:
        self.fields: dict[int, list[int]] = {}  # live slot: target of each reference, -1 none
        self.frames: list[list[int]] = [[]]
        self.globals: set[int] = set()
        self.spare: list[int] = []
        self.slots = 0
        self.rows: list[Row] = []

    def do(self, op: int, slot: int = -1, size: int = 0, field: int = 0, target: int = -1) -> None:
        """One event, and the deaths that it causes."""
        self.rows.append((op, slot, size, field, target))
        if op == NEW:
            self.fields[slot] = [-1] * field
            self.frames[-1].append(slot)
        elif op == WRITE:
            self.fields[slot][field] = target
        elif op == HOLD:
            self.frames[-1].append(slot)
        elif op == ROOT:
            self.globals.add(slot)
        elif op == UNROOT:
            self.globals.remove(slot)
        elif op == PUSH:
            self.frames.append([])
        else:
            self.frames.pop()
            if slot >= 0:
                self.frames[-1].append(slot)
        if op in (NEW, HOLD, ROOT, PUSH):  # nothing dies of what only adds references
            return
        for dead in sorted(self.fields.keys() - self.reachable()):
            del self.fields[dead]
            self.spare.append(dead)
            self.rows.append((FREE, dead, 0, 0, -1))

    def refer(self, kind: int, target: int) -> None:
        """A new reference object, or one with a finaliser, that does not hold its target."""
        slot = self.fresh()
        self.do(NEW, slot, 48, 1)
        self.fields[slot] = []
        self.rows.append((REFER, slot, kind, 0, -1 if kind == FINALISABLE else target))
        if kind == SOFT:
            self.rows.append((GET, slot, 0, 0, -1))

    def reachable(self) -> set[int]:
        """Slots of the objects that a root leads to."""
        found: set[int] = set()
        grey = [*self.globals, *(slot for frame in self.frames for slot in frame)]
        while grey:
            slot = grey.pop()
            if slot not in found:
                found.add(slot)
                grey += [target for target in self.fields[slot] if target >= 0]
        return found

    def fresh(self) -> int:
        """A slot for a new object."""
        if self.spare:
            return self.spare.pop()
        self.slots += 1
        return self.slots - 1


def random_rows(
    seed: int, events: int, most_bytes: int = 400, most_live: int = 30, refers: int = 0
) -> list[Row]:
    """The rows of a program that does `events` things at random, deaths not counted; with `refers`
    every so many events it makes a reference object."""
    draw, program = random.Random(seed), Program()
    program.do(PUSH)  # what frame 0 holds would never die
    while events > 0:
        events -= 1
        live = sorted(program.fields)
        verb = draw.choice(
            [*[NEW] * 4, *[WRITE] * 3, HOLD, ROOT, UNROOT, UNROOT, PUSH, PUSH, POP, POP]
        )
        if len(live) >= most_live:  # make room: leave a frame or forget a global
            while len(program.frames) > 1:
                program.do(POP)
            while program.globals and draw.random() < 0.8:
                program.do(UNROOT, draw.choice(sorted(program.globals)))
            program.do(PUSH)
        elif refers and live and events % refers == 0:
            program.refer(1 + events // refers % FINALISABLE, draw.choice(live))
        elif verb == NEW:
            fields = draw.choice([0, 0, 1, 2, 3, 9])
            size = 8 * fields + draw.randrange(most_bytes)
            program.do(NEW, program.fresh(), size, fields)
        elif verb == WRITE and (owners := [slot for slot in live if program.fields[slot]]):
            owner = draw.choice(owners)
            field = draw.randrange(len(program.fields[owner]))
            program.do(WRITE, owner, 0, field, draw.choice([-1, *live, *live]))
        elif verb == HOLD and live:
            program.do(HOLD, draw.choice(live))
        elif verb == ROOT and (others := sorted(set(live) - program.globals)):
            program.do(ROOT, draw.choice(others))
        elif verb == UNROOT and program.globals:
            program.do(UNROOT, draw.choice(sorted(program.globals)))
        elif verb == PUSH and len(program.frames) < 12:
            program.do(PUSH)
        elif verb == POP and len(program.frames) > 2:
            program.do(POP, draw.choice([-1, -1, draw.choice(live or [-1])]))
    return program.rows


CELLS = 24  # entries of the table that all else hangs from


def hiding_rows(seed: int, turns: int) -> list[Row]:
    """The rows of a program that loads a reference, may cut it, allocates, and then writes it to
    another object, or only held it: what a collector that marks meanwhile must not lose."""
    draw, program = random.Random(seed), Program()

    def new(fields: int, size: int) -> int:
        slot = program.fresh()
        program.do(NEW, slot, size + 8 * fields, fields)
        return slot

    program.do(PUSH)
    table = new(CELLS, 0)
    for _ in range(turns):
        program.do(PUSH)
        places = [(at, i) for at, fields in program.fields.items() for i in range(len(fields))]
        full = [(at, i) for at, i in places if program.fields[at][i] >= 0]
        loaded = -1
        if full and draw.random() < 0.8:
            owner, field = draw.choice(full)
            loaded = program.fields[owner][field]
            program.do(HOLD, loaded)
            if draw.random() < 0.7:  # else it is copied, and a new object may refer to a white one
                program.do(WRITE, owner, 0, field, -1)
        made = [new(2, draw.choice([0, 500, 2500, 200_000])) for _ in range(draw.randrange(4))]
        fresh = [(slot, field) for slot in made for field in (0, 1)]
        for target in (loaded, *made):
            where = draw.choice([[(table, draw.randrange(CELLS))], fresh or places, places])
            owner, field = draw.choice(where)
            if target >= 0 and owner in program.fields:
                program.do(WRITE, owner, 0, field, target)
        program.do(POP)
    return program.rows
