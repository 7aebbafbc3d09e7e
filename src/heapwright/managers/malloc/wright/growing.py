"""wright's tables grow with its heap, so that a process has address space for what it uses alone.

    page map, dirty, signed a step for each STEP_BYTES of the heap: before the heap grows
    spans                   SPANS_STEP records at a time
    rows                    a step for each ROWS_STEP threads: before a thread's first request

Invariant  the heap's end lies below REACHED of each table by address, with a page to spare; records
           and rows in use lie below theirs
"""

from heapwright.compiler import kernel
from heapwright.machine.tables import extend_table
from heapwright.managers.malloc.wright.classes import PAGE_BYTES, PAGE_SHIFT
from heapwright.managers.malloc.wright.state import (
    HEAP_BYTES,
    MOST_SPANS,
    MOST_THREADS,
    REACHED_DIRTY,
    REACHED_MAP,
    REACHED_SIGNED,
    ROW_SHIFT,
    ROWS,
    SPAN_SHIFT,
    SPANS,
)

STEP_BYTES = 128 << 20  # of the heap: a page of Linux of the table of dirty pages
SPANS_STEP = 4096
ROWS_STEP = 8
MAP_SHIFT = PAGE_SHIFT - 2  # bytes of the heap to a byte of each table
DIRTY_SHIFT = PAGE_SHIFT + 5 - 3
SIGNED_SHIFT = DIRTY_SHIFT
GROWING = {  # arrays of which flight maps so many bytes at the start: the first steps
    "page_map": STEP_BYTES >> MAP_SHIFT,
    "dirty": STEP_BYTES >> DIRTY_SHIFT,
    "signed": STEP_BYTES >> SIGNED_SHIFT,
    "spans": SPANS_STEP << (SPAN_SHIFT + 3),
    "rows": ROWS_STEP << (ROW_SHIFT + 3),
}


def begin(heap):
    """Say what is there at the start."""
    heap.fields[REACHED_MAP] = heap.fields[REACHED_DIRTY] = STEP_BYTES
    heap.fields[REACHED_SIGNED] = STEP_BYTES
    heap.fields[SPANS], heap.fields[ROWS] = SPANS_STEP, ROWS_STEP


@kernel(cold=True)
def reach(heap, end):
    """Make room in the tables for a heap that ends at `end`; whether there was."""
    fields = heap.fields
    past = (end + PAGE_BYTES + STEP_BYTES) & -STEP_BYTES
    if past > HEAP_BYTES:
        return False
    if fields[REACHED_MAP] < past:
        if not extend_table(heap.page_map, fields[REACHED_MAP] >> MAP_SHIFT, past >> MAP_SHIFT):
            return False
        fields[REACHED_MAP] = past
    if fields[REACHED_DIRTY] < past:
        if not extend_table(heap.dirty, fields[REACHED_DIRTY] >> DIRTY_SHIFT, past >> DIRTY_SHIFT):
            return False
        fields[REACHED_DIRTY] = past
    if heap.guarded[0] and fields[REACHED_SIGNED] < past:
        have = fields[REACHED_SIGNED] >> SIGNED_SHIFT
        if not extend_table(heap.signed, have, past >> SIGNED_SHIFT):
            return False
        fields[REACHED_SIGNED] = past
    return True


@kernel(cold=True)
def more_spans(heap):
    """Make room for more records; whether there was."""
    have = heap.fields[SPANS]
    past, shift = have + SPANS_STEP, SPAN_SHIFT + 3
    if past > MOST_SPANS or not extend_table(heap.spans, have << shift, past << shift):
        return False
    heap.fields[SPANS] = past
    return True


@kernel(cold=True)
def more_rows(heap, thread):
    """Make room for the row of a thread; whether there was. One thread at a time."""
    fields, shift = heap.fields, ROW_SHIFT + 3
    while fields[ROWS] <= thread + 1:  # row 0 is nobody's
        past = fields[ROWS] + ROWS_STEP
        if past > MOST_THREADS or not extend_table(heap.rows, fields[ROWS] << shift, past << shift):
            return False
        fields[ROWS] = past
    return True
