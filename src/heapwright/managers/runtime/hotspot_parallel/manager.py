"""HotSpot's parallel collector, with one thread: eden and survivors over an old that slides.

    new ─► buffer in eden, or eden ─full─► half of eden and more: old ─► young collection
                                              ─► full collection ─► out of memory
    write ─► reference, and the card it lies in is dirty

Terms      see state.py beside this file, and collectors/hotspot/layout.py
Invariant  invariants.py                                                        (check: 1-7)
Source     OpenJDK 17 and 21, src/hotspot/share/gc/parallel; the parts name files
Omits      more threads than one (-XX:ParallelGCThreads=1); adaptive sizes
           (-XX:-UseAdaptiveSizePolicy) and a heap that grows; what the JVM itself allocates, but
           for `own_bytes`; stacks: what the program holds lies in a table (see layout.py);
           reference objects
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters, write_row
from heapwright.collectors.hotspot import sizing, tlab
from heapwright.collectors.hotspot.ages import age_table
from heapwright.collectors.hotspot.averages import padded_average
from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.history import history
from heapwright.collectors.hotspot.layout import (
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    entered,
    initialise,
    java,
    object_bytes,
    table_bytes,
)
from heapwright.collectors.hotspot.layout import write as store_reference
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS, log
from heapwright.collectors.mark import mark_stack, own_memory
from heapwright.collectors.mutator import SLOTS, handle
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.errors import HeapwrightError
from heapwright.machine import mmap, touch
from heapwright.managers.runtime.hotspot_parallel.collection import (
    full,
    reopen,
    scavenge_or_full,
    settle_eden,
    young_then_full,
)
from heapwright.managers.runtime.hotspot_parallel.invariants import check as check_heap
from heapwright.managers.runtime.hotspot_parallel.state import Heap
from heapwright.versions import version_number

LEAST_TLAB = 2048
SPACE_BYTES = 512 << 10  # SpaceAlignment
MARCH = 64  # allocations in old before the rest is tried again

PATHS = ("new", "write", "full", "young", "failed", "slow", "old", "buffer")
NEW, WRITE = 0, 1
SLOW, OLD, BUFFER = range(5, 8)


class Config(NamedTuple):
    """Options of `java` under their names, and what a replay cannot know of the real JVM."""

    version: int = version_number("21")
    Xmx: int = 256 << 20  # -Xmx: the heap, young and old; a JVM takes a quarter of the machine
    Xms: int = 0  # -Xms: the same, or 0
    Xmn: int = 0  # -Xmn: young; 0 as NewRatio has it
    NewRatio: int = 2  # old generation as a multiple of young
    InitialSurvivorRatio: int = 8  # young as a multiple of a survivor space
    MaxTenuringThreshold: int = 15  # collections that an object survives before it is promoted
    UseTLAB: int = 1  # 0: eden is bumped directly, 1: in buffers
    TLABSize: int = 65536  # of a buffer, fixed: -XX:-ResizeTLAB
    UseCompressedOops: int = 1  # 0: references of eight bytes, 1: of four
    tlab_reserve_bytes: int = 16  # at a buffer's end; 576 where the optimising compiler is on
    own_bytes: int = 0  # what the JVM keeps in old for itself, the table among it
    table_offset_bytes: int = 0  # from old's start to the table
    own_fulls: int = 0  # full collections while the JVM started


def boot(machine, config, mutator):
    """A heap that is not mapped yet; HeapwrightError for options that contradict each other."""
    sizing.refuse_contradictions("hotspot-parallel", config)
    if config.TLABSize < LEAST_TLAB and config.UseTLAB:
        raise HeapwrightError(f"hotspot-parallel.TLABSize is at least {LEAST_TLAB} bytes.")
    if config.InitialSurvivorRatio < 3:
        raise HeapwrightError("hotspot-parallel.InitialSurvivorRatio is at least 3.")
    sizes = sizing.generations(config, SPACE_BYTES, config.InitialSurvivorRatio)
    slots, compressed = int(mutator.counts[SLOTS]), bool(config.UseCompressedOops)
    table = table_bytes(slots, compressed=compressed)
    own = max(config.own_bytes, config.table_offset_bytes + table)
    if own > sizes.old:
        raise HeapwrightError(
            f"hotspot-parallel.Xmx leaves {sizes.old:,} bytes for the old generation, and the "
            f"program's table of {slots:,} objects, with what the JVM keeps, takes {own:,}."
        )
    fields = words(
        Heap,
        eden_end=sizes.eden,
        survivor_bytes=sizes.survivor,
        old_end=sizes.old,
        objects=own,
        tlab_bytes=config.TLABSize & ~7 if config.UseTLAB else 0,
        tlab_reserve=config.tlab_reserve_bytes,
        threshold=config.MaxTenuringThreshold,
        fulls=config.own_fulls,
    )
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, sizes.young + sizes.old, slots, compressed=compressed),
        stack=mark_stack(),
        promoted=padded_average(),
        shown_ages=age_table(),
        history=history(),
        tops=np.zeros(4, np.int64),
        fields=fields,
        paths=counters(PATHS),
    )
    heap.java.table = config.table_offset_bytes + HEADER_BYTES
    return heap


@kernel
def _open(heap):
    """Map the heap; whether the system allows it. Until then addresses are sizes."""
    base = mmap(heap.machine, 0, heap.java.reserved_bytes)
    if not base:
        return False
    heap.java.base = heap.old = base
    heap.old_end += base
    heap.objects += base
    heap.old_top = heap.objects
    heap.eden = heap.eden_top = heap.old_end
    heap.eden_end += heap.eden
    heap.survivors = heap.survivors_top = heap.eden_end
    heap.spare = heap.spare_top = heap.survivors + heap.survivor_bytes
    heap.java.table += base
    touch(heap.machine, heap.java.table - HEADER_BYTES, heap.java.slots << heap.java.shift)
    reopen(heap)
    return True


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object, 0 when there is no memory; a bump while eden, or the buffer in it,
    has room."""
    heap.paths[NEW] += 1
    need = object_bytes(size)
    block = heap.bump
    if block + need <= heap.bump_end:
        heap.bump = block + need
    else:
        block = _obtain(heap, need)
        if not block:
            return 0
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += need
    address = initialise(heap.java, heap.machine, block, need, fields)
    heap.mutator.handles[unsigned(slot)] = address
    entered(heap.java, slot)
    return address


