"""HotSpot's concurrent mark-sweep collector: young is copied, old is free lists that are swept.

    new ─► buffer in eden, or eden ─full─► old, where the request exceeds eden ─► young collection
                                           ─► full collection ─► out of memory
    write ─► reference, and the card it lies in is dirty
    old beyond its fraction ─► cycle: mark, run on, remark, sweep

Terms      see state.py beside this file, and collectors/hotspot/layout.py
Invariant  collectors/hotspot/soundness.py                                       (check: 1-7)
           8: the free lists hold other bytes than are free; 9: blocks do not tile old
Source     OpenJDK 11 src/hotspot/share/gc/cms; the parts name files
Omits      more threads than one (-XX:ParallelGCThreads=1); a heap that grows (-Xms is -Xmx); what
           the JVM itself allocates, but for `own_bytes`; stacks: what the program holds lies in a
           table (see layout.py). When marking is over is a setting, not a clock.
           An object of no bytes takes 24 in young too. References are of four bytes: without
           UseCompressedOops JDK 11 has class pointers of eight, and larger headers
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters, write_row
from heapwright.collectors.hotspot import generations, sizing, soundness
from heapwright.collectors.hotspot.ages import age_table
from heapwright.collectors.hotspot.averages import padded_average
from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.generations import (
    NEW,
    OLD,
    SLOW,
    aged,
    born,
    cached,
    in_buffer,
    in_eden,
    in_survivors,
    map_heap,
    metadata,
    reopen,
    settle_eden,
    vacant_young,
    write,
)
from heapwright.collectors.hotspot.history import history
from heapwright.collectors.hotspot.layout import (
    CARD_SHIFT,
    HEADER_BYTES,
    MOST_BYTES,
    extent,
    java,
    object_bytes,
    usable,
)
from heapwright.collectors.hotspot.recorded import laid_out
from heapwright.collectors.hotspot.referring import (
    enter,
    finalizer_bytes,
    got,
    link,
    notes,
    run_finalisers,
)
from heapwright.collectors.log import log
from heapwright.collectors.mark import mark_stack
from heapwright.collectors.references import references
from heapwright.compiler import kernel
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.machine import load
from heapwright.managers.runtime.hotspot_cms.buffers import CLAIM
from heapwright.managers.runtime.hotspot_cms.collection import collect_for, collect_whole
from heapwright.managers.runtime.hotspot_cms.free_lists import (
    begin_free,
    listed_bytes,
    take,
    words_of,
)
from heapwright.managers.runtime.hotspot_cms.state import (
    LEAST_WORDS,
    LISTED,
    SPOOLED,
    VACANT,
    Heap,
    is_vacant,
    lists,
)
from heapwright.structures.sorted_keys import sorted_keys
from heapwright.trace.schema import FINALISABLE
from heapwright.versions import version_number

PATHS = (*generations.PATHS, "skipped", "cycle", "remark", "mode_failure")

__all__ = ["aged", "cached", "extent", "got", "laid_out", "metadata", "notes", "usable", "write"]


class Config(NamedTuple):
    """Options of `java` under their names, and what a replay cannot know of the real JVM."""

    version: int = version_number("11")
    Xmx: int = 256 << 20  # -Xmx: the heap, young and old; a JVM takes a quarter of the machine
    Xms: int = 0  # -Xms: the same, or 0
    Xmn: int = 0  # -Xmn: young; 0 as NewRatio has it
    NewRatio: int = 2  # old generation as a multiple of young
    SurvivorRatio: int = 8  # eden as a multiple of a survivor space
    MaxTenuringThreshold: int = 6  # collections that an object survives before it is promoted
    TargetSurvivorRatio: int = 50  # percent of a survivor space that may be in use
    CMSInitiatingOccupancyFraction: int = 92  # percent of old in use that begins a cycle; 100 none
    UseTLAB: int = 1  # 0: eden is bumped directly, 1: in buffers
    TLABSize: int = 65536  # of a buffer, fixed: -XX:-ResizeTLAB
    SoftRefLRUPolicyMSPerMB: int = 1000  # that a soft reference stays unused a free MiB
    events_per_ms: int = 1000  # of the trace: what stands for time
    marking_work: int = 100  # hundredths of a byte that is marked while the program allocates one
    tlab_reserve_bytes: int = 16  # at a buffer's end; 576 where the optimising compiler is on
    own_bytes: int = 0  # what the JVM keeps in old for itself, the table among it
    table_offset_bytes: int = 0  # from old's start to the table
    finalizers_offset_bytes: int = 0  # and to the list of Finalizers
    own_fulls: int = 0  # full collections while the JVM started


def boot(machine, config, mutator):
    """A heap that is not mapped yet; HeapwrightError for options that contradict each other."""
    sizing.refuse_contradictions("hotspot-cms", config)
    sizes = sizing.generations(config)
    spaces = generations.bounds("hotspot-cms", config, sizes, mutator)
    reserved_bytes = sizes.young + sizes.old
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, reserved_bytes, mutator, compressed=True),
        stack=mark_stack(),
        promoted=padded_average(),
        ages=age_table(),
        shown_ages=age_table(),
        history=history(),
        references=references(mutator, config.SoftRefLRUPolicyMSPerMB, config.events_per_ms),
        tops=np.zeros(4, np.int64),
        indexed=lists(),
        taken=lists(),
        taken_count=np.zeros(LISTED, np.int64),
        claims=np.full(LISTED, CLAIM, np.float32),
        claim_samples=np.zeros(LISTED, np.int64),
        dictionary=sorted_keys(sizes.old // (8 * LISTED) + 1),
        union=reserve((reserved_bytes >> CARD_SHIFT) + 64, np.uint8),
        fields=words(
            Heap,
            **spaces,
            most_threshold=config.MaxTenuringThreshold,
            target_percent=config.TargetSurvivorRatio,
            occupancy_percent=config.CMSInitiatingOccupancyFraction,
            marking_work=config.marking_work,
        ),
        paths=counters(PATHS),
    )
    heap.java.table = config.table_offset_bytes + HEADER_BYTES
    heap.java.finalizers = config.finalizers_offset_bytes
    heap.references.most_bytes = sizes.young + sizes.old
    heap.references.used_bytes = heap.objects
    return heap


@kernel
def _open(heap):
    """Map the heap; whether the system allows it."""
    if not map_heap(heap, False):
        return False
    begin_free(heap)
    return True


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object, 0 when there is no memory; a bump while eden, or the buffer in it,
    has room."""
    heap.paths[NEW] += 1
    need = max(object_bytes(size), LEAST_WORDS << 3)
    block = _block(heap, need)
    return born(heap, slot, block, need, fields) if block else 0


