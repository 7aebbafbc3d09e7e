"""CMS's concurrent cycle: what is dead in old becomes free chunks, and nothing moves.

    old fills beyond CMSInitiatingOccupancyFraction ─► initial mark, a pause: what the table and
    young refer to ─► marking ─► the program runs on, and its barrier notes cards (incremental
    update) ─► remark, a pause: the table, young, and noted cards once more ─► sweep
    old is full before the sweep ─► concurrent mode failure: a full collection

What is found when marking begins stays, and what is promoted meanwhile; so what dies in between is
freed by the next cycle. The twin marks at once, and lets the program run as long as marking would
have taken; then it sweeps at once.

Source     OpenJDK 11 src/hotspot/share/gc/cms/concurrentMarkSweepGeneration.cpp; Printezis and
           Detlefs, "A generational mostly-concurrent garbage collector", ISMM 2000
Omits      precleaning; sweeping piece by piece; that the real sweep leaves chunks of sizes in
           demand apart: here neighbours are always joined
"""

from heapwright.collectors.hotspot.cards import card_of, covering, settle
from heapwright.collectors.hotspot.generations import found, is_young, left, occupied
from heapwright.collectors.hotspot.history import CONCURRENT
from heapwright.collectors.hotspot.layout import (
    BYTES_SHIFT,
    CARD_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    fields_of,
    reference,
)
from heapwright.collectors.hotspot.referring import first_followed, settle_gone
from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    MARKED_BYTES,
    MARKED_OBJECTS,
    SCANNED_ROOTS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
    begin_pause,
    end_pause,
)
from heapwright.collectors.mark import is_empty, pop, push
from heapwright.collectors.references import DECIDED, HOLDER, KEEP, TARGET, begin, decide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_cms.free_lists import clear_lists, put, words_of
from heapwright.managers.runtime.hotspot_cms.state import (
    FOUND,
    IDLE,
    MARKING,
    SPOOLED,
    is_vacant,
    used_of_old,
)

CYCLE_PATH, REMARK_PATH = 9, 10  # of the manager's PATHS


@kernel
def end_cycle_in_time(heap):
    """Before a collection: end the cycle at work, if its marking is over."""
    if heap.phase == MARKING and heap.log.totals[ALLOCATED_BYTES] >= heap.marking_until:
        _finish(heap)


@kernel
def begin_cycle_if_full(heap):
    """After a collection: begin a cycle where old holds more than it should."""
    limit = heap.occupancy_percent * (heap.old_end - heap.old)
    if heap.phase == IDLE and used_of_old(heap) * 100 > limit:
        _begin_marking(heap)


@kernel
def _begin_marking(heap):
    begin_pause(heap.log)
    heap.paths[CYCLE_PATH] += 1
    before = heap.log.totals[MARKED_BYTES]
    for card in range(card_of(heap.java, heap.old), card_of(heap.java, heap.old_end - 1) + 1):
        heap.union[unsigned(card)] = 0
    _find_roots(heap)
    end_pause(heap.log)
    _drain(heap)
    marked = heap.log.totals[MARKED_BYTES] - before
    work = marked * 100 // max(1, heap.marking_work)
    heap.marking_until = heap.log.totals[ALLOCATED_BYTES] + work
    heap.phase = MARKING


@kernel
def _finish(heap):
    """Remark and sweep."""
    found(heap)
    begin_pause(heap.log)
    heap.paths[REMARK_PATH] += 1
    _find_roots(heap)
    _find_noted(heap)
    _drain(heap)
    if heap.references.entries:
        _find_referents(heap)
    end_pause(heap.log)
    heap.phase = IDLE
    _sweep(heap)
    heap.references.used_bytes = occupied(heap) + heap.objects - heap.old
    left(heap, CONCURRENT)


