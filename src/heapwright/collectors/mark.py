"""Marking: trace the graph from the roots with an explicit stack and a queue in front of it.

    references found ─► stack ─pop─► prefetch ─► queue of 32 ─► object: mark, push its references

Terms      chunk: CHUNK_BYTES of the machine's memory that hold a part of the stack; the chunks are
           linked, and all but the first go back when the stack is empty
Invariant  between two collections the stack is empty and has one chunk, or none yet     (check)
Source     Cher, Hosking and Vitek, "Software prefetching for mark-sweep garbage collection", ASPLOS
           2004: a first-in first-out queue before the stack gives a fetched line time to arrive;
           Garner, Blackburn and Frampton, "Effective prefetch for mark-sweep garbage collection",
           ISMM 2007: push references (edges), and look at an object only when it leaves the queue
Omits      several markers; a stack that overflows: it can hold every reference there is

An object is touched once: its header and first references mostly lie on one line. What that costs
beside a plain chase through the same memory, `python -m benchmarks.marking` measures.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import write_row
from heapwright.collectors.log import MARKED_BYTES, MARKED_OBJECTS, SCANNED_ROOTS
from heapwright.collectors.mutator import root_at, root_count
from heapwright.collectors.objects import FIELDS_SHIFT, GRANULES_MASK, MARK
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.prefetch import prefetch
from heapwright.compiler.record import record, words
from heapwright.machine import load, mmap, munmap, store, touch

CHUNK_BYTES = 32768
LINK_BYTES = 16  # at a chunk's start: address of the chunk below, 0 for the first
QUEUE = 32  # references on their way from memory


@record(
    "top",  # address of the next entry
    "limit",  # where the chunk in use ends
    "chunk",  # where it begins; all are 0 before the first collection
)
class MarkStack(NamedTuple):
    """References that are found and not yet looked at."""

    fields: np.ndarray  # int64[word]
    queue: np.ndarray  # int64[QUEUE]  all 0 between two collections


def mark_stack():
    """An empty stack; it takes its first chunk with its first entry."""
    return MarkStack(words(MarkStack), np.zeros(QUEUE, np.int64))


@kernel
def _add_chunk(machine, stack):
    """Address of the first entry of a further chunk. The machine does not refuse: it has as much
    room as all references can need."""
    chunk = mmap(machine, 0, CHUNK_BYTES)
    touch(machine, chunk, CHUNK_BYTES)
    store(machine, chunk, stack.chunk)
    stack.chunk, stack.limit = chunk, chunk + CHUNK_BYTES
    return chunk + LINK_BYTES


@kernel
def _drop_chunk(machine, stack):
    """Give the emptied chunk back; the address after the last entry of the one below."""
    chunk = stack.chunk
    below = load(machine, chunk)
    munmap(machine, chunk, CHUNK_BYTES)
    stack.chunk, stack.limit = below, below + CHUNK_BYTES
    return below + CHUNK_BYTES


@kernel(inline=True)
def push(machine, stack, address):
    """Add an object that was found; it may be marked already."""
    top = stack.top
    if top == stack.limit:
        top = _add_chunk(machine, stack)
    store(machine, top, address)
    stack.top = top + 8


@kernel(inline=True)
def pop(machine, stack):
    """Take the newest entry off a stack that has one."""
    top = stack.top
    if top == stack.chunk + LINK_BYTES:
        top = _drop_chunk(machine, stack)
    stack.top = top - 8
    return load(machine, top - 8)


@kernel(inline=True)
def is_empty(machine, stack):
    """Whether the stack has no entry."""
    chunk = stack.chunk
    return chunk == 0 or (stack.top == chunk + LINK_BYTES and load(machine, chunk) == 0)


@kernel
def drain(machine, stack, log):
    """Mark all that can be reached from the stack's entries and leave it empty."""
    words, queue = machine.words, stack.queue
    if not stack.chunk:
        return
    top, limit = stack.top, stack.limit
    floor = stack.chunk + LINK_BYTES
    marked = granules = turn = idle = 0
    while idle < QUEUE:
        found = 0
        if top == floor and load(machine, floor - LINK_BYTES):
            top = _drop_chunk(machine, stack)
            limit, floor = stack.limit, stack.chunk + LINK_BYTES
        if top != floor:
            top -= 8
            found = words[unsigned(top) >> unsigned(3)]
            prefetch(words, (found - 8) >> 3)
        address = queue[unsigned(turn)]
        queue[unsigned(turn)] = found
        turn = (turn + 1) & (QUEUE - 1)
        if not address:
            idle = idle + 1 if not found else 0
            continue
        idle = 0
        header = (unsigned(address) >> unsigned(3)) - unsigned(2)
        state = words[header + unsigned(1)]
        if state < 0:
            continue
        words[header + unsigned(1)] = state | MARK
        marked += 1
        granules += state & GRANULES_MASK
        for field in range(words[header] >> FIELDS_SHIFT):
            target = words[header + unsigned(2) + unsigned(field)]
            if top == limit:
                top = _add_chunk(machine, stack)
                limit, floor = stack.limit, stack.chunk + LINK_BYTES
            words[unsigned(top) >> unsigned(3)] = target
            top += (target != 0) << 3  # no branch: half of all references of a tree are null
    stack.top = top
    log.totals[MARKED_OBJECTS] += marked
    log.totals[MARKED_BYTES] += granules << 4


@kernel
def mark_from_roots(machine, mutator, stack, log):
    """Mark all that can be reached from the program's roots; the bytes of what was marked."""
    roots, before = root_count(mutator), log.totals[MARKED_BYTES]
    for index in range(roots):
        address = root_at(mutator, index)
        if address:
            push(machine, stack, address)
            if stack.top == stack.limit:  # a chunk of roots at a time
                drain(machine, stack, log)
    drain(machine, stack, log)
    log.totals[SCANNED_ROOTS] += roots
    return log.totals[MARKED_BYTES] - before


@kernel
def own_memory(stack, blocks):
    """The chunk that is kept, as a row of `blocks` (start, bytes); the number of rows."""
    if not stack.chunk:
        return 0
    return write_row(blocks, 0, stack.chunk, CHUNK_BYTES)


@kernel
def metadata(heap, blocks):
    """The same for a heap whose only memory beside its objects is its `stack`."""
    return own_memory(heap.stack, blocks)


@kernel
def chunks(machine, stack, blocks):
    """Every chunk of a stack that is not empty, likewise."""
    rows, chunk = 0, stack.chunk
    while chunk:
        rows = write_row(blocks, rows, chunk, CHUNK_BYTES)
        chunk = load(machine, chunk)
    return rows


@kernel
def check(stack):
    """Whether the stack is empty and has at most one chunk, as between two collections."""
    return stack.chunk == 0 or stack.top == stack.chunk + LINK_BYTES
