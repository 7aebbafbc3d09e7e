"""A stack: frames as with alloca, one for each thread, growing down from the top of its area.

    thread 0   limit ........ top │ block │ dead │ block │ base
    alloc ─► the top falls by the size, rounded up to 16 ─no room─► overflow: the program dies
    free  ─► the block on top goes, and with it every dead one that it uncovers;
              a block below the top only dies

Invariant  limit <= top <= base; the blocks tile [top, base); the one on top is live (check: 1-3)
Source     alloca(3); System V AMD64 ABI, section 3.2.2 (the stack grows down, aligned to 16);
           setrlimit(2), RLIMIT_STACK: 8 MiB
Omits      return addresses and saved registers; the guard page

What a trace of malloc means here: a program that returns its blocks in the reverse order of
asking could have kept them in frames. Each block is a frame; one that is freed out of order
returns when all above it are dead, as a caller's frame outlives those it calls. An overflow is
never NULL: a real process is killed, so the replay ends and says where. `below` is the
simulator's: a program knows by itself how far to raise its stack pointer.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, cached, counters, metadata
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import Machine, copy, mmap
from heapwright.machine.address_space import BREAK_LIMIT, MAPPED_TOP

__all__ = ["cached", "metadata"]

HEADERLESS = True  # a block does not tell its size
LEAST_LIMIT, MOST_LIMIT = 1 << 16, 1 << 34  # bytes of a stack

PATHS = ("push", "pop", "uncovered", "buried", "overflow")
PUSH, POP, UNCOVERED, BURIED, OVERFLOW = range(5)


class Config(NamedTuple):
    """Knobs."""

    limit_bytes: int = 8 << 20  # of each stack, a power of two: RLIMIT_STACK


@record(
    "limit_shift",  # setting: log2 of a stack's bytes
    "wanted_bytes",  # of the first overflow: what was asked for,
    "wanted_used",  # bytes then in use on that stack,
    "wanted_number",  # which request it was,
    "wanted_thread",  # and whose
)
class Heap(NamedTuple):
    """The whole state. Stack t is the t-th area of limit_bytes below MAPPED_TOP."""

    machine: Machine
    top: np.ndarray  # int64[thread]  address of the block on top; base while empty, 0 unused
    below: np.ndarray  # int64[(address - BREAK_LIMIT) >> 4]  block under this one << 1 | dead
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """No stack yet; HeapwrightError unless limit_bytes is a fit power of two."""
    limit = config.limit_bytes
    if not LEAST_LIMIT <= limit <= MOST_LIMIT or limit & (limit - 1):
        raise HeapwrightError(
            f"limit_bytes is a power of two from {LEAST_LIMIT} to {MOST_LIMIT}, not {limit}."
        )
    stacks = (MAPPED_TOP - BREAK_LIMIT) // limit
    return Heap(
        machine,
        np.zeros(stacks + 1, np.int64),
        reserve((MAPPED_TOP - BREAK_LIMIT) >> 4, np.int64),
        words(Heap, limit_shift=limit.bit_length() - 1),
        counters(PATHS),
    )


@kernel
def _base(heap, thread):
    """Address past the highest byte of a thread's stack."""
    return MAPPED_TOP - (thread << heap.limit_shift)


@kernel
def _open(heap, thread):
    """Map the stack of a thread that had none; whether there was room."""
    limit, base = 1 << heap.limit_shift, _base(heap, thread)
    if base - limit < BREAK_LIMIT or mmap(heap.machine, base - limit, limit) != base - limit:
        return False
    heap.top[unsigned(thread)] = base
    return True


@kernel
def _overflow(heap, thread, size):
    """Note the first overflow, which ends the replay: see `fatal`."""
    if heap.paths[OVERFLOW] == 0:
        limit = 1 << heap.limit_shift
        heap.wanted_bytes, heap.wanted_thread = size, thread
        heap.wanted_number = heap.paths[PUSH]
        heap.wanted_used = 0
        if _base(heap, thread) - limit >= BREAK_LIMIT and heap.top[unsigned(thread)]:
            heap.wanted_used = _base(heap, thread) - heap.top[unsigned(thread)]
    heap.paths[OVERFLOW] += 1
    return 0


