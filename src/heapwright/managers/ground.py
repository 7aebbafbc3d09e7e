"""A manager as the ground of another: the verbs of `machine/ground.py` over its alloc and free.

    upper ─► more, obtain, pass_alloc ─► ground's alloc ─► machine
          └► obtain_mapped ─────────────────────────────► machine

Terms      area: what the upper manager holds of the ground, live to it; its row is kept until it
           goes back, so that what the two managers cost can be told apart
Invariant  no two areas overlap                                              (check: 1)
Omits      a heap that goes on where it ended: a manager's blocks lie anywhere

This file is bound to the linear manager; in a copy the import below names another one. See
docs/decisions/0010-grounds.md.
"""

from typing import Any, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine, clear, copy, load, mmap, munmap, store
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.textbook.linear import manager

CONTINUES = False
LOWEST, PAST = 0, SPACE_BYTES
MOST_AREAS = 1 << 22
ALIGN_BYTES = 16


class Areas(NamedTuple):
    """What the upper manager holds."""

    start: np.ndarray  # int64[row]  address
    bytes: np.ndarray  # int64[row]  asked for
    mapped: np.ndarray  # int64[row]  1: mapped beside the ground, which knows nothing of it
    count: np.ndarray  # int64[1]  rows


class Ground(NamedTuple):
    """The ground's state in the place of a Machine: its fields, and the ground's own."""

    words: np.ndarray
    pages: np.ndarray
    meters: np.ndarray
    gaps: Any
    heap: Any  # the ground's
    areas: Areas


def ground(machine: Machine, config):
    """A booted ground of which nothing is held."""
    rows = (reserve(MOST_AREAS, np.int64) for _ in range(3))
    return Ground(*machine, manager.boot(machine, config), Areas(*rows, np.zeros(1, np.int64)))


@kernel(inline=True)
def pass_alloc(machine, thread, size, align):
    """A block that the ground serves; 0 where refused."""
    return manager.alloc(machine.heap, thread, size, align)


@kernel
def _calloc_by_clearing(heap, thread, size):
    """For a ground without a calloc of its own."""
    address = manager.alloc(heap, thread, size, ALIGN_BYTES)
    if address:
        clear(heap.machine, address, size)
    return address


_calloc = getattr(manager, "calloc", _calloc_by_clearing)


@kernel
def pass_calloc(machine, thread, size):
    """A block that the ground serves, holding zeros; 0 where refused."""
    return _calloc(machine.heap, thread, size)


@kernel(inline=True)
def pass_free(machine, thread, address):
    """Give such a block back."""
    manager.free(machine.heap, thread, address)


@kernel(inline=True)
def pass_usable(machine, address, size):
    """Bytes that the owner of such a block may use."""
    return manager.usable(machine.heap, address, size)


@kernel(inline=True)
def pass_extent(machine, address, size):
    """The whole of such a block: (start, bytes)."""
    return manager.extent(machine.heap, address, size)


@kernel
def _realloc_by_copying(heap, thread, address, size):
    """For a ground without a realloc of its own."""
    room = manager.usable(heap, address, 0)
    if size <= room and size * 2 >= room:
        return address
    moved = manager.alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(room, size))
        manager.free(heap, thread, address)
    return moved


_realloc = getattr(manager, "realloc", _realloc_by_copying)


@kernel
def pass_realloc(machine, thread, address, size):
    """Resize such a block, moving it if it must; its address, 0 where refused."""
    return _realloc(machine.heap, thread, address, size)


@kernel
def _held(machine, area, bytes_, mapped):
    """Enter an area, for which there is a row."""
    held = machine.areas
    row = unsigned(held.count[0])
    held.start[row], held.bytes[row], held.mapped[row] = area, bytes_, mapped
    held.count[0] += 1


@kernel
def obtain(machine, thread, bytes_, align):
    """Address of an area of `bytes_` at a multiple of `align`; 0 where refused."""
    if machine.areas.count[0] >= MOST_AREAS:
        return 0
    area = pass_alloc(machine, thread, bytes_, max(align, ALIGN_BYTES))
    if area:
        _held(machine, area, bytes_, 0)
    return area


