"""HotSpot's garbage-first collector (G1) with one thread: regions, young ones and those worth it.

    new ─► retained or current eden region ─full─► a further one ─target─► young or mixed collection
             └ more than half a region: regions of its own            ─► full ─► out of memory
    write ─► reference; one that leads out of an old region: its card

Terms      see state.py beside this file, and collectors/hotspot/layout.py
Invariant  invariants.py                                                        (check: 1-7)
Source     OpenJDK 17 and 21, src/hotspot/share/gc/g1; the parts name files
Omits      thread-local buffers (-XX:-UseTLAB); more threads than one; a heap that grows; what the
           JVM itself allocates, but for `own_bytes`; stacks: what the program holds lies in a table
           (see layout.py). When marking is over is a setting, not a clock
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import cached, counters, write_row
from heapwright.collectors.hotspot import sizing
from heapwright.collectors.hotspot.ages import age_table
from heapwright.collectors.hotspot.history import (
    COLUMNS,
    CONCURRENT,
    history,
    report,
    rows,
)
from heapwright.collectors.hotspot.layout import (
    HEADER_BYTES,
    MOST_BYTES,
    extent,
    fields_of,
    initialise,
    java,
    object_bytes,
    table_bytes,
    usable,
)
from heapwright.collectors.hotspot.layout import refer as store_reference
from heapwright.collectors.hotspot.recorded import laid_out
from heapwright.collectors.hotspot.referring import enter, finalizer_bytes, got, notes
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS, log
from heapwright.collectors.mark import mark_stack, own_memory
from heapwright.collectors.mutator import SLOTS, handle
from heapwright.collectors.references import references
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.errors import HeapwrightError
from heapwright.machine import mmap, touch
from heapwright.managers.runtime.hotspot_g1.collection import (
    collect_full,
    collect_whole,
    collect_young,
    finish_marking,
    set_young_target,
)
from heapwright.managers.runtime.hotspot_g1.invariants import check
from heapwright.managers.runtime.hotspot_g1.linking import link, run_finalisers
from heapwright.managers.runtime.hotspot_g1.marking import wants_marking
from heapwright.managers.runtime.hotspot_g1.state import (
    BY_PROGRAM,
    EDEN,
    FREE,
    MARKING,
    OLD,
    OWN,
    REQUESTED,
    SURVIVOR,
    Heap,
    note_card,
    regions,
    set_kind,
    settle_tops,
    start_of,
    take_region,
    take_run,
    vacant,
)
from heapwright.trace.schema import FINALISABLE
from heapwright.versions import version_number

M = 1 << 20
MOST_REGIONS = 2048  # that a default size of regions aims at
LEAST_RETAINED = 2048  # bytes that a region has left to be retained: MinTLABSize

PATHS = (
    *("new", "write", "full", "young", "mixed", "cycle", "remark", "failed", "slow", "region"),
    "humongous",
)
NEW, WRITE = 0, 1
SLOW, REGION, HUGE = range(8, 11)

__all__ = ["cached", "check", "extent", "got", "laid_out", "notes", "usable", "vacant"]


class Config(NamedTuple):
    """Options of `java` under their names, and what a replay cannot know of the real JVM."""

    version: int = version_number("21")
    Xmx: int = 256 << 20  # -Xmx: the heap; a JVM takes a quarter of the machine
    Xms: int = 0  # -Xms: the same, or 0
    Xmn: int = 0  # -Xmn: young; 0 as the pause goal has it
    G1HeapRegionSize: int = 0  # of a region, a power of two; 0: a 2048th of the heap, 1 to 32 MiB
    MaxGCPauseMillis: int = 200  # milliseconds that a collection is to take at most
    SurvivorRatio: int = 8  # young as a multiple of the survivors' most regions
    MaxTenuringThreshold: int = 15  # collections that an object survives before it is promoted
    TargetSurvivorRatio: int = 50  # percent of the survivors' regions that may be in use
    InitiatingHeapOccupancyPercent: int = 45  # of the heap in old regions, that begins a cycle
    G1NewSizePercent: int = 5  # of the heap: least young, where the pause goal sizes it
    G1MaxNewSizePercent: int = 60  # of the heap: most young
    G1HeapWastePercent: int = 5  # of the heap that mixed collections leave unreclaimed
    G1MixedGCLiveThresholdPercent: int = 85  # of a region: no candidate lives more
    G1MixedGCCountTarget: int = 8  # mixed collections that candidates are spread over
    G1OldCSetRegionThresholdPercent: int = 10  # of the heap: most old regions of one collection
    SoftRefLRUPolicyMSPerMB: int = 1000  # that a soft reference stays unused a free MiB
    events_per_ms: int = 1000  # of the trace: what stands for time
    UseCompressedOops: int = 1  # 0: references of eight bytes, 1: of four
    marking_work: int = 100  # hundredths of a byte that is marked while the program allocates one
    pause_base_us: int = 1000  # microseconds of a pause that copies nothing
    copied_bytes_per_us: int = 500  # of the pause model
    own_bytes: int = 0  # regions' bytes that the JVM keeps, the table among them
    own_end_bytes: int = 0  # where, from the heap's start, what it keeps ends; 0: at a region's end
    table_offset_bytes: int = 0  # from the heap's start to the table
    finalizers_offset_bytes: int = 0  # and to the list of Finalizers


def boot(machine, config, mutator):
    """A heap that is not mapped yet; HeapwrightError for options that contradict each other."""
    name = "hotspot-g1"
    sizing.refuse_contradictions(name, config)
    heap_bytes = sizing.down(config.Xmx + sizing.HEAP_BYTES - 1, sizing.HEAP_BYTES)
    size = config.G1HeapRegionSize or _region_bytes(heap_bytes)
    if size & (size - 1) or not M <= size <= 32 * M:
        raise HeapwrightError(
            f"{name}.G1HeapRegionSize is a power of two from 1 to 32 MiB, not {size:,} bytes."
        )
    if not 0 < config.G1NewSizePercent <= config.G1MaxNewSizePercent <= 100:
        raise HeapwrightError(f"{name}.G1NewSizePercent is above G1MaxNewSizePercent, or is 0.")
    if min(config.copied_bytes_per_us, config.G1MixedGCCountTarget, config.SurvivorRatio) < 1:
        raise HeapwrightError(
            f"{name}.copied_bytes_per_us, G1MixedGCCountTarget and SurvivorRatio are at least 1."
        )
    shift, total = size.bit_length() - 1, -(-heap_bytes // size)
    slots, compressed = int(mutator.counts[SLOTS]), bool(config.UseCompressedOops)
    table = table_bytes(slots, compressed=compressed)
    own = -(-max(config.own_bytes, config.table_offset_bytes + table) // size)
    if own + 2 > total:
        raise HeapwrightError(
            f"{name}.Xmx has {total:,} regions, and the program's table of {slots:,} objects, with "
            f"what the JVM keeps, takes {own:,}: there is no room for young and old."
        )
    shared = config.own_end_bytes >> shift if config.own_end_bytes & (size - 1) else -1
    fields = words(
        Heap,
        region_shift=shift,
        region_bytes=size,
        total=total,
        own=own,
        shared=shared,
        shared_from=config.own_end_bytes,
        first=own if shared < 0 else shared,
        lowest_free=own,
        highest_free=total - 1,
        current=-1,
        retained=-1,
        to_region=-1,
        to_old=-1,
        logging=BY_PROGRAM,
        fixed_young=config.Xmn // size or (1 if config.Xmn else 0),
        survivor_ratio=config.SurvivorRatio,
        target_percent=config.TargetSurvivorRatio,
        threshold=config.MaxTenuringThreshold,
        most_threshold=config.MaxTenuringThreshold,
        ihop_percent=config.InitiatingHeapOccupancyPercent,
        marking_work=config.marking_work,
        waste_percent=config.G1HeapWastePercent,
        live_percent=config.G1MixedGCLiveThresholdPercent,
        count_target=config.G1MixedGCCountTarget,
        old_percent=config.G1OldCSetRegionThresholdPercent,
        goal_us=config.MaxGCPauseMillis * 1000,
        base_us=config.pause_base_us,
        copied_per_us=config.copied_bytes_per_us,
        least_percent=config.G1NewSizePercent,
        most_percent=config.G1MaxNewSizePercent,
    )
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, total << shift, mutator, compressed=compressed),
        regions=regions(total),
        stack=mark_stack(),
        ages=age_table(),
        shown_ages=age_table(),
        history=history(),
        references=references(mutator, config.SoftRefLRUPolicyMSPerMB, config.events_per_ms),
        fields=fields,
        paths=counters(PATHS),
    )
    heap.java.table = config.table_offset_bytes + HEADER_BYTES
    heap.java.finalizers = config.finalizers_offset_bytes
    heap.references.most_bytes = total << shift
    heap.references.used_bytes = own * size
    return heap


def _region_bytes(heap_bytes):
    """The default size of a region."""
    return 1 << (min(max(heap_bytes // MOST_REGIONS, M), 32 * M)).bit_length() - 1


def aged(heap):
    """Young and old at each collection, in whole regions; humongous ones are of old."""
    told = rows(heap.history)
    survivors, humongous, old = (told[:, COLUMNS.index(each)] for each in COLUMNS[3:6])
    concurrent = told[:, 1] == CONCURRENT
    eden = np.where(concurrent, told[:, COLUMNS.index("eden")], 0)
    after = np.stack([eden, survivors, humongous + old], axis=1) << int(heap.region_shift)
    capacity = {"old": int(heap.total - heap.own) << int(heap.region_shift)}
    return report(told, after, capacity, heap.shown_ages)


@kernel
def _open(heap):
    """Map the heap; whether the system allows it."""
    java = heap.java
    base = mmap(heap.machine, 0, java.reserved_bytes)
    if not base:
        return False
    java.base = base
    java.table += base
    java.finalizers += base
    touch(heap.machine, java.table - HEADER_BYTES, java.slots << java.shift)
    for region in range(heap.own):
        set_kind(heap, region, OWN)
        heap.regions.top[unsigned(region)] = start_of(heap, region) + heap.region_bytes
    if heap.shared >= 0:
        heap.shared_from += base
        heap.regions.top[unsigned(heap.shared)] = heap.shared_from
    set_young_target(heap)
    return True


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object, 0 when there is no memory; a bump while an eden region has room."""
    heap.paths[NEW] += 1
    need = object_bytes(size)
    block = _block(heap, slot, need)
    if not block:
        return 0
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += need
    address = initialise(heap.java, heap.machine, block, need, fields)
    heap.mutator.handles[unsigned(slot)] = address
    note_card(heap, heap.java.table + (slot << heap.java.shift), address)
    return address


