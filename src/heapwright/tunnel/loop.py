"""The replay loop, written once; `bind` makes a copy of this file for each manager.

    replay   serves events at full speed and notes where resident memory peaked
    survey   serves the same events and keeps a ledger of every page, for `decompose`
    paged    serves them and tells which pages are used, for a memory limit: paging.py

A graph trace too: NEW allocates, FREE, the oracle's word that nothing refers to the object
any longer, frees, and what happens between objects is no business of malloc's. It is the
explicitly freeing program of Hertz and Berger (OOPSLA 2005, section 3).

This file is bound to the linear manager; in a copy the import below names another one.
"""

import numpy as np

from heapwright.compiler import bare, kernel, unsigned
from heapwright.machine import clear, copy, touch
from heapwright.machine.address_space import RESIDENT_PAGES, SPACE_BYTES, SYSCALLS, TIME_NS
from heapwright.managers.textbook.linear import manager
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MALLOPT,
    MEMALIGN,
    NEW,
    OBJECT,
    REALLOC,
    SBRK,
    THREAD_EXIT,
    TRIM,
)
from heapwright.trace.schema import TOUCH as WRITTEN
from heapwright.tunnel import questions
from heapwright.tunnel.ledger import add_up, enter_block
from heapwright.tunnel.malloc_run import (
    LIVE_BYTES,
    NEXT,
    PASSED_OVER,
    PEAK_EVENT,
    PEAK_PAGES,
    REFUSED,
    STEP_NS,
    TOUCH,
)
from heapwright.tunnel.malloc_run import start as start  # noqa: PLC0414 given on
from heapwright.tunnel.paging import GROWTH, note

MIN_ALIGN = 16  # bytes; alignof(max_align_t), what malloc promises

COLUMNS = ("op", "slot", "size", "align", "thread")  # of a trace, that are replayed
BY_DOMAIN = hasattr(manager, "alloc_in")  # it asks in which of Python's domains a request is made,
BY_DOOR = hasattr(manager, "DOORS")  # or by which door of the kernel
COLUMNS += ("field",) if BY_DOOR else ("domain",) if BY_DOMAIN else ()
CLOCKED = getattr(manager, "CLOCKED", False)  # it asks the machine for the time
COLUMNS += ("time_ns",) if CLOCKED else ()

alloc, free, usable = manager.alloc, manager.free, manager.usable
extent, cached, metadata = manager.extent, manager.cached, manager.metadata


if BY_DOOR:

    @kernel(inline=True)
    def whom(events, row):
        """By which door a request came."""
        return np.int64(events.field[unsigned(row)]) if len(events.field) else 0

else:

    @kernel(inline=True)
    def whom(events, row):
        """In which domain a request was made."""
        return np.int64(events.domain[unsigned(row)]) if len(events.domain) else OBJECT


@kernel(inline=True)
def alloc_whatever_domain(heap, thread, size, align, domain):
    """alloc for a manager to which all requests are alike."""
    return alloc(heap, thread, size, align)


alloc_in = getattr(manager, "alloc_in", alloc_whatever_domain)


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


@kernel(inline=True)
def calloc_whatever_domain(heap, thread, size, domain):
    """calloc likewise."""
    return calloc(heap, thread, size)


calloc_in = getattr(manager, "calloc_in", calloc_whatever_domain)
realloc = getattr(manager, "realloc", realloc_by_copying)
thread_exit = getattr(manager, "thread_exit", no_thread_exit)


@kernel
def nothing_to_trim(heap, pad):
    """For a manager that does not know malloc_trim."""
    return 0


@kernel
def nothing_to_empty(heap, thread):
    """For a manager whose threads keep nothing, or whose `trim` sees to it."""


@kernel
def nothing_to_set(heap, parameter, value):
    """For a manager that does not know mallopt."""


@kernel
def nothing_to_move(heap, increment):
    """For a manager to which the program's own break is nothing."""


trim = getattr(manager, "trim", nothing_to_trim)
empty_thread = getattr(manager, "empty_thread", nothing_to_empty)
mallopt = getattr(manager, "mallopt", nothing_to_set)
move_break = getattr(manager, "move_break", nothing_to_move)
TRIMS, SETS = hasattr(manager, "trim"), hasattr(manager, "mallopt")
MOVES = hasattr(manager, "move_break")


