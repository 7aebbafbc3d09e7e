"""The replay loop, written once; `bind` makes a copy of this file for each manager.

    replay   flies events at full speed and notes where resident memory peaked
    survey   flies the same events and keeps a ledger of every page, for `decompose`

This file is bound to the linear manager; in a copy the import below names another one.
"""

from typing import NamedTuple

import numpy as np

from heapwright.kernel import bare, kernel, unsigned
from heapwright.machine import PAGE_BYTES, clear, copy, touch
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    LOWEST_MAPPED,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
    RESIDENT_PAGES,
)
from heapwright.managers import linear as manager
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC

MIN_ALIGN = 16  # bytes; alignof(max_align_t), what malloc promises

alloc, free, usable = manager.alloc, manager.free, manager.usable
extent, cached, metadata = manager.extent, manager.cached, manager.metadata


class Objects(NamedTuple):
    """Where each live object of the trace lies."""

    address: np.ndarray  # int64[slot]; 0 when dead or refused
    size: np.ndarray  # int64[slot], bytes requested; kept by `survey` only


class Run(NamedTuple):
    """The state of a replay between batches."""

    objects: Objects
    progress: np.ndarray  # int64[PROGRESS]


# Run.progress
(
    NEXT,  # events flown
    PEAK_PAGES,  # most resident pages at the end of an event
    PEAK_EVENT,  # the first event that reached it
    REFUSED,  # requests that the manager refused though the real system did not
    TOUCH,  # setting: 1 when the program writes every page it allocates
    LIVE_BYTES,  # bytes requested by live objects; kept by `survey` only
    PROGRESS,
) = range(7)


@kernel
def calloc_by_clearing(heap, thread, size):
    """calloc for a manager that does not know which memory is fresh: it clears all."""
    address = alloc(heap, thread, size, MIN_ALIGN)
    if address:
        clear(heap.machine, address, size)
    return address


@kernel
def realloc_by_copying(heap, thread, address, size):
    """realloc that keeps a block with room, and otherwise allocates, copies and frees."""
    room = usable(heap, address, 0)
    if size <= room and size * 2 >= room:
        return address
    moved = alloc(heap, thread, size, MIN_ALIGN)
    if moved:
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def no_thread_exit(heap, thread):
    """For a manager that keeps nothing per thread."""


calloc = getattr(manager, "calloc", calloc_by_clearing)
realloc = getattr(manager, "realloc", realloc_by_copying)
thread_exit = getattr(manager, "thread_exit", no_thread_exit)


@kernel(inline=True)
def step(heap, run, thread, event, request):
    """Fly one event: (op, slot) and (size, log2 of alignment); the object's address, 0 if none."""
    op, slot = event
    size, align = request
    addresses = run.objects.address
    if op == FREE:
        address = addresses[unsigned(slot)]
        if address:
            free(heap, thread, address)
            addresses[unsigned(slot)] = 0
        return 0
    if op == MALLOC:
        address = alloc(heap, thread, size, MIN_ALIGN)
    elif op == CALLOC:
        address = calloc(heap, thread, size)
    elif op == REALLOC:
        old = addresses[unsigned(slot)]
        if old:
            address = realloc(heap, thread, old, size)
        else:  # refused before, though the real system gave it
            address = alloc(heap, thread, size, MIN_ALIGN)
        if not address:
            run.progress[REFUSED] += 1
            return old
    elif op == MEMALIGN:
        address = alloc(heap, thread, size, max(MIN_ALIGN, 1 << align))
    else:
        thread_exit(heap, thread)
        return 0
    if slot < 0:  # the real system refused
        if address:
            free(heap, thread, address)
        return 0
    addresses[unsigned(slot)] = address
    if not address:
        run.progress[REFUSED] += 1
    elif op != CALLOC and run.progress[TOUCH]:
        touch(heap.machine, address, size)
    return address


@kernel
def replay(heap, run, events):
    """Fly `events` at full speed, noting the peak of resident memory."""
    heap, run = bare(heap), bare(run)
    meters, progress = heap.machine.meters, run.progress
    aligned, threaded = len(events.align) > 0, len(events.thread) > 0
    peak, first = progress[PEAK_PAGES], progress[NEXT]
    for row in range(len(events.op)):
        i = unsigned(row)
        align = np.int64(events.align[i]) if aligned else 0
        thread = np.int64(events.thread[i]) if threaded else 0
        event = (np.int64(events.op[i]), np.int64(events.slot[i]))
        step(heap, run, thread, event, (events.size[i], align))
        if meters[RESIDENT_PAGES] > peak:
            peak = meters[RESIDENT_PAGES]
            progress[PEAK_PAGES], progress[PEAK_EVENT] = peak, first + row
    progress[NEXT] = first + len(events.op)


class Ledger(NamedTuple):
    """What each page holds; a page's parts never exceed PAGE_BYTES."""

    live: np.ndarray  # int16[page], bytes requested by live objects
    rounding: np.ndarray  # int16[page], bytes usable but not requested
    header: np.ndarray  # int16[page], the rest of live blocks, and the manager's own memory
    cached: np.ndarray  # int16[page], free blocks in caches; filled and cleared by `decompose`
    blocks: np.ndarray  # int64[row, 2], room for the rows of `cached` and `metadata`