@kernel
def obtain_mapped(machine, thread, bytes_):
    """Address of a fresh mapping of whole pages; 0 where refused."""
    if machine.areas.count[0] >= MOST_AREAS:
        return 0
    area = mmap(machine, 0, bytes_)
    if area:
        _held(machine, area, bytes_, 1)
    return area


@kernel
def obtain_clear(machine, thread, bytes_):
    """Likewise, holding zeros: for tables. Only what was not zero is written."""
    area = obtain(machine, thread, bytes_, ALIGN_BYTES)
    if area:
        for word in range(area, area + bytes_, 8):
            if load(machine, word):
                clear(machine, word, 8)
                store(machine, word, 0)
    return area


@kernel
def _row_of(machine, area):
    """The row of an area that is held."""
    held = machine.areas
    row = held.count[0] - 1
    while row > 0 and held.start[unsigned(row)] != area:
        row -= 1
    return row


@kernel
def _let_go(machine, area):
    """Take an area's row away; the last one takes its place."""
    held, row = machine.areas, unsigned(_row_of(machine, area))
    last = unsigned(held.count[0] - 1)
    held.start[row], held.bytes[row] = held.start[last], held.bytes[last]
    held.mapped[row] = held.mapped[last]
    held.count[0] -= 1


@kernel
def give_back(machine, thread, area, bytes_):
    """The reverse of `obtain`."""
    _let_go(machine, area)
    pass_free(machine, thread, area)


@kernel
def give_back_mapped(machine, area, bytes_):
    """The reverse of `obtain_mapped`."""
    _let_go(machine, area)
    munmap(machine, area, bytes_)


@kernel
def resize(machine, thread, area, bytes_, wanted):
    """The area with `wanted` bytes, moved if it must be; 0 where refused. Its content is lost."""
    moved = pass_realloc(machine, thread, area, wanted)
    if moved:
        row = unsigned(_row_of(machine, area))
        machine.areas.start[row], machine.areas.bytes[row] = moved, wanted
    return moved


@kernel
def more(machine, top, bytes_, align):
    """Address of `bytes_`, never at `top`; 0 where refused."""
    return obtain(machine, 0, bytes_, align)


@kernel
def less(machine, top):
    """Nothing: see `give_back`."""


@kernel
def areas(machine):
    """How many areas the manager holds."""
    return machine.areas.count[0]


@kernel
def area(machine, row, top):
    """(start, bytes) of an area."""
    return machine.areas.start[unsigned(row)], machine.areas.bytes[unsigned(row)]


@kernel
def until(machine, address):
    """Address past the area that holds `address`."""
    held, past = machine.areas, address
    for row in range(held.count[0]):
        start = held.start[unsigned(row)]
        if start <= address < start + held.bytes[unsigned(row)]:
            past = start + held.bytes[unsigned(row)]
    return past


@kernel
def own_memory(machine, blocks):
    """What the ground adds to each area, as rows of `blocks` (start, bytes); their number."""
    rows, held = 0, machine.areas
    for row in range(held.count[0]):
        if held.mapped[unsigned(row)]:
            continue
        area, bytes_ = held.start[unsigned(row)], held.bytes[unsigned(row)]
        start, length = manager.extent(machine.heap, area, bytes_)
        rows = _row(blocks, rows, start, area - start)
        rows = _row(blocks, rows, area + bytes_, start + length - area - bytes_)
    return rows


@kernel
def _row(blocks, row, start, length):
    """Write row number `row` if it has bytes and there is room; the next row's number."""
    if length == 0:
        return row
    if row < len(blocks):
        blocks[row, 0], blocks[row, 1] = start, length
    return row + 1


@kernel
def check(machine):
    """Whether no two areas overlap."""
    held = machine.areas
    for row in range(held.count[0]):
        start, past = held.start[unsigned(row)], held.start[unsigned(row)]
        past += held.bytes[unsigned(row)]
        for other in range(row):
            begin = held.start[unsigned(other)]
            if begin < past and start < begin + held.bytes[unsigned(other)]:
                return False
    return True
