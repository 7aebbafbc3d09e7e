"""Dalvik of Android 4.4: objects in spaces of dlmalloc, marked and swept where they lie.

    new ─► limits allow it ─no─► GC_FOR_ALLOC ─► again ─► grow ─► GC_BEFORE_OOM ─► grow ─► out
             └ beyond the concurrent start: GC_CONCURRENT before the next one

Terms      see state.py and heap_source.py beside this file
Invariant  state.py                                                        (check: 1-4, 11-13)
Source     Android 4.4 dalvik/vm/alloc/Heap.cpp (tryMalloc); the parts name files
Omits      the time that a concurrent collection takes beside the program, in which that goes on;
           trimming after five idle seconds; lowMemoryMode; registered native allocations
"""

from typing import NamedTuple

from heapwright.allocators.dlmalloc.checking import check as check_space
from heapwright.allocators.dlmalloc.checking import list_free, own_memory
from heapwright.allocators.dlmalloc.chunk import USED, block_of, head
from heapwright.allocators.dlmalloc.chunk import space as space_of
from heapwright.allocators.frame import cached, counters
from heapwright.collectors.android.history import history, note
from heapwright.collectors.android.properties import sizes
from heapwright.collectors.hotspot.layout import java, refer
from heapwright.collectors.log import ALLOCATED_BYTES, ALLOCATED_OBJECTS, log
from heapwright.collectors.mark import mark_stack
from heapwright.collectors.mark import own_memory as stack_memory
from heapwright.collectors.mutator import REFERENCES, SLOTS, handle
from heapwright.collectors.references import references, sentences
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, store
from heapwright.managers.runtime.dalvik.collection import collect_for, first_chunk, following
from heapwright.managers.runtime.dalvik.heap_source import (
    CONCURRENT_START,
    FULL,
    allocate,
    allocate_and_grow,
    fork,
    open_space,
)
from heapwright.managers.runtime.dalvik.lines import lines, summary
from heapwright.managers.runtime.dalvik.referring import declare, got
from heapwright.managers.runtime.dalvik.state import (
    BEFORE_OOM,
    CONCURRENT,
    DEAD,
    EXPLICIT,
    FOR_ALLOC,
    FORCE,
    GREW,
    GROW,
    HEADER_BYTES,
    NEW,
    NONE,
    OOM,
    OUT,
    PATHS,
    SLOT_MASK,
    SLOT_SHIFT,
    WRITE,
    Heap,
    chunk_bytes,
    header,
    is_active,
    slot_of,
)
from heapwright.versions import version_number

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "boot",
    "cached",
    "check",
    "collect",
    "declare",
    "extent",
    "got",
    "lines",
    "metadata",
    "new",
    "notes",
    "space",
    "summary",
    "usable",
    "vacant",
    "write",
]

TRIM_THRESHOLD = 2 << 20  # of an mspace


class Config(NamedTuple):
    """Properties of the device, dalvik.vm.*, with the defaults of the virtual machine itself."""

    heapsize: int = 16 << 20  # most bytes of all spaces
    heapgrowthlimit: int = 0  # of a process that does not ask for a large heap; 0: heapsize
    heapstartsize: int = 2 << 20  # to which the heap may grow before its first collection
    heaptargetutilization: int = 50  # percent of the heap that shall live after a collection
    heapmaxfree: int = 2 << 20  # most that is free then,
    heapminfree: int = 512 << 10  # and least
    concurrent: int = 1  # 0: no thread for concurrent collections, 1: one
    zygote_bytes: int = 0  # allocated bytes after which the process is forked; 0: never
    version: int = version_number("4.4")


def boot(machine, config, mutator):
    """No space yet; HeapwrightError for sizes that contradict each other."""
    start, limit, most = sizes("dalvik", config)
    if config.zygote_bytes < 0:
        raise HeapwrightError("dalvik.zygote_bytes is not negative.")
    if mutator.counts[SLOTS] > SLOT_MASK:
        raise HeapwrightError("dalvik has no room for so many objects at once.")
    fields = words(
        Heap,
        most=most,
        growth_limit=limit,
        utilization=config.heaptargetutilization * FULL // 100,
        min_free=max(min(config.heapminfree, most), CONCURRENT_START),
        max_free=min(config.heapmaxfree, most),
        start=start,
        ideal=start,
        soft=NONE,
        maximum=limit,
        concurrent_start=NONE,
        concurrent=config.concurrent,
        wanted=1,
        fork_at=config.zygote_bytes,
    )
    declared = references(mutator)
    declared.soft_seen, declared.late_cleared = -1, 1
    parts = (machine, 4, 8, PAGE_BYTES, TRIM_THRESHOLD, 0)
    return Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        java=java(machine, 0, mutator, compressed=True),
        stack=mark_stack(),
        active=space_of(*parts),
        zygote=space_of(*parts),
        history=history(),
        references=declared,
        fields=fields,
        paths=counters(PATHS),
    )


