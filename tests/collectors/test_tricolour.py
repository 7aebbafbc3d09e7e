"""The incremental collector under random programs: nothing live is lost, nothing dead stays."""

import random

import pytest

from heapwright.collectors import barriers, objects
from heapwright.collectors import log as logs
from heapwright.collectors import mutator as programs
from heapwright.machine import machine
from heapwright.managers import tri_colour as manager
from naive.graph import Graph

SLOTS = 100
KINDS = range(len(barriers.NAMES))
TIGHT = {"minimum_bytes": 2000, "growth_percent": 30}  # many cycles


class Program:
    """A program that runs on the collector and on the naive graph."""

    def __init__(self, seed, **knobs):
        self.draw = random.Random(seed)
        self.mutator = programs.mutator(SLOTS, 4096)
        self.heap = manager.boot(machine(), manager.Config(**knobs), self.mutator)
        self.graph = Graph()
        self.spare = list(range(SLOTS))

    def act(self):
        """One random step."""
        live = sorted(self.graph.reachable())
        verb = self.draw.choice(("new", "new", "new", "write", "write", "hold", "pop", "global"))
        slot = self.draw.choice(live) if live else None
        if verb == "new" or slot is None:
            self.new()
        elif verb == "write":
            self.write(slot, self.draw.choice([*live, None]))
        elif verb == "hold":
            programs.hold(self.mutator, slot)
            manager.rooted(self.heap, slot)
            self.graph.frames[-1].append(slot)
        elif verb == "pop":
            self.push_or_pop()
        elif slot in self.graph.globals:
            self.graph.globals.remove(slot)
            programs.unroot(self.mutator, slot)
            manager.unrooted(self.heap, slot)
        else:
            self.graph.globals.add(slot)
            programs.root(self.mutator, slot)
            manager.rooted(self.heap, slot)
        for slot in self.graph.bury():
            self.mutator.handles[slot] = 0
            self.spare.append(slot)

    def new(self):
        if not self.spare:
            return
        slot = self.spare.pop(self.draw.randrange(len(self.spare)))
        fields = self.draw.choice([0, 1, 2, 3, 20])
        size = fields * 8 + self.draw.randrange(100)
        assert manager.new(self.heap, 0, slot, size, fields)
        programs.hold(self.mutator, slot)
        manager.rooted(self.heap, slot)
        self.graph.new(slot, size, fields)

    def write(self, slot, target):
        if self.graph.fields[slot]:
            field = self.draw.randrange(len(self.graph.fields[slot]))
            manager.write(self.heap, slot, field, -1 if target is None else target)
            self.graph.write(slot, field, target)

    def push_or_pop(self):
        if len(self.graph.frames) > 1 and self.draw.random() < 0.55:
            held = self.graph.frames.pop()
            programs.pop(self.mutator)
            for slot in held:
                manager.unrooted(self.heap, slot)
        else:
            self.graph.frames.append([])
            programs.push(self.mutator)

    def verify(self):
        """The manager's invariants; every live object is where its handle says, as it was left."""
        space, handles = self.heap.machine, self.mutator.handles
        assert manager.check(self.heap) == 0
        for slot, fields in self.graph.fields.items():
            address = handles[slot]
            assert objects.slot_of(space, address) == slot
            assert objects.fields_of(space, address) == len(fields)
            for field, target in enumerate(fields):
                found = objects.reference(space, address, field)
                assert found == (0 if target is None else handles[target])


@pytest.mark.parametrize("kind", KINDS, ids=barriers.NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_keeps_the_live_and_frees_the_dead(kind, seed, effort):
    program = Program(seed, barrier=kind, **TIGHT, increment_bytes=seed * 100)
    for _ in range(100 + 50 * effort):
        program.act()
        program.verify()
    manager.collect(program.heap)
    program.verify()
    counts = program.heap.objects.counts
    assert counts[manager.OBJECTS] == len(program.graph.fields)
    totals = program.heap.log.totals
    assert totals[logs.CYCLES] > 1
    assert totals[logs.ALLOCATED_OBJECTS] - totals[logs.SWEPT_OBJECTS] == counts[manager.OBJECTS]
    assert (totals[logs.BARRIERS] > 0) == (kind != barriers.NONE)
