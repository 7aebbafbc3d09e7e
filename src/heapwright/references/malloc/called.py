"""A real allocator as a manager: each verb calls a C function through its address.

So the real ones serve the same replay loop as the twins. The machine is an empty stand-in: a real
allocator takes its memory from Linux, and nothing here counts it (`harness` does).

Source     malloc(3), malloc_usable_size(3)
Omits      threads: every event comes from the one that calls
"""

import ctypes
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.call import call
from heapwright.machine.address_space import METERS, Machine
from heapwright.machine.gaps import gaps
from heapwright.managers.card import Card
from heapwright.references.malloc.systems import System

CARD = Card(summary="a real allocator, called through its address")
PATHS = ("called",)
ALIGN_BYTES = 16  # malloc's own alignment

VERBS = ("malloc", "free", "calloc", "realloc", "memalign")
MALLOC, FREE, CALLOC, REALLOC, MEMALIGN, USABLE = range(6)


class Config(NamedTuple):
    """No knobs: the library's own defaults."""


class Heap(NamedTuple):
    """The addresses of the functions."""

    machine: Machine
    function: np.ndarray  # int64[verb]  address
    paths: np.ndarray  # int64[path]  never counted: it would cost


def load(system: System, library: str | None) -> np.ndarray:
    """Addresses of the verbs, int64[6]; loads the library into this process, its names private."""
    handle = ctypes.CDLL(library, mode=ctypes.RTLD_LOCAL)
    names = [system.prefix + verb for verb in VERBS] + [system.usable]
    pointers = [ctypes.cast(getattr(handle, name), ctypes.c_void_p).value for name in names]
    return np.array(pointers, np.int64)


def boot(function: np.ndarray) -> Heap:
    """A heap over the functions at these addresses, int64[6]."""
    machine = Machine(
        words=np.zeros(1, np.int64),
        pages=np.zeros(1, np.uint8),
        meters=np.zeros(METERS, np.int64),
        gaps=gaps(0, 0),
    )
    return Heap(machine, np.asarray(function, np.int64), np.zeros(len(PATHS), np.int64))


@kernel
def alloc(heap, thread, size, align):
    """The library's malloc, or memalign past what malloc promises."""
    if align <= ALIGN_BYTES:
        return call(heap.function[MALLOC], size, 0)
    return call(heap.function[MEMALIGN], align, size)


@kernel
def free(heap, thread, address):
    """The library's free."""
    call(heap.function[FREE], address, 0)


@kernel
def calloc(heap, thread, size):
    """The library's calloc."""
    return call(heap.function[CALLOC], 1, size)


@kernel
def realloc(heap, thread, address, size):
    """The library's realloc."""
    return call(heap.function[REALLOC], address, size)


@kernel
def usable(heap, address, size):
    """The library's malloc_usable_size."""
    return call(heap.function[USABLE], address, 0)


@kernel
def extent(heap, address, size):
    """The usable block; where headers lie is the library's secret."""
    return address, usable(heap, address, size)


@kernel
def cached(heap, blocks):
    """Unknown from outside."""
    return 0


@kernel
def metadata(heap, blocks):
    """Unknown from outside."""
    return 0


@kernel
def check(heap):
    """The library checks itself."""
    return 0