@kernel(inline=True)
def _block(heap, slot, need):
    """A block of `need` bytes; 0 when there is no memory."""
    block, is_small = heap.kept, need <= heap.region_bytes >> 1
    if is_small and block + need <= heap.kept_end:
        heap.kept = block + need
        return block
    if is_small and heap.bump + need <= heap.bump_end:
        block = heap.bump
        heap.bump = block + need
        return block
    return _obtain(heap, slot, need)


@kernel(cold=True)
def declare(heap, slot, target, kind):
    """What the program declares; whether a Finalizer that it takes has room."""
    block = 0
    if kind == FINALISABLE:
        block = _block(heap, slot, finalizer_bytes(heap.java))
        if not block:
            return False
    link(heap, enter(heap, slot, target, kind, block))
    return True


@kernel(cold=True)
def _obtain(heap, slot, need):
    """A block of `need` bytes, by all means there are; 0 if there is none."""
    heap.paths[SLOW] += 1
    if need > MOST_BYTES or (not heap.java.base and not _open(heap)):
        return 0
    if need > heap.region_bytes >> 1:
        block = _humongous(heap, slot, need)
    else:
        block = _small(heap, need)
    if heap.references.waiting:
        run_finalisers(heap)
    return block


@kernel
def _small(heap, need):
    """A block of an eden region, after collections if need be."""
    block = _in_new_region(heap, need)
    if not block:
        collect_young(heap)
        block = _in_new_region(heap, need)
    if not block:
        collect_full(heap)
        block = _in_new_region(heap, need)
    if not block and heap.references.entries:
        collect_whole(heap)
        block = _in_new_region(heap, need)
    return block


