"""Marking against naive reachability, on random graphs and on shapes that strain the stack."""

import random

import numpy as np
import pytest

from heapwright.collectors import log as logs
from heapwright.collectors import mark, objects
from heapwright.collectors import mutator as programs
from heapwright.compiler import INTERPRETED
from heapwright.machine import brk, machine
from heapwright.machine.address_space import BREAK_BASE, MAPPED_BYTES
from naive.graph import Graph


def lay_out(graph, slots):
    """The graph in a machine's memory: (machine, mutator)."""
    space, mutator = machine(), programs.mutator(slots, slots)
    top = BREAK_BASE
    brk(space, BREAK_BASE + (1 << 24))
    for slot, size in graph.size.items():
        block = objects.block_bytes(size)
        fields = len(graph.fields[slot])
        mutator.handles[slot] = objects.initialise(space, top, block, slot, fields)
        top += block
    for slot, fields in graph.fields.items():
        for field, target in enumerate(fields):
            if target is not None:
                objects.refer(space, mutator.handles[slot], field, mutator.handles[target])
    for slot in graph.frames[0]:
        programs.hold(mutator, slot)
    return space, mutator


def marked_by_tracing(graph, slots):
    """Slots that are marked when all is done; the log's counts agree with them."""
    space, mutator = lay_out(graph, slots)
    stack, log = mark.mark_stack(), logs.log()
    mapped = int(space.meters[MAPPED_BYTES])
    mark.mark_from_roots(space, mutator, stack, log)
    assert mark.check(stack) and not stack.queue.any()
    assert space.meters[MAPPED_BYTES] <= mapped + mark.CHUNK_BYTES
    marked = {slot for slot in graph.fields if objects.is_marked(space, mutator.handles[slot])}
    assert log.totals[logs.MARKED_OBJECTS] == len(marked)
    assert log.totals[logs.MARKED_BYTES] == sum(
        objects.block_bytes(graph.size[slot]) for slot in marked
    )
    return marked


@pytest.mark.parametrize("seed", range(4))
def test_marks_what_is_reachable(seed, effort):
    draw = random.Random(seed)
    graph, slots = Graph(), 40 * effort
    for slot in range(slots):
        fields = draw.choice([0, 1, 2, 2, 3, 9])
        graph.new(slot, fields * 8 + draw.randrange(40), fields)
    for slot, fields in graph.fields.items():
        for field in range(len(fields)):
            if draw.random() < 0.4:
                graph.write(slot, field, draw.randrange(slots))
    graph.frames = [draw.sample(range(slots), 3)]
    assert marked_by_tracing(graph, slots) == graph.reachable()


@pytest.mark.parametrize("shape", ["list", "array", "ring", "same"])
def test_marks_shapes_that_strain_the_stack(shape):
    slots = 300 if INTERPRETED else 20_000
    graph = Graph()
    for slot in range(slots):
        fields = slots if shape in ("array", "same") and slot == 0 else 1
        graph.new(slot, 8 * fields, fields)
    graph.frames = [[0, 0]]
    for slot in range(slots):
        if shape == "array":
            graph.write(0, slot, slot)
        elif shape == "same":
            graph.write(0, slot, 1)
        elif slot + 1 < slots or shape == "ring":
            graph.write(slot, 0, (slot + 1) % slots)
    assert marked_by_tracing(graph, slots) == graph.reachable()


def test_many_roots():
    slots = 200 if INTERPRETED else 10_000
    graph = Graph()
    for slot in range(slots):
        graph.new(slot, 0, 0)
    assert marked_by_tracing(graph, slots) == set(range(slots))


def test_a_header_keeps_what_is_written():
    space, address = machine(), BREAK_BASE + 16
    brk(space, BREAK_BASE + (1 << 16))
    assert objects.initialise(space, BREAK_BASE, 64, 7, 5) == address
    objects.mark(space, address)
    objects.set_note(space, address, objects.NOTE_MASK)
    objects.refer(space, address, 4, 320)
    assert objects.slot_of(space, address) == 7 and objects.fields_of(space, address) == 5
    assert objects.is_marked(space, address) and objects.bytes_of(space, address) == 64
    assert objects.note(space, address) == objects.NOTE_MASK
    assert [objects.reference(space, address, field) for field in range(5)] == [0, 0, 0, 0, 320]
    objects.set_note(space, address, 3)
    assert objects.forwarded(space, address) == 0
    objects.forward(space, address, BREAK_BASE)
    assert objects.forwarded(space, address) == BREAK_BASE
    objects.unmark(space, address)
    assert not objects.is_marked(space, address) and objects.bytes_of(space, address) == 64
    words = space.words[BREAK_BASE >> 3 : (BREAK_BASE >> 3) + 8].copy()
    objects.move(space, BREAK_BASE, BREAK_BASE + 128, 64)
    moved = space.words[(BREAK_BASE >> 3) + 16 : (BREAK_BASE >> 3) + 24]
    assert np.array_equal(words, moved)
