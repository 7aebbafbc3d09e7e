"""A map beside the heap: one entry for each 32 bytes, in a table of its own for each 16 MiB of it.

    zone 1 ─► table: │ entry │ entry │ ...        made when the heap first reaches the zone
    zone 2 ─► table

Terms      unit: 32 bytes; zone: 2^ZONE_SHIFT bytes at a multiple of that; entry: what a manager
           notes of the block that starts at a unit, 0 at first
Source     the order map of a buddy system, Knuth 2.5, exercise 2.5-27, kept apart from the blocks
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.ground import PAST, obtain_clear

UNIT_SHIFT = 5
ZONE_SHIFT = 24
ZONES = (PAST >> ZONE_SHIFT) + 1


class ZoneMap(NamedTuple):
    """The tables."""

    table: np.ndarray  # int64[address >> ZONE_SHIFT]  address of the zone's table, or 0


def zone_map():
    """No zone yet."""
    return ZoneMap(np.zeros(ZONES, np.int64))


def of_width(entry_shift):
    """(entry, set_entry, map_zones, own_memory): kernels for entries of 2^entry_shift bytes."""
    bits = 8 << entry_shift
    mask = (1 << bits) - 1
    table_bytes = 1 << (ZONE_SHIFT - UNIT_SHIFT + entry_shift)

    @kernel
    def entry(machine, zones, address):
        """The entry of the unit at `address`."""
        byte = zones.table[unsigned(address >> ZONE_SHIFT)]
        byte += (address & ((1 << ZONE_SHIFT) - 1)) >> UNIT_SHIFT << entry_shift
        return (load(machine, byte & ~7) >> ((byte & 7) << 3)) & mask

    @kernel
    def set_entry(machine, zones, address, value):
        """Write the entry of the unit at `address`."""
        byte = zones.table[unsigned(address >> ZONE_SHIFT)]
        byte += (address & ((1 << ZONE_SHIFT) - 1)) >> UNIT_SHIFT << entry_shift
        shift = (byte & 7) << 3
        touch(machine, byte, 1 << entry_shift)
        others = load(machine, byte & ~7) & ~(mask << shift)
        store(machine, byte & ~7, others | (value << shift))

    @kernel
    def map_zones(machine, zones, start, past):
        """Make the tables of [start, past) that there are not yet; whether there was room."""
        for zone in range(start >> ZONE_SHIFT, ((past - 1) >> ZONE_SHIFT) + 1):
            if zones.table[zone] == 0:
                zones.table[zone] = obtain_clear(machine, 0, table_bytes)
                if zones.table[zone] == 0:
                    return False
        return True

    @kernel
    def own_memory(zones, blocks):
        """The tables, as rows of `blocks` (start, bytes); their number."""
        rows = 0
        for zone in range(ZONES):
            if zones.table[zone]:
                rows = write_row(blocks, rows, zones.table[zone], table_bytes)
        return rows

    return entry, set_entry, map_zones, own_memory
