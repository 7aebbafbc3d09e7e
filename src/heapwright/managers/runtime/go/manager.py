"""Go 1.27's heap, whole: size-segregated spans under a concurrent mark-sweep collector.

    new ─► tiny block │ cache: a span per class ─► central sets ─► page heap ─► machine
    write ─► hybrid barrier while marking
    a cache takes a span ─► LIVE grows ─► trigger: begin ─► mark in steps ─► finish ─► sweep

    object  size <= 512   no header; which words are references says the bitmap at the span's end
            larger        header of 8 bytes before it, if it has references; so its class may differ
            > 32760       a span of its own
            < 16          if it has no references, shares a block of 16 bytes with others

Terms      see layout.py and cycle.py beside this file
Invariant  invariants.py                                                       (check: 1-10)
Source     Go 1.27 src/runtime; the parts beside this file name files
Omits      stacks of goroutines and the runtime's own objects, which are settings; its tables
           outside the heap, which no measure counts; finalisers, weak pointers, arenas, the heap
           profile; what the parts omit. An object names no slot, so a trace that hides a death
           (no writer of this project does) may go on using what was swept

Threads of a trace run on processors in turn: thread t on t mod GOMAXPROCS.
"""

import os
from typing import NamedTuple

import numpy as np

from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    ALLOCATED_OBJECTS,
    BARRIERS,
    Log,
    log,
)
from heapwright.collectors.mutator import Mutator, handle
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.errors import HeapwrightError
from heapwright.machine import STATIC_BASE, Machine, load, store, touch
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.runtime.go.assumptions import courses, notes
from heapwright.managers.runtime.go.cache import cache_row, new_large, refill, take
from heapwright.managers.runtime.go.cycle import (
    CYCLE,
    collect_all,
    grown,
)
from heapwright.managers.runtime.go.heap_bitmap import note_references
from heapwright.managers.runtime.go.invariants import check as check_heap
from heapwright.managers.runtime.go.layout import (
    CLASS,
    FIELDS,
    NEEDS_ZERO,
    NEVER,
    PROCESSOR_SHIFT,
    SCANNABLE,
    SIZE,
    STRIDE,
    ZERO,
    GoHeap,
    field,
    go_heap,
    set_field,
    span_of,
)
from heapwright.managers.runtime.go.mark import Marker, marker, shade
from heapwright.managers.runtime.go.pacer import Pacer, commit, pacer
from heapwright.managers.runtime.go.size_classes import (
    BITMAP_SIZE,
    HEADER_BYTES,
    PAGE_SHIFT,
    SMALL_BYTES,
)
from heapwright.managers.runtime.go.tiny import TINY_BYTES, TINY_CLASS, share, share_out
from heapwright.managers.runtime.go.vacancies import (
    bytes_beside,
    free_in_caches,
    free_outside_caches,
)

ZERO_BASE = STATIC_BASE  # address of every object of no bytes; runtime: zerobase
MOST_SMALL = SMALL_BYTES - HEADER_BYTES  # bytes of the largest object of a class
WORD_BYTES = 8
MOST_PROCESSORS = 1024

PATHS = ("tiny", "small", "pair", "span", "large", "zeroed", "empty", "refused")
TINY_PATH, SMALL, PAIR, SPAN_PATH, LARGE, ZEROED, EMPTY, REFUSED = range(len(PATHS))


class Config(NamedTuple):
    """The knobs of package runtime's environment, with their defaults, and what a replay cannot
    know of the program; sizes in bytes."""

    gogc: int = 100  # GOGC: growth in percent of what is live; -1 off
    gomemlimit: int = 0  # GOMEMLIMIT: of all memory of the runtime; 0 none
    gomaxprocs: int = 0  # GOMAXPROCS: processors; 0 stands for this machine's
    gcstoptheworld: int = 0  # GODEBUG: 1 marking stops the world, 2 sweeping too
    workers_work: int = 100  # hundredths of a byte scanned while the program allocates a byte
    globals_bytes: int = 0  # global variables that may hold references
    stacks_bytes: int = 0  # stacks scanned
    own_bytes: int = 0  # live objects of the runtime itself
    own_span_bytes: int = 0  # spans that hold them
    outside_bytes: int = 0  # memory of the runtime that is not heap