@kernel
def _in_new_region(heap, need):
    """A block in a further eden region, if young may have one more."""
    counts = heap.regions.counts
    if counts[unsigned(EDEN)] + counts[unsigned(SURVIVOR)] >= heap.young_target:
        return 0
    if heap.phase == MARKING:
        heap.marking_left -= heap.region_bytes
        if heap.marking_left <= 0:
            finish_marking(heap)
    settle_tops(heap)
    region = take_region(heap, EDEN)
    if region < 0:
        return 0
    heap.paths[REGION] += 1
    left = heap.bump_end - heap.bump
    if heap.current >= 0 and left >= LEAST_RETAINED and left >= heap.kept_end - heap.kept:
        heap.retained, heap.kept, heap.kept_end = heap.current, heap.bump, heap.bump_end
    heap.current, heap.bump = region, start_of(heap, region)
    heap.bump_end = heap.bump + heap.region_bytes
    heap.bump += need
    return heap.bump - need


@kernel
def _humongous(heap, slot, need):
    """Regions of its own for a large object."""
    heap.paths[HUGE] += 1
    if wants_marking(heap, need):
        heap.phase = REQUESTED
        collect_young(heap)
        if not heap.regions.counts[unsigned(FREE)]:
            collect_full(heap)
    block = take_run(heap, slot, need)
    if not block:
        collect_young(heap)
        block = take_run(heap, slot, need)
    if not block:
        collect_full(heap)
        block = take_run(heap, slot, need)
    if not block and heap.references.entries:
        collect_whole(heap)
        block = take_run(heap, slot, need)
    return block


@kernel(inline=True)
def write(heap, slot, field, target):
    """The reference, and the barrier: one that leads out of an old region is noted in its card. A
    field for which the array has no element is left out: see collectors/hotspot/recorded.py."""
    heap.paths[WRITE] += 1
    java, address = heap.java, handle(heap.mutator, slot)
    if field >= fields_of(heap.machine, address):
        return
    referred = handle(heap.mutator, target)
    store_reference(java, heap.machine, address, field, referred)
    if referred:
        place = address + (field << java.shift)
        region = (place - java.base) >> heap.region_shift
        if heap.regions.kind[unsigned(region)] >= OLD:
            note_card(heap, place, referred)


@kernel
def collect(heap):
    """A full collection."""
    if heap.java.base:
        collect_full(heap)
        run_finalisers(heap)


@kernel
def metadata(heap, blocks):
    """The table, with what the JVM keeps, and the stack of grey objects."""
    rows = own_memory(heap.stack, blocks)
    if heap.java.base:
        for region in range(heap.own):
            start = start_of(heap, region)
            end = heap.shared_from if region == heap.shared else start + heap.region_bytes
            rows = write_row(blocks, rows, start, end - start)
    return rows