@kernel
def enter(column, start, length, sign):
    """Add `length` bytes from `start` to the pages of `column`, or take them off (sign -1)."""
    while length > 0:
        part = min(length, PAGE_BYTES - (start & (PAGE_BYTES - 1)))
        column[unsigned(start >> PAGE_SHIFT)] += sign * part
        start += part
        length -= part


@kernel
def enter_object(heap, ledger, address, size, sign):
    """Enter one live object and its block in the ledger, or take them off."""
    start, length = extent(heap, address, size)
    room = usable(heap, address, size)
    enter(ledger.live, address, size, sign)
    enter(ledger.rounding, address + size, room - size, sign)
    enter(ledger.header, start, address - start, sign)
    enter(ledger.header, address + room, start + length - address - room, sign)


@kernel
def survey(heap, run, events, ledger, placed):
    """Fly `events` and keep the ledger; with room in `placed`, int64[event, 2], write each
    object's address and usable size there (0, 0 for an event without an object)."""
    heap, run = bare(heap), bare(run)
    objects, progress = run.objects, run.progress
    aligned, threaded = len(events.align) > 0, len(events.thread) > 0
    for i in range(len(events.op)):
        align = np.int64(events.align[i]) if aligned else 0
        thread = np.int64(events.thread[i]) if threaded else 0
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op in (FREE, REALLOC) and objects.address[slot]:
            enter_object(heap, ledger, objects.address[slot], objects.size[slot], -1)
            progress[LIVE_BYTES] -= objects.size[slot]
        refused = progress[REFUSED]
        address = step(heap, run, thread, (op, slot), (size, align))
        if address:
            if progress[REFUSED] == refused:
                objects.size[slot] = size
            enter_object(heap, ledger, address, objects.size[slot], 1)
            progress[LIVE_BYTES] += objects.size[slot]
        if len(placed):
            placed[i, 0] = address
            placed[i, 1] = usable(heap, address, objects.size[slot]) if address else 0
    progress[NEXT] += len(events.op)


# A sample's columns. The parts after RESIDENT_BYTES sum to it exactly.
(
    SAMPLE_EVENT,
    MAPPED,
    RESIDENT_BYTES,
    LIVE,
    ROUNDING,
    HEADER,
    CACHED,
    PARTIAL,
    RETAINED,
    GARBAGE,
    SAMPLE_COLUMNS,
) = range(11)


@kernel
def decompose(heap, ledger, sample):
    """Say what each resident byte is; `sample` int64[SAMPLE_COLUMNS] is written.

    Returns 0, or the number of rows that `ledger.blocks` lacks: enlarge it and call again.
    A free byte is partial when its page holds a live byte, else retained.
    """
    heap = bare(heap)
    rows = cached(heap, ledger.blocks)
    if rows > len(ledger.blocks):
        return rows
    for row in range(rows):
        enter(ledger.cached, ledger.blocks[row, 0], ledger.blocks[row, 1], 1)
    own = metadata(heap, ledger.blocks[rows:])
    if rows + own <= len(ledger.blocks):
        for row in range(rows, rows + own):
            enter(ledger.header, ledger.blocks[row, 0], ledger.blocks[row, 1], 1)
        sample[RESIDENT_BYTES:] = 0
        meters = heap.machine.meters
        top = (meters[BREAK] + PAGE_BYTES - 1) >> PAGE_SHIFT
        _add_pages(heap, ledger, sample, BREAK_BASE >> PAGE_SHIFT, top)
        lowest = meters[LOWEST_MAPPED] >> PAGE_SHIFT
        _add_pages(heap, ledger, sample, lowest, MAPPED_TOP >> PAGE_SHIFT)
        for row in range(rows, rows + own):
            enter(ledger.header, ledger.blocks[row, 0], ledger.blocks[row, 1], -1)
    for row in range(rows):
        enter(ledger.cached, ledger.blocks[row, 0], ledger.blocks[row, 1], -1)
    return rows + own if rows + own > len(ledger.blocks) else 0


@kernel
def _add_pages(heap, ledger, sample, first, past):
    """Add the resident pages of [first, past) to the sample."""
    for number in range(first, past):
        page = unsigned(number)
        if not heap.machine.pages[page] & RESIDENT:
            continue
        live, rounding = np.int64(ledger.live[page]), np.int64(ledger.rounding[page])
        header, kept = np.int64(ledger.header[page]), np.int64(ledger.cached[page])
        unused = PAGE_BYTES - live - rounding - header - kept
        sample[RESIDENT_BYTES] += PAGE_BYTES
        sample[LIVE] += live
        sample[ROUNDING] += rounding
        sample[HEADER] += header
        sample[CACHED] += kept
        if live:
            sample[PARTIAL] += unused
        else:
            sample[RETAINED] += unused
