"""A manager that is told of each root and counts them in the object's header; it never collects.

Invariant  as of `smallest`
Source     none; a double for tests of the loop
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from tunnel import smallest
from tunnel.smallest import (  # noqa: F401 names of the contract
    CARD,
    PATHS,
    Heap,
    boot,
    cached,
    check,
    extent,
    metadata,
    new,
    usable,
    vacant,
    write,
)


class Config(smallest.Config):
    """Room for all that a test allocates."""

    def __new__(cls):
        return super().__new__(cls, 1 << 24)


@kernel
def add(heap, slot, by):
    address = heap.mutator.handles[unsigned(slot)]
    store(heap.machine, address - 8, load(heap.machine, address - 8) + by)


@kernel
def collect(heap):
    """Never."""


@kernel
def rooted(heap, slot):
    add(heap, slot, 1 << 32)


@kernel
def unrooted(heap, slot):
    add(heap, slot, -(1 << 32))