@kernel(inline=True)
def _block(heap, need):
    """A block of `need` bytes; 0 when there is no memory."""
    block = heap.bump
    if block + need <= heap.bump_end:
        heap.bump = block + need
        return block
    return _obtain(heap, need)


@kernel(cold=True)
def declare(heap, slot, target, kind):
    """What the program declares; whether a Finalizer that it takes has room."""
    block = 0
    if kind == FINALISABLE:
        block = _block(heap, finalizer_bytes(heap.java))
        if not block:
            return False
    link(heap, enter(heap, slot, target, kind, block))
    return True


@kernel(cold=True)
def _obtain(heap, need):
    """A block of `need` bytes, by all means there are; 0 if there is none."""
    heap.paths[SLOW] += 1
    if need > MOST_BYTES or (not heap.java.base and not _open(heap)):
        return 0
    settle_eden(heap)
    block = in_buffer(heap, need) if heap.tlab_bytes else 0
    if not block:
        block = _attempt(heap, need, need > heap.eden_end - heap.eden or heap.nearly_full)
    if not block:
        collect_for(heap, need)
        block = _attempt(heap, need, True)
    if not block:
        heap.references.clear_all = 1
        collect_whole(heap)
        block = _attempt(heap, need, True)
    if not heap.tlab_bytes:
        reopen(heap)
    if heap.references.waiting:
        run_finalisers(heap)
    return block


@kernel
def _attempt(heap, need, old_too):
    """A block of young, or with `old_too` of old; 0 without room."""
    block = in_eden(heap, need)
    if not block and heap.survivors_open:
        block = in_survivors(heap, need)
    if block or not old_too:
        return block
    block = take(heap, need >> 3)
    if block:
        heap.paths[OLD] += 1
        heap.old_top += need
        settle(heap.java, block, need)
    return block


@kernel
def collect(heap):
    """A full collection."""
    if heap.java.base:
        collect_whole(heap)
        run_finalisers(heap)


@kernel
def vacant(heap, blocks):
    """What lies above the top of each space of young, and the chunks of old."""
    if not heap.java.base:
        return 0
    rows, block = vacant_young(heap, blocks), heap.objects
    while block < heap.old_end:
        bytes_ = words_of(heap.machine, block) << 3
        if load(heap.machine, block) & (VACANT | SPOOLED):
            rows = write_row(blocks, rows, block, bytes_)
        block += bytes_
    return rows


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    if not heap.java.base:
        return 0
    block, free = heap.objects, 0
    while block < heap.old_end:
        bytes_ = words_of(heap.machine, block) << 3
        if bytes_ < LEAST_WORDS << 3:
            return 9
        free += bytes_ if is_vacant(heap.machine, block) else 0
        block += bytes_
    if block != heap.old_end:
        return 9
    if free != heap.old_end - heap.old_top or free != listed_bytes(heap):
        return 8
    top, heap.old_top = heap.old_top, heap.old_end
    broken = soundness.check(heap)
    heap.old_top = top
    return broken