@kernel(cold=True)
def steer(heap, run, thread, op, operand):
    """What the program does to its allocator; see `schema` for the operand."""
    known = False
    if op == TRIM:
        known = TRIMS
        empty_thread(heap, thread)
        trim(heap, operand)
    elif op == MALLOPT:
        known = SETS
        parameter = ((operand >> 32) ^ (1 << 15)) - (1 << 15)
        mallopt(heap, parameter, ((operand & 0xFFFFFFFF) ^ (1 << 31)) - (1 << 31))
    elif op == SBRK:
        known = MOVES
        move_break(heap, (operand ^ (1 << 47)) - (1 << 47))
    if not known:
        run.progress[PASSED_OVER] += 1


@kernel(cold=True)
def written(heap, run, slot, size):
    """The program has written `size` bytes of an object, from its start on."""
    address = run.objects.address[unsigned(slot)]
    if address and size and run.progress[TOUCH]:
        size = min(size, usable(heap, address, size), SPACE_BYTES - address)
        touch(heap.machine, address, size)


@kernel(inline=True)
def tell_time(heap, run, events, row, number):
    """Set the machine's clock to the time of an event, which is the trace's so many-th."""
    meters = heap.machine.meters
    time = number * run.progress[STEP_NS]
    if len(events.time_ns):
        time = events.time_ns[unsigned(row)]
    meters[TIME_NS] = max(meters[TIME_NS], time)


@kernel(inline=True)
def step(heap, run, thread, event, request):
    """One event: (op, slot) and (size, log2 of alignment, domain); the object's address, 0 if
    none."""
    op, slot = event
    size, align, domain = request
    addresses = run.objects.address
    if op == FREE:
        address = addresses[unsigned(slot)]
        if address:
            free(heap, thread, address)
            addresses[unsigned(slot)] = 0
        return 0
    if op in (MALLOC, NEW):
        address = alloc_in(heap, thread, size, MIN_ALIGN, domain)
    elif op == CALLOC:
        address = calloc_in(heap, thread, size, domain)
    elif op == REALLOC:
        old = addresses[unsigned(slot)]
        if old:  # only a Python's is to 0 bytes
            address = realloc(heap, thread, old, size if BY_DOMAIN else max(size, 1))
        else:  # refused before, though the real system gave it
            address = alloc_in(heap, thread, size, MIN_ALIGN, domain)
        if not address:
            run.progress[REFUSED] += 1
            return old
    elif op == MEMALIGN:
        address = alloc_in(heap, thread, size, max(MIN_ALIGN, 1 << align), domain)
    else:
        if op == THREAD_EXIT:
            thread_exit(heap, thread)
        elif op == WRITTEN:
            written(heap, run, slot, size)
        elif MALLOPT <= op <= SBRK:
            steer(heap, run, thread, op, size)
        return 0
    if slot < 0:  # the real system refused
        if address:
            free(heap, thread, address)
        return 0
    addresses[unsigned(slot)] = address
    if not address:
        run.progress[REFUSED] += 1
    elif op != CALLOC and size < run.progress[TOUCH]:
        touch(heap.machine, address, size)
    return address


@kernel
def replay(heap, run, events):
    """Replay `events` at full speed, noting the peak of resident memory."""
    heap, run = bare(heap), bare(run)
    meters, progress = heap.machine.meters, run.progress
    aligned, threaded = len(events.align) > 0, len(events.thread) > 0
    peak, first = progress[PEAK_PAGES], progress[NEXT]
    for row in range(len(events.op)):
        i = unsigned(row)
        align = np.int64(events.align[i]) if aligned else 0
        thread = np.int64(events.thread[i]) if threaded else 0
        domain = whom(events, row)
        event = (np.int64(events.op[i]), np.int64(events.slot[i]))
        if CLOCKED:
            tell_time(heap, run, events, row, first + row)
        step(heap, run, thread, event, (events.size[i], align, domain))
        if meters[RESIDENT_PAGES] > peak:
            peak = meters[RESIDENT_PAGES]
            progress[PEAK_PAGES], progress[PEAK_EVENT] = peak, first + row
    progress[NEXT] = first + len(events.op)


@kernel
def enter_object(heap, ledger, address, size, sign):
    """Enter one live object and its block in the ledger, or take them off."""
    user = address, size, usable(heap, address, size)
    enter_block(ledger, extent(heap, address, size), user, sign)