def space(heap):
    """What the real spaces are told: most bytes, and what is decided by."""
    told = (heap.growth_limit, heap.start, heap.utilization, heap.min_free, heap.max_free)
    if heap.fork_at:
        raise HeapwrightError("dalvik.zygote_bytes is 0 where the real spaces are driven.")
    return int(heap.most), (*map(int, told), int(heap.concurrent))


def notes(heap):
    """What its figures mean, in sentences."""
    told = [
        "dalvik stands still for the whole of a concurrent collection, which the real one makes "
        "beside the program.",
        "dalvik's spaces are held to dlmalloc's own code, its rules to a second writing of them; "
        "no Dalvik ran.",
    ]
    if heap.mutator.counts[REFERENCES]:
        told += sentences(heap.references)
    elif heap.paths[PATHS.index("before_oom")]:
        told.append("GC_BEFORE_OOM would clear soft references too; the trace declares none.")
    return told


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; 0 when there is no memory."""
    heap.paths[NEW] += 1
    need = size + HEADER_BYTES
    block = 0
    if not heap.wanted and not heap.fork_at and need < heap.growth_limit:
        block = allocate(heap, need)
    if not block:
        block = _obtain(heap, need)
        if not block:
            return 0
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += chunk_bytes(heap.active, block)
    store(heap.machine, block, slot << SLOT_SHIFT | fields)
    for field in range(fields):
        refer(heap.java, heap.machine, block + HEADER_BYTES, field, 0)
    heap.mutator.handles[unsigned(slot)] = block + HEADER_BYTES
    return block + HEADER_BYTES


@kernel(cold=True)
def _obtain(heap, need):
    """A block by all means there are (tryMalloc); 0 if there is none."""
    if heap.fork_at and heap.log.totals[ALLOCATED_BYTES] >= heap.fork_at:
        fork(heap)
    if not heap.active.base:
        heap.wanted = 0
        if not open_space(heap, heap.start):
            return 0
    if heap.wanted:
        heap.wanted = 0
        collect_for(heap, CONCURRENT)
    block = 0
    if need < heap.growth_limit:
        block = allocate(heap, need)
        if not block:
            collect_for(heap, FOR_ALLOC)
            block = allocate(heap, need)
        if not block:
            block = allocate_and_grow(heap, need)
            if block:
                heap.paths[GREW] += 1
                note(heap, GROW, (heap.ideal, need, 0, 0, 0, 0))
    if not block:
        note(heap, FORCE, (need, 0, 0, 0, 0, 0))
        collect_for(heap, BEFORE_OOM)
        block = allocate_and_grow(heap, need)
    if not block:
        heap.paths[OUT] += 1
        note(heap, OOM, (need, 0, 0, 0, 0, 0))
    return block


@kernel(inline=True)
def write(heap, slot, field, target):
    """The reference; its card is not modelled."""
    heap.paths[WRITE] += 1
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    refer(heap.java, heap.machine, address, field, referred)


@kernel
def collect(heap):
    """System.gc()."""
    if heap.active.base:
        collect_for(heap, EXPLICIT)


@kernel(inline=True)
def _space_bytes(heap, address):
    """Bytes of an object's chunk."""
    block = address - HEADER_BYTES
    if is_active(heap, address):
        return chunk_bytes(heap.active, block)
    return chunk_bytes(heap.zygote, block)


@kernel
def usable(heap, address, size):
    """Up to the next chunk's head."""
    return _space_bytes(heap, address) - heap.active.word - HEADER_BYTES


@kernel
def extent(heap, address, size):
    """From its chunk's head to the next one's."""
    return address - HEADER_BYTES - heap.active.word, _space_bytes(heap, address)


@kernel
def metadata(heap, blocks):
    """Spaces' states, feet and records; a chunk of the mark stack."""
    rows = own_memory(heap.active, blocks)
    rows += own_memory(heap.zygote, blocks[min(rows, len(blocks)) :])
    return rows + stack_memory(heap.stack, blocks[min(rows, len(blocks)) :])


@kernel
def vacant(heap, blocks):
    """Free chunks."""
    rows = list_free(heap.active, blocks)
    return rows + list_free(heap.zygote, blocks[min(rows, len(blocks)) :])


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = check_space(heap.active)
    if not broken:
        broken = check_space(heap.zygote)
    if broken or not heap.active.base:
        return broken
    if not _counted(heap, heap.active, heap.objects, heap.bytes):
        return 11
    if heap.zygote.base and not _counted(heap, heap.zygote, heap.zygote_objects, heap.zygote_bytes):
        return 11
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address:
            word = header(heap, address - HEADER_BYTES)
            if word < 0:
                return 12
            if slot_of(word) != slot:
                return 13
    return 0


@kernel
def _counted(heap, space_, objects, bytes_):
    """Whether a space holds what was counted, and nothing that is marked."""
    chunk = first_chunk(space_)
    while chunk != space_.top:
        word = header(heap, block_of(space_, chunk))
        if head(space_, chunk) & USED:
            if word < 0:
                return False
            if not word & DEAD:
                objects -= 1
                bytes_ -= head(space_, chunk) & ~7
        chunk = following(space_, chunk)
    return objects == 0 and bytes_ == 0