@kernel(cold=True)
def _obtain(heap, need):
    """A block of `need` bytes, by all means there are; 0 if there is none."""
    heap.paths[SLOW] += 1
    if need > MOST_BYTES or (not heap.java.base and not _open(heap)):
        return 0
    settle_eden(heap)
    block = _in_buffer(heap, need) if heap.tlab_bytes else 0
    if not block:
        block = _in_eden(heap, need)
    is_large = need >= (heap.eden_end - heap.eden) // 2
    if not block:
        block = _in_old_first(heap, need, is_large)
    if not block:
        block = _collect_for(heap, need, is_large)
    reopen(heap)
    return block


@kernel
def _in_old_first(heap, need, is_large):
    """A block of old for what is large, and on a march."""
    if is_large:
        return _in_old(heap, need)
    if heap.march:
        if heap.march < MARCH:
            heap.march += 1
            return _in_old(heap, need)
        heap.march = 0
    return 0


@kernel
def _collect_for(heap, need, is_large):
    """A block after a collection or two, or three; 0 if there is no memory."""
    was_full = scavenge_or_full(heap)
    block = _in_eden(heap, need)
    if not block and not was_full:
        young_then_full(heap)
        block = _in_eden(heap, need)
    if block:
        heap.march = 0
        return block
    if heap.march == 0 and not is_large:
        heap.march = 1
    block = _in_old(heap, need)
    if not block:
        young_then_full(heap)
        block = _in_eden(heap, need)
        if not block:
            block = _in_old(heap, need)
    return block


@kernel
def _in_buffer(heap, need):
    """A block in a new buffer; 0 where the old one is kept or eden has no room for one."""
    if heap.bump_end and tlab.retained(heap):
        return 0
    bytes_ = tlab.new_bytes(heap, need)
    tlab.retire(heap)
    if not bytes_:
        return 0
    heap.paths[BUFFER] += 1
    tlab.open_buffer(heap, bytes_)
    block = heap.bump
    heap.bump += need
    return block


@kernel
def _in_eden(heap, need):
    """A block at eden's top, if it fits."""
    block = heap.eden_top
    if block + need > heap.eden_end:
        return 0
    heap.eden_top = block + need
    return block


@kernel
def _in_old(heap, need):
    """A block at old's top, if it fits."""
    block = heap.old_top
    if block + need > heap.old_end:
        return 0
    heap.paths[OLD] += 1
    heap.old_top = block + need
    settle(heap.java, block, need)
    return block


@kernel(inline=True)
def write(heap, slot, field, target):
    """The reference, and the barrier: its card is dirty."""
    heap.paths[WRITE] += 1
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    store_reference(heap.java, heap.machine, address, field, referred)


@kernel
def collect(heap):
    """A full collection."""
    if heap.java.base:
        full(heap)


@kernel
def usable(heap, address, size):
    """What the block has after its header."""
    return block_bytes(heap.machine, address - HEADER_BYTES) - HEADER_BYTES


@kernel
def extent(heap, address, size):
    """The block from its header on."""
    return address - HEADER_BYTES, block_bytes(heap.machine, address - HEADER_BYTES)


@kernel
def cached(heap, blocks):
    """What is left of the buffer."""
    if not heap.tlab_bytes or not heap.bump_end:
        return 0
    return write_row(blocks, 0, heap.bump, heap.bump_end + heap.tlab_reserve - heap.bump)


@kernel
def metadata(heap, blocks):
    """The table, with what the JVM keeps, and the stack of grey objects."""
    rows = own_memory(heap.stack, blocks)
    if heap.java.base:
        rows = write_row(blocks, rows, heap.old, heap.objects - heap.old)
    return rows


@kernel
def vacant(heap, blocks):
    """What lies above the top of each space."""
    if not heap.java.base:
        return 0
    settle_eden(heap)
    rows = write_row(blocks, 0, heap.eden_top, heap.eden_end - heap.eden_top)
    end = heap.survivors + heap.survivor_bytes
    rows = write_row(blocks, rows, heap.survivors_top, end - heap.survivors_top)
    end = heap.spare + heap.survivor_bytes
    rows = write_row(blocks, rows, heap.spare_top, end - heap.spare_top)
    return write_row(blocks, rows, heap.old_top, heap.old_end - heap.old_top)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return check_heap(heap)