@record(*CYCLE, array="cycle")
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    go: GoHeap
    marker: Marker
    pacer: Pacer
    cycle: np.ndarray  # int64[CYCLE_WORDS]  see cycle.py
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config, mutator):
    """A heap that has taken nothing yet; HeapwrightError for a knob out of range."""
    if not -1 <= config.gogc <= 1 << 31:
        raise HeapwrightError(f"gogc is a percentage from 0 on, or -1 for off, not {config.gogc}.")
    if config.gcstoptheworld not in (0, 1, 2):
        raise HeapwrightError(f"gcstoptheworld is 0, 1 or 2, not {config.gcstoptheworld}.")
    processors = config.gomaxprocs or os.cpu_count() or 1
    if not 1 <= processors <= MOST_PROCESSORS:
        raise HeapwrightError(f"gomaxprocs is 0 to {MOST_PROCESSORS}, not {config.gomaxprocs}.")
    for knob in Config._fields[4:]:
        if not 0 <= getattr(config, knob) <= SPACE_BYTES:
            raise HeapwrightError(f"{knob} is 0 to {SPACE_BYTES}, not {getattr(config, knob)}.")
    if config.gomemlimit < 0:
        raise HeapwrightError(f"gomemlimit is a number of bytes or 0, not {config.gomemlimit}.")
    heap = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        go=go_heap(machine, processors),
        marker=marker(),
        pacer=pacer(config.gogc, config.own_bytes, config.globals_bytes, config.stacks_bytes),
        cycle=words(
            Heap,
            stop_the_world=config.gcstoptheworld,
            workers_work=config.workers_work,
            own_bytes=config.own_bytes,
        ),
        paths=np.zeros(len(PATHS), np.int64),
    )
    go = heap.go
    go.memory_limit = min(config.gomemlimit or NEVER, NEVER)
    go.live, go.in_use = config.own_bytes, config.own_span_bytes
    go.allocated_total = config.own_bytes
    go.outside = config.outside_bytes
    commit(heap.pacer, go, 1)
    return heap


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object of `size` bytes whose first `fields` words are references; 0 when
    there is no memory even after a collection. A few nanoseconds while the cache's word lasts."""
    go = heap.go
    processor = thread
    if thread >= go.processor_count:
        processor = thread % go.processor_count
    if size > MOST_SMALL or size == 0:
        address = _new_large_or_empty(heap, processor, size, fields)
    elif fields:
        block_bytes = size + HEADER_BYTES if size > BITMAP_SIZE else size
        address = _new_small(heap, processor, size, fields, _size_class(go, block_bytes) * 2)
    elif size >= TINY_BYTES:
        address = _new_small(heap, processor, size, 0, _size_class(go, size) * 2 + 1)
    else:
        address = _new_tiny(heap, processor, size)
    heap.mutator.handles[unsigned(slot)] = address
    return address


@kernel(inline=True)
def _size_class(go, block_bytes):
    """The class whose blocks hold so many bytes."""
    return np.int64(go.classes.class_of[unsigned((block_bytes + 7) >> 3)])


@kernel(inline=True)
def _new_small(heap, processor, size, fields, span_class):
    """Address of a new object of a class; 0 when there is no memory."""
    row = cache_row(processor, span_class)
    block = take(heap.go, row)
    if not block:
        return _new_small_slowly(heap, processor, size, fields, span_class)
    heap.paths[SMALL] += 1
    return _born(heap, processor, row, block, (size, fields))


@kernel(inline=True)
def _new_tiny(heap, processor, size):
    """Address of a new object in a block that it shares; 0 when there is no memory."""
    address = share(heap.go, processor, size)
    if address:
        heap.paths[TINY_PATH] += 1
        heap.log.totals[ALLOCATED_OBJECTS] += 1
        return address
    row = cache_row(processor, TINY_CLASS)
    block = take(heap.go, row)
    if not block:
        return _new_small_slowly(heap, processor, size, 0, TINY_CLASS)
    heap.paths[SMALL] += 1
    share_out(heap.go, processor, block, size)
    return _born(heap, processor, row, block, (size, 0))


@kernel(inline=True)
def _born(heap, processor, row, block, request):
    """Make a block of the cache's row an object: zeroed, its references known; its address.

    `request` is (bytes, reference fields).
    """
    go, totals = heap.go, heap.log.totals
    block_bytes = go.caches[unsigned(row + STRIDE)]
    totals[ALLOCATED_OBJECTS] += 1
    totals[ALLOCATED_BYTES] += block_bytes
    if go.caches[unsigned(row + ZERO)]:
        heap.paths[ZEROED] += 1
        touch(heap.machine, block, block_bytes)
    if not request[1]:
        return block
    return _refer_to_nothing(heap, processor, block, block_bytes, request)