@kernel
def _find_referents(heap):
    """Mark what references keep, and clear the others."""
    refs = heap.references
    begin(refs)
    while refs.phase < DECIDED:
        for entry in range(refs.entries):
            e = unsigned(entry)
            refs.bits[e] |= HOLDER if _is_found(heap, refs.holder[e]) else 0
            refs.bits[e] |= TARGET if _is_found(heap, refs.target[e]) else 0
        if decide(refs):
            for entry in range(refs.entries):
                if refs.bits[unsigned(entry)] & KEEP:
                    _find(heap, refs.target[unsigned(entry)])
            _drain(heap)
    settle_gone(heap)


@kernel
def _is_found(heap, address):
    """Whether an object is young, or was found in old."""
    return is_young(heap, address) or load(heap.machine, address - HEADER_BYTES) & FOUND != 0


@kernel
def _find_roots(heap):
    """Mark what the table and all of young refer to in old."""
    handles = heap.mutator.handles
    for slot in range(heap.java.slots):
        _find(heap, handles[unsigned(slot)])
    _find(heap, heap.references.head)
    heap.log.totals[SCANNED_ROOTS] += heap.java.slots
    _find_referred(heap, heap.eden, heap.eden_top)
    _find_referred(heap, heap.survivors, heap.survivors_top)
    _find_referred(heap, heap.spare, heap.spare_top)


@kernel
def _find_referred(heap, block, past):
    """Mark what the objects of [block, past) refer to in old."""
    while block < past:
        _trace(heap, block + HEADER_BYTES)
        block += words_of(heap.machine, block) << 3


@kernel
def _find_noted(heap):
    """Mark what objects of noted cards refer to, if they were found."""
    java, machine = heap.java, heap.machine
    for card in range(card_of(java, heap.objects), card_of(java, heap.old_end - 1) + 1):
        if not heap.union[unsigned(card)] and not java.cards[unsigned(card)]:
            continue
        start = java.base + (card << CARD_SHIFT)
        block = covering(java, card) if start > heap.objects else heap.objects
        end = min(start + (1 << CARD_SHIFT), heap.old_end)
        while block < end:
            if load(machine, block) & FOUND:
                _trace(heap, block + HEADER_BYTES)
            block += words_of(machine, block) << 3


@kernel(inline=True)
def _find(heap, address):
    """Mark an object of old, and remember it if it has references."""
    if not address or is_young(heap, address):
        return
    machine, totals = heap.machine, heap.log.totals
    word = load(machine, address - HEADER_BYTES)
    if word & FOUND:
        return
    store(machine, address - HEADER_BYTES, word | FOUND)
    shape = load(machine, address - 8)
    totals[MARKED_OBJECTS] += 1
    totals[MARKED_BYTES] += shape >> BYTES_SHIFT << 3
    if shape & FIELDS_MASK:
        push(machine, heap.stack, address)


@kernel
def _trace(heap, address):
    for field in range(first_followed(heap, address), fields_of(heap.machine, address)):
        _find(heap, reference(heap.java, heap.machine, address, field))


@kernel
def _drain(heap):
    while not is_empty(heap.machine, heap.stack):
        _trace(heap, pop(heap.machine, heap.stack))


@kernel
def _sweep(heap):
    """Make chunks of what was not found, joined with what is free beside it."""
    machine, totals = heap.machine, heap.log.totals
    clear_lists(heap)
    block, run = heap.objects, 0
    while block < heap.old_end:
        bytes_, word = words_of(machine, block) << 3, load(machine, block)
        if word & (FOUND | SPOOLED) != 0 or block == heap.linear:
            if run:
                _join(heap, run, block)
            run = 0
            if word & FOUND:
                store(machine, block, 0)
            settle(heap.java, block, bytes_)
        else:
            if not is_vacant(machine, block):
                totals[SWEPT_OBJECTS] += 1
                totals[SWEPT_BYTES] += bytes_
                heap.old_top -= bytes_
            if not run:
                run = block
        block += bytes_
    if run:
        _join(heap, run, block)


@kernel
def _join(heap, start, end):
    put(heap, start, (end - start) >> 3)
    settle(heap.java, start, end - start)
