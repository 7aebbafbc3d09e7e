"""Dalvik's collections: marked from the roots, swept from the lowest address, freed in bulk.

    partial   GC_FOR_ALLOC, GC_CONCURRENT: the zygote's space is taken for live as a whole
    full      GC_EXPLICIT, GC_BEFORE_OOM: its dead are no longer counted, and stay where they are

Source     Android 4.4 dalvik/vm/alloc/Heap.cpp (dvmCollectGarbageInternal), MarkSweep.cpp,
           HeapBitmap.cpp (dvmHeapBitmapSweepWalk: 128 objects at a time), dlmalloc 2.8.6
           (internal_bulk_free: dead neighbours are one)
Omits      marking beside the program: a concurrent collection is one pause here; the bitmaps and
           the card table
"""

from heapwright.allocators.dlmalloc.chunk import USED, block_of, chunk_of, head, mark_used
from heapwright.allocators.dlmalloc.requests import dispose
from heapwright.allocators.dlmalloc.system import trim
from heapwright.collectors.android.history import note
from heapwright.collectors.hotspot.layout import reference
from heapwright.collectors.log import (
    FULL,
    MARKED_BYTES,
    MARKED_OBJECTS,
    PAUSES,
    SCANNED_ROOTS,
    SWEPT_BYTES,
    SWEPT_OBJECTS,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.collectors.mark import is_empty, pop, push
from heapwright.collectors.mutator import reclaimed, root_at, root_count
from heapwright.collectors.references import DECIDED, KEEP, decide
from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES, store
from heapwright.managers.runtime.dalvik.heap_source import grow_for_utilization
from heapwright.managers.runtime.dalvik.referring import end_references, look, start_references
from heapwright.managers.runtime.dalvik.state import (
    BEFORE_OOM,
    COLLECT,
    DEAD,
    EXPLICIT,
    FIELDS_MASK,
    HEADER_BYTES,
    MARK,
    chunk_bytes,
    header,
    is_active,
    slot_of,
)

WORD_BYTES = 256  # of heap to a word of the bitmap
BATCH = 96  # dead objects after which, at a word's end, they are freed


@kernel
def following(space, chunk):
    """The chunk after an object's or a free one: past the record and fences of a segment."""
    chunk += head(space, chunk) & ~7
    if space.older and chunk == chunk_of(space, space.older):
        chunk = (chunk + PAGE_BYTES) & -PAGE_BYTES
    return chunk


@kernel
def first_chunk(space):
    """The first that is no state of the space."""
    return following(space, space.base)


@kernel
def _find(heap, address, partial):
    """Mark an object, and remember it if it has references."""
    block = address - HEADER_BYTES
    active = is_active(heap, address)
    if partial and not active:
        return
    word = header(heap, block)
    if word < 0:
        return
    store(heap.machine, block, word | MARK)
    heap.log.totals[MARKED_OBJECTS] += 1
    heap.log.totals[MARKED_BYTES] += chunk_bytes(heap.active if active else heap.zygote, block)
    if word & FIELDS_MASK:
        push(heap.machine, heap.stack, address)


@kernel
def _scan(heap, address, partial):
    """Mark what an object refers to."""
    for field in range(header(heap, address - HEADER_BYTES) & FIELDS_MASK):
        target = reference(heap.java, heap.machine, address, field)
        if target:
            _find(heap, target, partial)


@kernel
def _mark(heap, partial):
    """All that the roots reach, and of a partial collection the zygote's space."""
    roots = root_count(heap.mutator)
    for index in range(roots):
        address = root_at(heap.mutator, index)
        if address:
            _find(heap, address, partial)
            _drain(heap, partial)
    heap.log.totals[SCANNED_ROOTS] += roots
    zygote = heap.zygote
    if partial and zygote.base:
        chunk = first_chunk(zygote)
        while chunk != zygote.top:
            word = header(heap, block_of(zygote, chunk))
            if head(zygote, chunk) & USED and not word & DEAD:
                _scan(heap, block_of(zygote, chunk) + HEADER_BYTES, True)
                _drain(heap, True)
            chunk = following(zygote, chunk)


@kernel
def _drain(heap, partial):
    while not is_empty(heap.machine, heap.stack):
        _scan(heap, pop(heap.machine, heap.stack), partial)


@kernel
def _mark_referents(heap, partial, clear_all):
    """Mark what references keep, and clear the others."""
    refs = heap.references
    start_references(heap, clear_all)
    while refs.phase < DECIDED:
        look(heap, partial)
        if decide(refs):
            for entry in range(refs.entries):
                if refs.bits[unsigned(entry)] & KEEP:
                    _find(heap, refs.target[unsigned(entry)], partial)
            _drain(heap, partial)
    end_references(heap)


@kernel
def _sweep(heap):
    """Free what is not marked of the active space; the bytes."""
    space, totals = heap.active, heap.log.totals
    chunk, run, run_end, last, count, freed = first_chunk(space), 0, 0, 0, 0, 0
    while True:
        at_top = chunk == space.top
        flags = head(space, chunk)
        dead = False
        if not at_top and flags & USED:
            word = header(heap, block_of(space, chunk))
            dead = word >= 0
            if not dead:
                store(heap.machine, block_of(space, chunk), word & ~MARK)
        full = count >= BATCH and block_of(space, chunk) // WORD_BYTES != last // WORD_BYTES
        after = chunk if at_top else following(space, chunk)
        size = flags & ~7
        if run and (not dead or chunk != run_end or full):
            _free_run(space, run, run_end - run)
            run = 0
        if count and (full or at_top):
            count = 0
            if space.top_bytes > space.trim_check:
                trim(space, 0)
        if at_top:
            return freed
        if dead:
            block = block_of(space, chunk)
            reclaimed(heap.mutator, slot_of(header(heap, block)), block + HEADER_BYTES)
            run, run_end, last = run if run else chunk, chunk + size, block
            count += 1
            freed += size
            totals[SWEPT_OBJECTS] += 1
        chunk = after


@kernel
def _free_run(space, chunk, size):
    """Free dead neighbours as one."""
    mark_used(space, chunk, size)
    dispose(space, chunk, size)


@kernel
def _account(heap):
    """What is dead of the zygote's space is no longer counted; the bytes."""
    space, totals, freed = heap.zygote, heap.log.totals, 0
    if not space.base:
        return 0
    chunk = first_chunk(space)
    while chunk != space.top:
        block = block_of(space, chunk)
        word = header(heap, block)
        if head(space, chunk) & USED and not word & DEAD:
            if word < 0:
                store(heap.machine, block, word & ~MARK)
            else:
                reclaimed(heap.mutator, slot_of(word), block + HEADER_BYTES)
                store(heap.machine, block, word | DEAD)
                heap.zygote_objects -= 1
                freed += chunk_bytes(space, block)
                totals[SWEPT_OBJECTS] += 1
        chunk = following(space, chunk)
    heap.zygote_bytes -= freed
    return freed


@kernel
def collect_for(heap, cause):
    """A collection, and the sizes that follow from it."""
    heap.paths[COLLECT + cause] += 1
    partial = cause not in (EXPLICIT, BEFORE_OOM)
    totals = heap.log.totals
    begin_pause(heap.log)
    begin_cycle(heap.log, FULL, heap.bytes + heap.zygote_bytes, heap.ideal)
    _mark(heap, partial)
    if heap.references.entries:
        _mark_referents(heap, partial, cause == BEFORE_OOM)
    before = totals[SWEPT_OBJECTS]
    swept = 0 if partial else _account(heap)
    of_zygote = totals[SWEPT_OBJECTS] - before
    freed = _sweep(heap)
    heap.bytes -= freed
    heap.objects -= totals[SWEPT_OBJECTS] - before - of_zygote
    totals[SWEPT_BYTES] += freed + swept
    grow_for_utilization(heap)
    live = heap.bytes + heap.zygote_bytes
    footprint = heap.active.footprint + heap.zygote.footprint
    pause = totals[PAUSES]
    note(heap, cause, (freed + swept, live, footprint, heap.ideal, heap.soft, pause))
    end_pause(heap.log)
    end_cycle(heap.log, live)
