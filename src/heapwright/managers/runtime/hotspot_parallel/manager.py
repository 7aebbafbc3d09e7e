"""HotSpot's parallel collector, with one thread: eden and survivors over an old that slides.

    new ─► buffer in eden, or eden ─full─► half of eden and more: old ─► young collection
                                              ─► full collection ─► out of memory
    write ─► reference, and the card it lies in is dirty

Terms      see state.py beside this file, and collectors/hotspot/layout.py
Invariant  collectors/hotspot/soundness.py                                       (check: 1-7)
Source     OpenJDK 17 and 21, src/hotspot/share/gc/parallel; the parts name files
Omits      more threads than one (-XX:ParallelGCThreads=1); adaptive sizes
           (-XX:-UseAdaptiveSizePolicy) and a heap that grows; what the JVM itself allocates, but
           for `own_bytes`; stacks: what the program holds lies in a table (see layout.py)
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters
from heapwright.collectors.hotspot import generations, sizing
from heapwright.collectors.hotspot.ages import age_table
from heapwright.collectors.hotspot.averages import padded_average
from heapwright.collectors.hotspot.generations import (
    NEW,
    SLOW,
    aged,
    born,
    cached,
    in_buffer,
    in_eden,
    in_old,
    map_heap,
    metadata,
    reopen,
    settle_eden,
    vacant,
    write,
)
from heapwright.collectors.hotspot.history import history
from heapwright.collectors.hotspot.layout import (
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
from heapwright.collectors.hotspot.soundness import check
from heapwright.collectors.log import log
from heapwright.collectors.mark import mark_stack
from heapwright.collectors.references import references
from heapwright.compiler import kernel
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.hotspot_parallel.collection import (
    full,
    scavenge_or_full,
    young_then_full,
)
from heapwright.managers.runtime.hotspot_parallel.dense_prefix import REGION_SHIFT
from heapwright.managers.runtime.hotspot_parallel.state import Heap
from heapwright.trace.schema import FINALISABLE
from heapwright.versions import version_number

SPACE_BYTES = 512 << 10  # SpaceAlignment
MARCH = 64  # allocations in old before the rest is tried again

PATHS = generations.PATHS

__all__ = [
    "aged",
    "cached",
    "check",
    "extent",
    "got",
    "laid_out",
    "metadata",
    "notes",
    "usable",
    "vacant",
    "write",
]


class Config(NamedTuple):
    """Options of `java` under their names, and what a replay cannot know of the real JVM."""

    version: int = version_number("21")
    Xmx: int = 256 << 20  # -Xmx: the heap, young and old; a JVM takes a quarter of the machine
    Xms: int = 0  # -Xms: the same, or 0
    Xmn: int = 0  # -Xmn: young; 0 as NewRatio has it
    NewRatio: int = 2  # old generation as a multiple of young
    InitialSurvivorRatio: int = 8  # young as a multiple of a survivor space
    MaxTenuringThreshold: int = 15  # collections that an object survives before it is promoted
    HeapMaximumCompactionInterval: int = 20  # full collections that may leave dead at old's bottom
    UseTLAB: int = 1  # 0: eden is bumped directly, 1: in buffers
    TLABSize: int = 65536  # of a buffer, fixed: -XX:-ResizeTLAB
    SoftRefLRUPolicyMSPerMB: int = 1000  # that a soft reference stays unused a free MiB
    events_per_ms: int = 1000  # of the trace: what stands for time
    UseCompressedOops: int = 1  # 0: references of eight bytes, 1: of four
    tlab_reserve_bytes: int = 16  # at a buffer's end; 576 where the optimising compiler is on
    own_bytes: int = 0  # what the JVM keeps in old for itself, the table among it
    table_offset_bytes: int = 0  # from old's start to the table
    finalizers_offset_bytes: int = 0  # and to the list of Finalizers
    own_fulls: int = 0  # full collections while the JVM started


def boot(machine, config, mutator):
    """A heap that is not mapped yet; HeapwrightError for options that contradict each other."""
    sizing.refuse_contradictions("hotspot-parallel", config)
    if config.InitialSurvivorRatio < 3:
        raise HeapwrightError("hotspot-parallel.InitialSurvivorRatio is at least 3.")
    sizes = sizing.generations(config, SPACE_BYTES, config.InitialSurvivorRatio)
    compressed = bool(config.UseCompressedOops)
    spaces = generations.bounds("hotspot-parallel", config, sizes, mutator)
    fields = words(
        Heap,
        whole_interval=config.HeapMaximumCompactionInterval,
        last_whole=config.own_fulls,
        **spaces,
    )
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, sizes.young + sizes.old, mutator, compressed=compressed),
        stack=mark_stack(),
        promoted=padded_average(),
        shown_ages=age_table(),
        history=history(),
        references=references(mutator, config.SoftRefLRUPolicyMSPerMB, config.events_per_ms),
        tops=np.zeros(4, np.int64),
        live_below=reserve((sizes.old >> REGION_SHIFT) + 2, np.int64),
        fields=fields,
        paths=counters(PATHS),
    )
    heap.java.table = config.table_offset_bytes + HEADER_BYTES
    heap.java.finalizers = config.finalizers_offset_bytes
    heap.references.most_bytes = sizes.eden + sizes.survivor + sizes.old
    heap.references.used_bytes = heap.objects
    return heap


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object, 0 when there is no memory; a bump while eden, or the buffer in it,
    has room."""
    heap.paths[NEW] += 1
    need = object_bytes(size)
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
    if need > MOST_BYTES or (not heap.java.base and not map_heap(heap, True)):
        return 0
    settle_eden(heap)
    block = in_buffer(heap, need) if heap.tlab_bytes else 0
    if not block:
        block = in_eden(heap, need)
    is_large = need >= (heap.eden_end - heap.eden) // 2
    if not block:
        block = _in_old_first(heap, need, is_large)
    if not block:
        block = _collect_for(heap, need, is_large)
    reopen(heap)
    if heap.references.waiting:
        run_finalisers(heap)
    return block


@kernel
def _in_old_first(heap, need, is_large):
    """A block of old for what is large, and on a march."""
    if is_large:
        return in_old(heap, need)
    if heap.march:
        if heap.march < MARCH:
            heap.march += 1
            return in_old(heap, need)
        heap.march = 0
    return 0


@kernel
def _collect_for(heap, need, is_large):
    """A block after a collection or two, or three; 0 if there is no memory."""
    was_full = scavenge_or_full(heap)
    block = in_eden(heap, need)
    if not block and not was_full:
        young_then_full(heap)
        block = in_eden(heap, need)
    if block:
        heap.march = 0
        return block
    if heap.march == 0 and not is_large:
        heap.march = 1
    block = in_old(heap, need)
    if not block:
        heap.references.clear_all = heap.whole = 1
        young_then_full(heap)
        block = in_eden(heap, need)
        if not block:
            block = in_old(heap, need)
    return block


@kernel
def collect(heap):
    """A full collection."""
    if heap.java.base:
        heap.whole = 1
        full(heap)
        run_finalisers(heap)
