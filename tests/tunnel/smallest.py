"""The smallest manager with a collector: two spaces, and roots copied to the other one.

    new ─► bump ─full─► collect: each object reachable from a root moves to the other space

Invariant  the space in use ends at its top or below                                   (check: 1)
Source     Cheney 1970
Omits      everything else; a double for tests of the loop
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors import log as logs
from heapwright.collectors.log import Log
from heapwright.collectors.mutator import Mutator, handle, moved, root_at, root_count
from heapwright.compiler import kernel, unsigned
from heapwright.machine import Machine, load, mmap, store, touch
from heapwright.managers.card import Card

CARD = Card(summary="two spaces, for tests", serves=("graph",), limit_knob="heap_bytes")
HEADER_BYTES = 16  # slot | fields << 32, size; once copied: -1, the new address
PATHS = ("collect",)
BASE, OTHER, TOP = range(3)


class Config(NamedTuple):
    """Knobs."""

    heap_bytes: int = 24 << 10  # both spaces


class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    fields: np.ndarray  # int64[3]
    config: np.ndarray  # int64[1]
    paths: np.ndarray  # int64[path]


def boot(machine, config, mutator):
    half = config.heap_bytes // 2
    spaces = [mmap(machine, 0, half), mmap(machine, 0, half)]
    fields = np.array([spaces[0], spaces[1], spaces[0]], np.int64)
    paths = np.zeros(1, np.int64)
    return Heap(machine, mutator, logs.log(), fields, np.array([half], np.int64), paths)


@kernel
def taken(size):
    return HEADER_BYTES + ((max(size, 1) + 15) & ~15)


@kernel
def new(heap, thread, slot, size, fields):
    need = taken(size)
    if heap.fields[TOP] + need > heap.fields[BASE] + heap.config[0]:
        collect(heap)
        if heap.fields[TOP] + need > heap.fields[BASE] + heap.config[0]:
            return 0
    address = heap.fields[TOP] + HEADER_BYTES
    heap.fields[TOP] += need
    touch(heap.machine, address - HEADER_BYTES, HEADER_BYTES + 8 * fields)
    store(heap.machine, address - 16, slot | fields << 32)
    store(heap.machine, address - 8, size)
    for field in range(fields):
        store(heap.machine, address + 8 * field, 0)
    heap.mutator.handles[unsigned(slot)] = address
    return address


@kernel
def write(heap, slot, field, target):
    address = heap.mutator.handles[unsigned(slot)]
    store(heap.machine, address + 8 * field, handle(heap.mutator, target))


@kernel
def copy(heap, address):
    """Where the object lies in the other space."""
    machine = heap.machine
    if address == 0 or heap.fields[BASE] <= address < heap.fields[TOP]:
        return address
    head, size = load(machine, address - 16), load(machine, address - 8)
    if head == -1:
        return size
    target = heap.fields[TOP] + HEADER_BYTES
    heap.fields[TOP] += taken(size)
    fields = head >> 32
    touch(machine, target - 16, taken(size))
    store(machine, target - 16, head)
    store(machine, target - 8, size)
    for field in range(fields):
        store(machine, target + 8 * field, load(machine, address + 8 * field))
    moved(heap.mutator, head & 0xFFFFFFFF, address, target)
    store(machine, address - 16, -1)
    store(machine, address - 8, target)
    heap.log.totals[logs.COPIED_OBJECTS] += 1
    heap.log.totals[logs.COPIED_BYTES] += size
    return target


@kernel
def collect(heap):
    heap.paths[0] += 1
    machine, fields = heap.machine, heap.fields
    logs.begin_pause(heap.log)
    logs.begin_cycle(heap.log, logs.FULL, fields[TOP] - fields[BASE], heap.config[0])
    fields[BASE], fields[OTHER] = fields[OTHER], fields[BASE]
    fields[TOP] = scan = fields[BASE]
    for i in range(root_count(heap.mutator)):
        copy(heap, root_at(heap.mutator, i))
    while scan < fields[TOP]:
        for field in range(load(machine, scan) >> 32):
            at = scan + HEADER_BYTES + 8 * field
            store(machine, at, copy(heap, load(machine, at)))
        scan += taken(load(machine, scan + 8))
    logs.end_cycle(heap.log, fields[TOP] - fields[BASE])
    logs.end_pause(heap.log)


@kernel
def usable(heap, address, size):
    return taken(size) - HEADER_BYTES


@kernel
def extent(heap, address, size):
    return address - HEADER_BYTES, taken(size)


@kernel
def cached(heap, blocks):
    return 0


@kernel
def metadata(heap, blocks):
    return 0


@kernel
def vacant(heap, blocks):
    if len(blocks) > 1:
        blocks[0, 0], blocks[0, 1] = heap.fields[OTHER], heap.config[0]
        blocks[1, 0] = heap.fields[TOP]
        blocks[1, 1] = heap.fields[BASE] + heap.config[0] - heap.fields[TOP]
    return 2


@kernel
def check(heap):
    return 0 if heap.fields[TOP] <= heap.fields[BASE] + heap.config[0] else 1
