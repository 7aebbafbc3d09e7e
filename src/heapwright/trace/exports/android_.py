"""Android's memory_replay text (importers/android.py): an address is made from the slot."""

from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.exports.digits import (
    NUMBER_BYTES,
    put_decimal,
    put_hexadecimal,
    put_word,
    word_table,
)
from heapwright.trace.schema import CALLOC, FREE, MALLOPT, MEMALIGN, REALLOC, THREAD_EXIT, TOUCH
from heapwright.trace.store import Trace

SUMMARY = "Android memory_replay text: the malloc family and threads"
BASE = 1 << 28  # address of slot 0
FIRST_THREAD = 100  # id of thread 0
LINE_BYTES = 5 * NUMBER_BYTES + 20
WORDS = word_table("free ", "malloc ", "calloc ", "realloc ", "memalign ", "thread_done ")


def export(trace: Trace, file: BinaryIO, advance: Callable[[float], None]) -> list[str]:
    """Write the trace; returns what was lost."""
    lost, ended = np.zeros(4, np.int64), np.zeros(trace.threads, np.uint8)
    for batch in trace.batches(("op", "slot", "size", "align", "thread")):
        text = np.empty(LINE_BYTES * len(batch.op), np.uint8)
        file.write(memoryview(text[: write_lines(batch, text, ended, WORDS, lost)]))
        advance(len(batch.op))
    losses = []
    if lost[0]:
        losses.append(f"memory_replay knows no refused requests, left out: {lost[0]:,}")
    if lost[1]:
        losses.append(
            "events of threads that had ended, which memory_replay takes for new threads: "
            f"{lost[1]:,}"
        )
    if lost[2]:
        losses.append(
            f"memory_replay knows no calls of mallopt, malloc_trim and sbrk, left out: {lost[2]:,}"
        )
    if lost[3]:
        losses.append(f"memory_replay does not know what was written, left out: {lost[3]:,}")
    if "site" in trace.columns:
        losses.append("memory_replay knows no call sites")
    return losses


@kernel
def write_lines(events, text, ended, words, lost):
    """Write a line per event that was not refused; returns the bytes written."""
    at = 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        thread = np.int64(events.thread[i]) if len(events.thread) else np.int64(0)
        if op == TOUCH:
            lost[3] += 1
            continue
        if op != THREAD_EXIT and slot < 0:
            lost[2 if op >= MALLOPT else 0] += 1
            continue
        lost[1] += ended[unsigned(thread)]
        at = put_decimal(text, at, thread + FIRST_THREAD)
        text[unsigned(at)], text[unsigned(at + 1)] = 58, 32
        at = put_word(text, at + 2, words, op)
        if op == THREAD_EXIT:
            ended[unsigned(thread)] = 1
        address = np.int64(0) if op == THREAD_EXIT else BASE + 16 * slot
        at = put_hexadecimal(text, at, address)
        if op == CALLOC:
            text[unsigned(at)], text[unsigned(at + 1)] = 32, 49  # one object of this size
            at += 2
        elif op == REALLOC:
            text[unsigned(at)] = 32
            at = put_hexadecimal(text, at + 1, address)
        elif op == MEMALIGN:
            text[unsigned(at)] = 32
            log2 = np.int64(events.align[i]) if len(events.align) else np.int64(0)
            at = put_decimal(text, at + 1, np.int64(1) << log2)
        if op not in (FREE, THREAD_EXIT):
            text[unsigned(at)] = 32
            at = put_decimal(text, at + 1, size)
        text[unsigned(at)] = 10
        at += 1
    return at
