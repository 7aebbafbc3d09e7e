"""The replay loop of managers with a collector; `bind` makes a copy of this file for each.

    replay   serves events at full speed and notes where resident memory peaked
    survey   serves the same events and, at its end, brings the ledger up to what lives where
    paged    serves them and tells which pages are used, for a memory limit: paging.py

    graph trace   NEW ─► new, the frame on top holds it      WRITE ─► write
                  HOLD, ROOT ─► rooted   POP, UNROOT ─► unrooted
                  FREE ─► the handle is dropped; the collector is not told
                  STEER ─► steer   TRACK ─► track   the kind of a NEW ─► expect, before new
                  REFER ─► declare, or write   GET ─► got
    malloc trace  an allocation ─► new, its handle a root    FREE ─► unrooted, the handle dropped
                  REALLOC ─► new; the old object is a root until the handle refers to the new one

Of a malloc trace nobody knows the references: each object lives as long as the program that freed
it by hand kept it, which no collector can better ("ideal liveness"; Hertz and Berger, OOPSLA 2005).

A collector may move every object between two events. So the ledger is not kept from event to
event: `survey` ends by entering anew what lies elsewhere now, at about a nanosecond a slot.

A program whose collector finds no room is dead: the loop stops there.
"""

import numpy as np

from heapwright.collectors import mutator as roots
from heapwright.collectors.log import CYCLES, EVENT, FULL, KIND
from heapwright.collectors.mutator import EVERY_HANDLE, LOCALS, hold
from heapwright.compiler import bare, kernel, unlikely, unsigned
from heapwright.machine import touch
from heapwright.machine.address_space import RESIDENT_PAGES, SPACE_BYTES
from heapwright.managers.textbook.semispace import manager
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    GET,
    HOLD,
    MALLOPT,
    NEW,
    POP,
    PUSH,
    REALLOC,
    REFER,
    ROOT,
    STEER,
    THREAD_EXIT,
    TRACK,
    UNROOT,
    WRITE,
)
from heapwright.trace.schema import TOUCH as WRITTEN
from heapwright.tunnel import questions
from heapwright.tunnel.graph_run import (
    LIVE_BYTES,
    NEXT,
    OUT_OF_MEMORY,
    PASSED_OVER,
    PEAK_EVENT,
    PEAK_PAGES,
    REFUSED,
    TOUCH,
    UNSOUND,
    no_references,
    no_tracking,
    nothing,
)
from heapwright.tunnel.graph_run import start as start  # noqa: PLC0414 given on
from heapwright.tunnel.ledger import add_up, enter_block
from heapwright.tunnel.paging import GROWTH, WHOLE_HEAP, note

COLUMNS = ("op", "slot", "size", "thread", "field", "target")  # of a trace, that are replayed

new, write, vacant = manager.new, manager.write, manager.vacant
usable, extent = manager.usable, manager.extent
cached, metadata = manager.cached, manager.metadata


TOLD_OF_KINDS, STEERED = hasattr(manager, "expect"), hasattr(manager, "steer")
expect = getattr(manager, "expect", nothing)
steer = getattr(manager, "steer", nothing)
track = getattr(manager, "track", no_tracking)
KNOWS_REFERENCES = hasattr(manager, "declare")
declare = getattr(manager, "declare", no_references)
got = getattr(manager, "got", nothing)
TOLD_OF_ROOTS = hasattr(manager, "unrooted")
rooted = getattr(manager, "rooted", nothing)
unrooted = getattr(manager, "unrooted", nothing)
thread_exit = getattr(manager, "thread_exit", nothing)


@kernel(inline=True)
def tell_rooted(heap, slot):
    """One more root, of an object that is still there."""
    if TOLD_OF_ROOTS:
        if heap.mutator.handles[unsigned(slot)]:
            rooted(heap, slot)


@kernel(inline=True)
def tell_unrooted(heap, slot):
    """One root less, of an object that is still there."""
    if TOLD_OF_ROOTS:
        if heap.mutator.handles[unsigned(slot)]:
            unrooted(heap, slot)


@kernel
def allocate(heap, run, thread, event, request):
    """A new object for (op, slot), (size, fields, kind); its address, 0 when there is no room."""
    op, slot = event
    size, fields, kind = request
    handles = run.objects.address
    old = handles[unsigned(slot)]
    if TOLD_OF_KINDS and kind >= 0:
        expect(heap, kind)
    address = new(heap, thread, slot, size, fields)
    if not address:
        run.progress[REFUSED] = OUT_OF_MEMORY
        return 0
    if op == NEW:
        hold(heap.mutator, slot)
    if TOLD_OF_ROOTS:  # such a manager moves nothing, so `old` is still good
        if old:
            handles[unsigned(slot)] = old
            unrooted(heap, slot)
            handles[unsigned(slot)] = address
        rooted(heap, slot)
    if op != CALLOC and size < run.progress[TOUCH]:
        touch(heap.machine, address, size)
    return address