@kernel
def survey(heap, run, events, ledger, placed):
    """Replay `events` and keep the ledger; with room in `placed`, int64[event, 2], write each
    object's address and usable size there (0, 0 for an event without an object)."""
    heap, run = bare(heap), bare(run)
    objects, progress = run.objects, run.progress
    aligned, threaded = len(events.align) > 0, len(events.thread) > 0
    for i in range(len(events.op)):
        align = np.int64(events.align[i]) if aligned else 0
        thread = np.int64(events.thread[i]) if threaded else 0
        domain = whom(events, i)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        if op in (FREE, REALLOC) and objects.address[slot]:
            enter_object(heap, ledger, objects.address[slot], objects.size[slot], -1)
            progress[LIVE_BYTES] -= objects.size[slot]
        refused = progress[REFUSED]
        if CLOCKED:
            tell_time(heap, run, events, i, progress[NEXT] + i)
        address = step(heap, run, thread, (op, slot), (size, align, domain))
        if address:
            if progress[REFUSED] == refused:
                objects.size[slot] = size
            enter_object(heap, ledger, address, objects.size[slot], 1)
            progress[LIVE_BYTES] += objects.size[slot]
        if len(placed):
            placed[i, 0] = address
            placed[i, 1] = usable(heap, address, objects.size[slot]) if address else 0
    progress[NEXT] += len(events.op)


@kernel
def paged(heap, run, events, first, log):
    """Replay `events` from row `first` on, writing what is used into `log` (see paging.py), until
    it is full or the manager's memory has changed; rows (events, of the log) that are done."""
    heap, run = bare(heap), bare(run)
    objects, progress, meters = run.objects, run.progress, heap.machine.meters
    began, told, i = meters[RESIDENT_PAGES], 0, first
    while i < len(events.op) and told < len(log) - 2:
        align = np.int64(events.align[i]) if len(events.align) else 0
        thread = np.int64(events.thread[i]) if len(events.thread) else 0
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        syscalls, refused, held = meters[SYSCALLS], progress[REFUSED], meters[RESIDENT_PAGES]
        if op in (FREE, REALLOC) and objects.address[slot]:
            used = objects.size[slot] if op == REALLOC else 1
            told = note(log, told, progress[NEXT], objects.address[slot], used)
        if CLOCKED:
            tell_time(heap, run, events, i, progress[NEXT])
        address = step(heap, run, thread, (op, slot), (size, align, whom(events, i)))
        if op == WRITTEN:
            address = objects.address[slot]
        if address and progress[REFUSED] == refused:
            used = min(size, usable(heap, address, size))
            told = note(log, told, progress[NEXT], address, used)
            if op != WRITTEN:
                objects.size[slot] = size
        progress[NEXT] += 1
        i += 1
        moved = op == REALLOC and meters[SYSCALLS] != syscalls
        if moved or not held <= meters[RESIDENT_PAGES] < began + GROWTH:
            break
    return i, told


@kernel
def decompose(heap, ledger, sample):
    """Say what each resident byte is; `sample` int64[SAMPLE_COLUMNS] is written.

    Returns 0, or the number of rows that `ledger.blocks` must have: enlarge it and call again.
    """
    heap = bare(heap)
    kept = cached(heap, ledger.blocks)
    own = metadata(heap, ledger.blocks[kept:])
    if kept + own > len(ledger.blocks):
        return kept + own
    add_up(heap.machine, ledger, (kept, own, 0), 0, sample)
    return 0


@kernel
def tell_block(heap, rows, row, size):
    """Write the block of the object at rows[row, 0]: start, bytes and usable bytes."""
    address = rows[row, 0]
    rows[row, 2], rows[row, 3] = extent(heap, address, size)
    rows[row, 4] = usable(heap, address, size)


@kernel
def asked(heap, run, events, account, question):
    """What tests ask of a manager (see `questions`), in one program: what Python calls by itself is
    compiled by itself, with all that it calls. `account` is (ledger, rows, sample)."""
    heap, run = bare(heap), bare(run)
    ledger, rows, sample = account
    if question == questions.BROKEN:
        return manager.check(heap)
    if question == questions.PARTS:
        return decompose(heap, ledger, sample)
    if question == questions.CACHED:
        return cached(heap, rows)
    if question == questions.METADATA:
        return metadata(heap, rows)
    if question == questions.TRIMMED:
        return trim(heap, 0)
    if question == questions.FREED:
        free(heap, 0, rows[0, 0])
        return 0
    if question == questions.EXTENTS:
        for row in range(len(rows)):
            tell_block(heap, rows, row, rows[row, 1])
    else:
        survey(heap, run, events, ledger, rows)
        if question == questions.STEP and rows[0, 0]:
            tell_block(heap, rows, 0, run.objects.size[events.slot[0]])
    return 0
