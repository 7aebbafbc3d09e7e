"""What every textbook manager says in the same way, for objects laid out as in `objects.py`.

    Config = textbook.knobs(__name__, sweeping=1)    heap_bytes, minimum_bytes, growth_percent; own
    Heap = textbook.heap(__name__, "sweeping", space=Space)
                                                     machine, mutator, log, pace; its own parts; one
                                                     array of its own words; paths
    empty(Heap, PATHS, machine, mutator, pacing, space=..., sweeping=...)
    cached, extent, usable, write, notes             a manager takes them as its own
    begin ─► a full collection, in one pause ─► end  what log and pace must know of it

The first two of PATHS are "new" and "write".
"""

from collections import namedtuple
from typing import NamedTuple

import numpy as np

from heapwright.allocators import frame
from heapwright.collectors import pace as paces
from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    ALLOCATED_OBJECTS,
    FULL,
    Log,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
    log,
)
from heapwright.collectors.mutator import SLOTS, Mutator, handle
from heapwright.collectors.objects import HEADER_BYTES, bytes_of, initialise, refer, slot_of
from heapwright.collectors.pace import Pace
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine import Machine

NEW, WRITE = range(2)  # of paths

cached = frame.cached

KNOBS = {
    "heap_bytes": 0,  # of the heap; 0: grow
    "minimum_bytes": 4 << 20,  # while growing, collect no smaller heap
    "growth_percent": 100,  # by which occupied bytes may grow over the live ones
}


def knobs(module, **own):
    """The Config of the manager `module`: KNOBS, and its own with their defaults."""
    every = KNOBS | own
    return namedtuple("Config", every, defaults=every.values(), module=module)


def heap(module, *settings, **parts):
    """The Heap of the manager `module`: its parts by type, and the words of its own by name."""
    kinds = {"machine": Machine, "mutator": Mutator, "log": Log, "pace": Pace, **parts}
    if settings:
        kinds["fields"] = np.ndarray  # int64[word]
    kinds["paths"] = np.ndarray  # int64[path]  times taken
    made = NamedTuple("Heap", list(kinds.items()))
    made.__module__ = module
    made.__name__ += module.split(".")[-2]  # of its own: see `tunnel/malloc_run.py`
    return record(*settings)(made) if settings else made


def empty(heap_class, paths, machine, mutator, pacing, **parts):
    """Such a heap before its first object; a word that is not given is 0."""
    if names := getattr(heap_class, "WORDS", ()):
        given = {name: parts.pop(name) for name in names if name in parts}
        parts["fields"] = words(heap_class, **given)
    parts["paths"] = frame.counters(paths)
    if "log" not in parts:  # a part may have been made with it
        parts["log"] = log()
    return heap_class(machine=machine, mutator=mutator, pace=pacing, **parts)


@kernel(inline=True)
def born(heap, place, slot, fields):
    """The address of a new object in `place`, (block, bytes): it is counted, its handle set."""
    block, bytes_ = place
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += bytes_
    address = initialise(heap.machine, block, bytes_, slot, fields)
    heap.mutator.handles[unsigned(slot)] = address
    return address


@kernel
def begin(heap, occupied):
    """A full collection of a heap of `occupied` bytes begins; the program stands still."""
    begin_pause(heap.log)
    begin_cycle(heap.log, FULL, occupied, heap.pace.goal)


@kernel
def end(heap, live, recovered, need):
    """It is over, left `live` bytes of so many more; the next goal is for `need` further ones."""
    paces.collected(heap.pace, live + recovered, live, need)
    end_pause(heap.log)
    end_cycle(heap.log, live)


@kernel(inline=True)
def write(heap, slot, field, target):
    """One store: a collector that stops the program to trace needs no barrier."""
    heap.paths[WRITE] += 1
    refer(heap.machine, handle(heap.mutator, slot), field, handle(heap.mutator, target))


@kernel
def usable(heap, address, size):
    """The user bytes with the padding of the block."""
    return bytes_of(heap.machine, address) - HEADER_BYTES


@kernel
def extent(heap, address, size):
    """The block from its header on."""
    return address - HEADER_BYTES, bytes_of(heap.machine, address)


@kernel
def handles_are_true(heap):
    """Whether each handle is 0 or that of an object born in its slot."""
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and slot_of(heap.machine, address) != slot:
            return False
    return True


def notes(heap):
    """What its figures mean, in sentences."""
    return paces.thrashing(heap.pace)