@kernel
def alloc(heap, thread, size, align):
    """Address of `size` bytes on top of the thread's stack. About 3 ns."""
    heap.paths[PUSH] += 1
    base = _base(heap, thread)
    if base <= BREAK_LIMIT:  # more threads than there is room for stacks
        return _overflow(heap, thread, size)
    top = heap.top[unsigned(thread)]
    if not top:
        if not _open(heap, thread):
            return _overflow(heap, thread, size)
        top = base
    address = (top - max(size, 1)) & -max(align, ALIGN_BYTES)
    if address < base - (1 << heap.limit_shift):
        return _overflow(heap, thread, size)
    heap.below[unsigned((address - BREAK_LIMIT) >> 4)] = top << 1
    heap.top[unsigned(thread)] = address
    return address


@kernel
def free(heap, thread, address):
    """Let the block die; what is dead on top of its stack goes. About 3 ns for the top block."""
    owner = (MAPPED_TOP - 1 - address) >> heap.limit_shift
    below = heap.below[unsigned((address - BREAK_LIMIT) >> 4)]
    if heap.top[unsigned(owner)] != address:
        heap.paths[BURIED] += 1
        heap.below[unsigned((address - BREAK_LIMIT) >> 4)] = below | 1
        return
    heap.paths[POP] += 1
    base, top = _base(heap, owner), below >> 1
    while top != base:
        below = heap.below[unsigned((top - BREAK_LIMIT) >> 4)]
        if not below & 1:
            break
        heap.paths[UNCOVERED] += 1
        top = below >> 1
    heap.top[unsigned(owner)] = top


@kernel
def realloc(heap, thread, address, size):
    """A new block on top: the old one dies beneath it, as alloca has no other way."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        _, room = extent(heap, address, 0)
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def _room(size):
    """Bytes of the block but for padding above it."""
    return (max(size, 1) + ALIGN_BYTES - 1) & -ALIGN_BYTES


@kernel
def usable(heap, address, size):
    """The size, rounded up to 16."""
    return _room(size)


@kernel
def extent(heap, address, size):
    """The block up to the one below it, which an alignment may have left padding to."""
    return address, (heap.below[unsigned((address - BREAK_LIMIT) >> 4)] >> 1) - address


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    limit, thread = 1 << heap.limit_shift, 0
    while _base(heap, thread) - limit >= BREAK_LIMIT:
        top, base = heap.top[unsigned(thread)], _base(heap, thread)
        thread += 1
        if top == 0:
            continue
        if top > base or top < base - limit:
            return 1
        if top < base and heap.below[unsigned((top - BREAK_LIMIT) >> 4)] & 1:
            return 3
        while top < base:
            under = heap.below[unsigned((top - BREAK_LIMIT) >> 4)] >> 1
            if under <= top or under > base or under % ALIGN_BYTES:
                return 2
            top = under
    return 0


def fatal(heap):
    """The sentence with which the replay ends after an overflow; "" while there was none."""
    if not heap.paths[OVERFLOW]:
        return ""
    wanted, used = int(heap.wanted_bytes), int(heap.wanted_used)
    number, thread = int(heap.wanted_number), int(heap.wanted_thread)
    return (
        f"stack overflow at request {number:,}: {wanted:,} bytes asked for with {used:,} of "
        f"{1 << int(heap.limit_shift):,} bytes in use on the stack of thread {thread}; "
        "set stack.limit_bytes higher, or take a manager that frees in any order."
    )


def notes(heap):
    """What its figures mean, in sentences."""
    pops, buried = int(heap.paths[POP]), int(heap.paths[BURIED])
    return [
        f"Of {pops + buried:,} frees {buried:,} were of a block below the top: it stayed until all "
        "above it were dead. Each thread's stack is mapped whole."
    ]