@kernel(cold=True)
def written(heap, run, slot, size):
    """The program has written `size` bytes of an object, from its start on."""
    address = run.objects.address[unsigned(slot)]
    if address and size and run.progress[TOUCH]:
        size = min(size, usable(heap, address, size), SPACE_BYTES - address)
        touch(heap.machine, address, size)


@kernel
def leave(heap, result):
    """Leave the frame on top; the one below holds `result`, unless it is -1."""
    mutator = heap.mutator
    past = mutator.counts[LOCALS]
    roots.pop(mutator)
    first = mutator.counts[LOCALS]
    lowest = np.int64(mutator.locals[unsigned(first)]) if first < past else -1
    if result >= 0:  # takes the place of the lowest local
        hold(mutator, result)
        tell_rooted(heap, result)
    if TOLD_OF_ROOTS:
        if lowest >= 0:
            tell_unrooted(heap, lowest)
        for i in range(first + 1, past):
            tell_unrooted(heap, mutator.locals[unsigned(i)])


@kernel
def drop(heap, run, slot):
    """The object is dead. Of a malloc trace that is when its root goes."""
    if heap.mutator.counts[EVERY_HANDLE]:
        tell_unrooted(heap, slot)
    run.objects.address[unsigned(slot)] = 0


@kernel(cold=True)
def declared(heap, run, event, declaration):
    """What the program declares of a reference object or a finaliser, or says of its use."""
    op, slot = event
    kind, target = declaration
    if op == GET:
        got(heap, slot)
    elif not KNOWS_REFERENCES:
        if target >= 0:
            write(heap, slot, 0, target)
    elif not declare(heap, slot, target, kind):
        run.progress[REFUSED] = OUT_OF_MEMORY


@kernel(inline=True)
def step(heap, run, thread, event, request):
    """One event: (op, slot) and (size, field, target); the new object's address, 0 if none."""
    op, slot = event
    size, field, target = request
    mutator = heap.mutator
    if op == WRITE:
        if mutator.handles[unsigned(slot)]:
            write(heap, slot, field, target)
        else:
            run.progress[REFUSED] = UNSOUND
    elif op == FREE:
        drop(heap, run, slot)
    elif op == HOLD:
        hold(mutator, slot)
        tell_rooted(heap, slot)
    elif op == PUSH:
        roots.push(mutator)
    elif op == POP:
        leave(heap, slot)
    elif op == ROOT:
        roots.root(mutator, slot)
        tell_rooted(heap, slot)
    elif op == UNROOT:
        roots.unroot(mutator, slot)
        tell_unrooted(heap, slot)
    elif op == THREAD_EXIT:
        thread_exit(heap, thread)
    elif op == WRITTEN:
        written(heap, run, slot, size)
    elif op == TRACK:
        if mutator.handles[unsigned(slot)]:
            track(heap, slot, size)
    elif op in (REFER, GET):
        if mutator.handles[unsigned(slot)]:
            declared(heap, run, event, (size, target))
    elif op >= MALLOPT:
        run.progress[PASSED_OVER] += op != STEER or not STEERED
        if op == STEER:
            steer(heap, size)
    elif slot >= 0:  # else the real system refused
        return allocate(heap, run, thread, event, request)
    return 0


@kernel
def replay(heap, run, events):
    """Replay `events` at full speed, noting the peak of resident memory."""
    heap, run = bare(heap), bare(run)
    meters, progress = heap.machine.meters, run.progress
    threaded = len(events.thread) > 0
    fielded, targeted = len(events.field) > 0, len(events.target) > 0
    peak, first = progress[PEAK_PAGES], progress[NEXT]
    for row in range(len(events.op)):
        i = unsigned(row)
        thread = np.int64(events.thread[i]) if threaded else 0
        field = np.int64(events.field[i]) if fielded else 0
        target = np.int64(events.target[i]) if targeted else -1
        heap.log.totals[EVENT] = first + row
        event = (np.int64(events.op[i]), np.int64(events.slot[i]))
        step(heap, run, thread, event, (events.size[i], field, target))
        if meters[RESIDENT_PAGES] > peak:
            peak = meters[RESIDENT_PAGES]
            progress[PEAK_PAGES], progress[PEAK_EVENT] = peak, first + row
        if unlikely(progress[REFUSED]):
            progress[NEXT] = first + row
            return
    progress[NEXT] = first + len(events.op)


