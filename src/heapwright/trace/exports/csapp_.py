"""The malloc lab's format (importers/csapp.py): a slot is the object's id."""

from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.exports.digits import NUMBER_BYTES, put_decimal
from heapwright.trace.schema import CALLOC, FREE, MALLOPT, MEMALIGN, REALLOC, THREAD_EXIT, TOUCH
from heapwright.trace.store import Trace

SUMMARY = "the CS:APP malloc lab's .rep: malloc, realloc and free only"
LINE_BYTES = 2 * NUMBER_BYTES + 4
HEAP_BYTES = 20_000_000  # the size that the lab's own traces suggest, unread by its driver

# Rows of `lost`
(CALLOCS, ALIGNED, REFUSED, EXITS, ZERO_REALLOCS, STEERING, TOUCHES, LOST) = range(8)


def export(trace: Trace, file: BinaryIO, advance: Callable[[float], None]) -> list[str]:
    """Write the trace; returns what was lost."""
    operations = trace.allocations + trace.reallocations + trace.frees
    file.write(f"{HEAP_BYTES}\n{trace.slots}\n{operations}\n1\n".encode())
    lost = np.zeros(LOST, np.int64)
    for batch in trace.batches(("op", "slot", "size")):
        text = np.empty(LINE_BYTES * len(batch.op), np.uint8)
        file.write(memoryview(text[: write_lines(batch, text, lost)]))
        advance(len(batch.op))
    told = (
        (CALLOCS, "callocs, written as mallocs"),
        (ALIGNED, "aligned requests, written as mallocs"),
        (REFUSED, "refused requests, left out"),
        (EXITS, "ends of threads, left out"),
        (STEERING, "calls of mallopt, malloc_trim and sbrk, left out"),
        (TOUCHES, "what was written of large blocks, left out"),
        (ZERO_REALLOCS, "reallocs to 0 bytes, written as 1 byte: the lab's would free"),
    )
    losses = [
        f"the lab's format cannot hold {what}: {lost[row]:,}" for row, what in told if lost[row]
    ]
    if trace.threads > 1:
        losses.append(f"the lab's format has no threads: {trace.threads:,} became one")
    return losses


@kernel
def write_lines(events, text, lost):
    """Write a line per event it can hold; returns the bytes written."""
    at = 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op == TOUCH:
            lost[TOUCHES] += 1
            continue
        if op == THREAD_EXIT or slot < 0:
            if op >= MALLOPT:
                lost[STEERING] += 1
            else:
                lost[EXITS if op == THREAD_EXIT else REFUSED] += 1
            continue
        lost[CALLOCS] += op == CALLOC
        lost[ALIGNED] += op == MEMALIGN
        letter = 97
        if op == FREE:
            letter = 102
        elif op == REALLOC:
            letter = 114
            if size == 0:
                lost[ZERO_REALLOCS] += 1
                size = np.int64(1)
        text[unsigned(at)], text[unsigned(at + 1)] = letter, 32
        at = put_decimal(text, at + 2, slot)
        if op != FREE:
            text[unsigned(at)] = 32
            at = put_decimal(text, at + 1, size)
        text[unsigned(at)] = 10
        at += 1
    return at