@kernel
def _refer_to_nothing(heap, processor, block, block_bytes, request):
    """Write where the references of a new object are, and null into them; its address."""
    size, fields = request
    scannable = heap.go.processors[(processor << PROCESSOR_SHIFT) + SCANNABLE]
    address = block
    if size > BITMAP_SIZE:
        touch(heap.machine, block, HEADER_BYTES)
        store(heap.machine, block, fields)
        address += HEADER_BYTES
        scannable += block_bytes
    else:
        note_references(heap.go, block, block_bytes, fields)
        scannable += fields * WORD_BYTES
    heap.go.processors[(processor << PROCESSOR_SHIFT) + SCANNABLE] = scannable
    for number in range(fields):
        store(heap.machine, address + number * WORD_BYTES, 0)
    return address


@kernel
def _new_small_slowly(heap, processor, size, fields, span_class):
    """As `_new_small`, when the cache's word is used up."""
    go = heap.go
    filled, took_span = refill(go, processor, span_class)
    if not filled:
        collect_all(heap)
        filled, took_span = refill(go, processor, span_class)
        if not filled:
            heap.paths[REFUSED] += 1
            return 0
    row = cache_row(processor, span_class)
    heap.paths[SPAN_PATH if took_span else PAIR] += 1
    block = take(go, row)
    address = _born(heap, processor, row, block, (size, fields))
    if span_class == TINY_CLASS and size < TINY_BYTES:
        share_out(go, processor, block, size)
    if took_span:
        grown(heap, block, go.classes.pages_of[span_class] << PAGE_SHIFT)
    return address


@kernel
def _new_large_or_empty(heap, processor, size, fields):
    """Address of a new object with a span of its own, or of one without a byte."""
    if size == 0:
        heap.paths[EMPTY] += 1
        heap.log.totals[ALLOCATED_OBJECTS] += 1
        return ZERO_BASE
    span = _large_span(heap, processor, size, 0 if fields else 1)
    if not span:
        heap.paths[REFUSED] += 1
        return 0
    go, address = heap.go, span << PAGE_SHIFT
    heap.paths[LARGE] += 1
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += field(go, span, SIZE)
    if field(go, span, NEEDS_ZERO):
        heap.paths[ZEROED] += 1
        touch(heap.machine, address, size)
    if fields:
        set_field(go, span, FIELDS, fields)
        for number in range(fields):
            store(heap.machine, address + number * WORD_BYTES, 0)
        go.processors[(processor << PROCESSOR_SHIFT) + SCANNABLE] += field(go, span, SIZE)
    grown(heap, address, field(go, span, SIZE))
    return address


@kernel
def _large_span(heap, processor, size, span_class):
    """A span for one object, after a full collection if it must be; 0 if there is no memory."""
    if size > SPACE_BYTES:
        return 0
    span = new_large(heap.go, processor, size, span_class)
    if not span:
        collect_all(heap)
        span = new_large(heap.go, processor, size, span_class)
    return span


@kernel(inline=True)
def write(heap, slot, number, target):
    """Let reference `number` of the object in `slot` refer to the object in `target`, -1 none."""
    mutator, go = heap.mutator, heap.go
    place = mutator.handles[unsigned(slot)] + number * WORD_BYTES
    address = handle(mutator, target)
    if go.marking:
        heap.log.totals[BARRIERS] += 1
        shade(heap.marker, load(heap.machine, place))
        shade(heap.marker, address)
    store(heap.machine, place, address)


@kernel
def collect(heap):
    """runtime.GC: a whole cycle and its sweep."""
    collect_all(heap)


@kernel
def _is_tiny(go, address, size):
    """Whether the live object shares its block with others."""
    return size < TINY_BYTES and field(go, span_of(go, address), CLASS) == TINY_CLASS


@kernel
def extent(heap, address, size):
    """The block with its header; of a tiny object only its own bytes, as the block is shared."""
    go = heap.go
    span = span_of(go, address)
    if not span or _is_tiny(go, address, size):
        return address, size
    first, block_bytes = span << PAGE_SHIFT, field(go, span, SIZE)
    return first + (address - first) // block_bytes * block_bytes, block_bytes


@kernel
def usable(heap, address, size):
    """To the end of the block."""
    start, length = extent(heap, address, size)
    return start + length - address


@kernel
def cached(heap, blocks):
    """Free objects of cached spans, and the pages that processors keep."""
    return free_in_caches(heap.go, blocks)


@kernel
def metadata(heap, blocks):
    """Heap bitmaps and mark bits, which lie in the spans."""
    return bytes_beside(heap.go, blocks)


@kernel
def vacant(heap, blocks):
    """Free objects of other spans, what is left at the end of spans, and free pages."""
    return free_outside_caches(heap.go, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    return check_heap(heap.go, heap.marker)


__all__ = [
    "PATHS",
    "Config",
    "boot",
    "cached",
    "check",
    "collect",
    "courses",
    "extent",
    "metadata",
    "new",
    "notes",
    "usable",
    "vacant",
    "write",
]