@kernel
def survey(heap, run, events, ledger, placed):
    """Replay `events`, bring the ledger up to date; with room in `placed`, int64[event, 2], write
    each new object's address and usable size there (0, 0 for an event without one)."""
    heap, run = bare(heap), bare(run)
    objects, progress = run.objects, run.progress
    first = progress[NEXT]
    for row in range(len(events.op)):
        i = unsigned(row)
        thread = np.int64(events.thread[i]) if len(events.thread) else 0
        field = np.int64(events.field[i]) if len(events.field) else 0
        target = np.int64(events.target[i]) if len(events.target) else -1
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op in (FREE, REALLOC):
            progress[LIVE_BYTES] -= objects.size[unsigned(slot)]
        heap.log.totals[EVENT] = first + row
        address = step(heap, run, thread, (op, slot), (size, field, target))
        if progress[REFUSED]:
            break
        if address:
            take_off(ledger, run, slot)  # what the slot held: its block may be another's now
            objects.size[unsigned(slot)] = size
            progress[LIVE_BYTES] += size
        if len(placed):
            placed[i, 0] = address
            placed[i, 1] = usable(heap, address, size) if address else 0
        progress[NEXT] += 1
    settle(heap, run, ledger)


@kernel
def paged(heap, run, events, first, log):
    """As `loop.paged`: rows (events, of the log) that are done."""
    heap, run = bare(heap), bare(run)
    objects, progress, meters = run.objects, run.progress, heap.machine.meters
    began, told, i, totals = meters[RESIDENT_PAGES], 0, first, heap.log.totals
    while i < len(events.op) and told < len(log) - 2:
        thread = np.int64(events.thread[i]) if len(events.thread) else 0
        field = np.int64(events.field[i]) if len(events.field) else 0
        target = np.int64(events.target[i]) if len(events.target) else -1
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        held, cycles, totals[EVENT] = meters[RESIDENT_PAGES], totals[CYCLES], progress[NEXT]
        address = step(heap, run, thread, (op, slot), (size, field, target))
        if totals[CYCLES] != cycles and totals[KIND] == FULL:
            told = note(log, told, progress[NEXT], WHOLE_HEAP, 0)
        if address:
            objects.size[unsigned(slot)] = size
        elif op in (WRITE, WRITTEN):
            address = objects.address[unsigned(slot)]
        if address:
            room = usable(heap, address, objects.size[unsigned(slot)])
            used = min(size, room) if op == WRITTEN else objects.size[unsigned(slot)]
            told = note(log, told, progress[NEXT], address, used)
        if progress[REFUSED]:
            break
        progress[NEXT] += 1
        i += 1
        if totals[CYCLES] != cycles or not held <= meters[RESIDENT_PAGES] < began + GROWTH:
            break
    return i, told


@kernel
def take_off(ledger, run, slot):
    """Take the object that was entered for `slot`, if any, off the ledger."""
    entered, block, i = run.entered, run.block, slot * 4
    address = entered[unsigned(slot)]
    if address:
        user = address, block[unsigned(i + 2)], block[unsigned(i + 3)]
        enter_block(ledger, (block[unsigned(i)], block[unsigned(i + 1)]), user, -1)
        entered[unsigned(slot)] = 0


@kernel
def settle(heap, run, ledger):
    """Enter each live object where it lies now."""
    objects, entered, block = run.objects, run.entered, run.block
    for slot in range(heap.mutator.counts[roots.SLOTS]):
        address = objects.address[unsigned(slot)]
        if entered[unsigned(slot)] == address:
            continue
        take_off(ledger, run, slot)
        if address:
            size, i = objects.size[unsigned(slot)], slot * 4
            begin, length = extent(heap, address, size)
            room = usable(heap, address, size)
            enter_block(ledger, (begin, length), (address, size, room), 1)
            entered[unsigned(slot)] = address
            block[unsigned(i)], block[unsigned(i + 1)] = begin, length
            block[unsigned(i + 2)], block[unsigned(i + 3)] = size, room


@kernel
def decompose(heap, ledger, sample):
    """Say what each resident byte is; `sample` int64[SAMPLE_COLUMNS] is written.

    Returns 0, or the number of rows that `ledger.blocks` must have: enlarge it and call again.
    """
    heap = bare(heap)
    kept = cached(heap, ledger.blocks)
    own = metadata(heap, ledger.blocks[kept:])
    free = vacant(heap, ledger.blocks[kept + own :])
    if kept + own + free > len(ledger.blocks):
        return kept + own + free
    add_up(heap.machine, ledger, (kept, own, free), 1, sample)
    return 0


@kernel
def collect(heap):
    """A full collection between two events."""
    manager.collect(bare(heap))


@kernel
def asked(heap, run, events, account, question):
    """As `loop.asked`."""
    heap, run = bare(heap), bare(run)
    ledger, rows, sample = account
    if question == questions.BROKEN:
        return manager.check(heap)
    if question == questions.PARTS:
        return decompose(heap, ledger, sample)
    if question == questions.COLLECT:
        manager.collect(heap)
    elif question == questions.CACHED:
        return cached(heap, rows)
    elif question == questions.METADATA:
        return metadata(heap, rows)
    elif question == questions.VACANT:
        return vacant(heap, rows)
    elif question == questions.EXTENTS:
        for i in range(len(rows)):
            address, size = rows[i, 0], rows[i, 1]
            rows[i, 2], rows[i, 3] = extent(heap, address, size)
            rows[i, 4] = usable(heap, address, size)
    else:
        survey(heap, run, events, ledger, rows)
    return 0
