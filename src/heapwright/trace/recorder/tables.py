"""Maps of addresses: open addressing, at most half full, linear probing; a deletion moves later
entries back, so that there are no tombstones (Knuth 6.4, algorithm R)."""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned


class Table(NamedTuple):
    """An open-addressing map of positive keys; a key of 0 is an empty place."""

    key: np.ndarray  # int64[place], a power of two of them
    value: np.ndarray  # int32[place]


def table(places: int) -> Table:
    """An empty map."""
    return Table(np.zeros(places, np.int64), np.zeros(places, np.int32))


@kernel
def _home(key, mask):
    """Where probing for `key` begins: neighbours in a KiB of addresses share cache lines."""
    block = (key >> 10) & 0x7FFFFFFF
    return (((block * 0x9E3779B1) >> 16) + (key >> 4)) & mask


@kernel
def place(table, key):
    """Where `key` is, or the empty place where it belongs."""
    mask = len(table.key) - 1
    at = _home(key, mask)
    while table.key[unsigned(at)] != 0 and table.key[unsigned(at)] != key:
        at = (at + 1) & mask
    return at


@kernel
def insert(table, key, value):
    """Enter a key, or give it another value."""
    at = unsigned(place(table, key))
    table.key[at] = key
    table.value[at] = value


@kernel
def delete(table, at):
    """Empty place `at`, moving back what probing would no longer reach."""
    mask = len(table.key) - 1
    hole, at = at, (at + 1) & mask
    while table.key[unsigned(at)] != 0:
        key = table.key[unsigned(at)]
        home = _home(key, mask)
        if ((at - home) & mask) >= ((at - hole) & mask):
            table.key[unsigned(hole)] = key
            table.value[unsigned(hole)] = table.value[unsigned(at)]
            hole = at
        at = (at + 1) & mask
    table.key[unsigned(hole)] = 0


@kernel
def copy(table, larger):
    """Enter all that is in one map in another."""
    for at in range(len(table.key)):
        if table.key[at]:
            insert(larger, table.key[at], table.value[at])
