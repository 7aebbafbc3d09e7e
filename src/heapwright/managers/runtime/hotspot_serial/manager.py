"""HotSpot's serial collector: eden and survivors that are copied, an old generation that slides.

    new ─► buffer in eden, or eden ─full─► old, where the request exceeds eden ─► young collection
             └ from PretenureSizeThreshold on: old    ─► full collection ─► out of memory
    write ─► reference, and the card it lies in is dirty

Terms      see state.py beside this file, and collectors/hotspot/layout.py
Invariant  collectors/hotspot/soundness.py                                       (check: 1-7)
Source     OpenJDK 17, 21 and 25, src/hotspot/share/gc/serial and gc/shared; the parts name files
Omits      young that grows, with old, where -Xmn is not given; what the JVM itself allocates, but
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
    in_survivors,
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
from heapwright.errors import HeapwrightError
from heapwright.managers.runtime.hotspot_serial.collection import (
    collect_for,
    collect_whole,
)
from heapwright.managers.runtime.hotspot_serial.growth import LEAST_BYTES, grow
from heapwright.managers.runtime.hotspot_serial.state import Heap
from heapwright.trace.schema import FINALISABLE
from heapwright.versions import version_number

NEVER = 1 << 62
MODERN = version_number("24")
APART = version_number(
    "15"
)  # from which on class pointers are narrow without compressed references

PATHS = (*generations.PATHS, "skipped")

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
    Xms: int = 0  # -Xms: what it begins with, where Xmn is given; 0: all
    Xmn: int = 0  # -Xmn: young; 0 as NewRatio has it
    NewRatio: int = 2  # old generation as a multiple of young
    SurvivorRatio: int = 8  # eden as a multiple of a survivor space
    MaxTenuringThreshold: int = 15  # collections that an object survives before it is promoted
    TargetSurvivorRatio: int = 50  # percent of a survivor space that may be in use
    PretenureSizeThreshold: int = 0  # objects from this size on are born old; 0 none
    UseTLAB: int = 1  # 0: eden is bumped directly, 1: in buffers
    TLABSize: int = 65536  # of a buffer, fixed: -XX:-ResizeTLAB
    SoftRefLRUPolicyMSPerMB: int = 1000  # that a soft reference stays unused a free MiB
    events_per_ms: int = 1000  # of the trace: what stands for time
    UseCompressedOops: int = 1  # 0: references of eight bytes, 1: of four
    MarkSweepDeadRatio: int = 5  # percent of old that a full collection may leave dead
    MarkSweepAlwaysCompactCount: int = 4  # of so many full collections the last leaves none
    tlab_reserve_bytes: int = 16  # at a buffer's end; 576 where the optimising compiler is on
    own_bytes: int = 0  # what the JVM keeps in old for itself, the table among it
    table_offset_bytes: int = 0  # from old's start to the table
    finalizers_offset_bytes: int = 0  # and to the list of Finalizers
    own_fulls: int = 0  # full collections while the JVM started


def boot(machine, config, mutator):
    """A heap that is not mapped yet; HeapwrightError for options that contradict each other."""
    sizing.refuse_contradictions("hotspot-serial", config, grows=True)
    sizes = sizing.generations(config)
    if config.version < APART and not config.UseCompressedOops:
        raise HeapwrightError(
            "hotspot-serial.UseCompressedOops is 0: before version 15 headers grow with it, which "
            "this twin's do not; leave it 1, or take version 17."
        )
    grows = APART <= config.version < MODERN and config.Xmn
    if config.Xms not in (0, config.Xmx) and not grows:
        raise HeapwrightError(
            f"hotspot-serial.Xms is {config.Xms:,} and Xmx {config.Xmx:,}: this twin's heap grows "
            "where Xmn is given, in versions 17 to 23; let them be equal."
        )
    compressed = bool(config.UseCompressedOops)
    spaces = generations.bounds("hotspot-serial", config, sizes, mutator)
    old_bytes = sizing.first_old(config, sizes)
    pretenure = config.PretenureSizeThreshold & ~7 or NEVER  # in words
    fields = words(
        Heap,
        **spaces | {"old_end": old_bytes},
        old_limit=sizes.old,
        first_old_bytes=old_bytes,
        small_bytes=NEVER if config.UseTLAB else pretenure - 1,
        pretenure_bytes=pretenure,
        most_threshold=config.MaxTenuringThreshold,
        target_percent=config.TargetSurvivorRatio,
        dead_percent=config.MarkSweepDeadRatio,
        always_compact=max(1, config.MarkSweepAlwaysCompactCount),
        modern=config.version >= MODERN,
    )
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, sizes.young + sizes.old, mutator, compressed=compressed),
        stack=mark_stack(),
        promoted=padded_average(),
        ages=age_table(),
        shown_ages=age_table(),
        history=history(),
        references=references(mutator, config.SoftRefLRUPolicyMSPerMB, config.events_per_ms),
        tops=np.zeros(4, np.int64),
        fields=fields,
        paths=counters(PATHS),
    )
    heap.java.table = config.table_offset_bytes + HEADER_BYTES
    heap.java.finalizers = config.finalizers_offset_bytes
    heap.references.most_bytes = sizes.eden + sizes.survivor + sizes.old
    heap.references.used_bytes = heap.objects
    return heap


@kernel
def _open(heap):
    """Map the heap; whether the system allows it."""
    if not map_heap(heap, False):
        return False
    heap.old_limit += heap.old
    return True


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
    if block + need <= heap.bump_end and need <= heap.small_bytes:
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
    if not block and (heap.modern or need < heap.pretenure_bytes):
        block = in_eden(heap, need)
    if not block:
        if heap.modern:
            if need > heap.eden_end - heap.eden or heap.nearly_full:
                block = in_old(heap, need)
        else:
            block = _attempt(heap, need, need > heap.eden_end - heap.eden or heap.nearly_full)
    if not block:
        collect_for(heap, need)
        block = _after(heap, need)
    if not block:
        heap.references.clear_all = 1
        collect_whole(heap)
        block = _after(heap, need)
    if not heap.tlab_bytes:
        reopen(heap)
    if heap.references.waiting:
        run_finalisers(heap)
    return block


@kernel
def _attempt(heap, need, old_too):
    """A block of young, or with `old_too` and for what is never young of old; 0 without room."""
    if need < heap.pretenure_bytes:
        block = in_eden(heap, need)
        if not block and heap.survivors_open:
            block = in_survivors(heap, need)
        if block or not old_too:
            return block
    return in_old(heap, need)


@kernel
def _after(heap, need):
    """A block after a collection."""
    if heap.modern:
        block = in_eden(heap, need)
        return block if block else in_old(heap, need)
    block = _attempt(heap, need, True)
    if not block and heap.old_end < heap.old_limit:
        grow(heap, need, LEAST_BYTES)
        block = in_old(heap, need)
    return block


@kernel
def collect(heap):
    """A full collection that leaves nothing dead behind."""
    if heap.java.base:
        collect_whole(heap)
        run_finalisers(heap)
