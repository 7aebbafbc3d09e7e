"""Java's direct memory: buffers of malloc's, held against a limit until their owner is found dead.

    allocateDirect ─► within the limit? ─► malloc, cleared
                      └ no ─► collect: the buffers of dead owners are freed ─► now? ─► else refused
    the owner is dropped ─► its buffer waits for a collection, of Java's heap or the one above

Invariant  counts, capacity and reserved bytes are those of the buffers, waiting or not  (check: 1)
           an address is found in the bucket that its hash names                      (check: 2)
           each row is in use, waits or is free                                       (check: 3)
Source     JDK 17 java.nio.Bits (reserveMemory), DirectByteBuffer, Buffer pools' beans
Omits      the owner's own 64 bytes and Java's heap, whose collections `collect_every` stands for;
           the ladder's waiting, 0.5 s in sum; that other threads may take what was freed meanwhile;
           the order in which cleaners run: here the last dropped first

The limit holds capacities; with PageAlignDirectMemory each buffer takes a page more of malloc, that
the limit does not count. A buffer that waits is neither live nor usable: it stands under caches.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import counters, write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine, clear
from heapwright.machine.ground import pass_alloc, pass_extent, pass_free
from heapwright.words import bytes_text

PATHS = ("allocated", "dropped", "collections", "freed", "refused")
ALLOCATED, DROPPED, COLLECTIONS, FREED, REFUSED = range(len(PATHS))
BUCKET_BITS = 16
MOST = 1 << 22  # buffers at once
UNLIMITED = (1 << 63) - 1


class Config(NamedTuple):
    """Knobs: two of the JVM's, and how often its heap is collected."""

    max_direct_memory: int = 0  # bytes, -XX:MaxDirectMemorySize; 0: no limit (Java: that of -Xmx)
    page_align: int = 0  # 1: -XX:+PageAlignDirectMemory
    collect_every: int = 0  # buffers between collections of Java's heap; 0: none but at the limit


@record(
    "limit",  # bytes
    "page_align",
    "collect_every",
    "buffers",  # that wait too: BufferPoolMXBean's Count
    "capacity",  # their bytes: its TotalCapacity
    "reserved",  # likewise with what aligning takes: its MemoryUsed
    "waiting",  # first row of those whose owner is dead
    "waiting_count",
    "unused",  # first row of the free ones
    "rows",  # that were ever used
    "until_collection",  # buffers
    "refused_bytes",  # of the first request that was refused,
    "refused_reserved",  # what was reserved then
)
class Heap(NamedTuple):
    """The whole state. Rows count from 1; 0 is none."""

    machine: Machine
    bucket: np.ndarray  # int64[hash]  first row
    address: np.ndarray  # int64[row]  as Java has it
    base: np.ndarray  # int64[row]  as malloc has it
    size: np.ndarray  # int64[row]  capacity in bytes
    next: np.ndarray  # int64[row]  in its bucket, among those that wait, or among the free ones
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """No buffer yet; HeapwrightError where a knob is out of range."""
    if min(config) < 0 or config.page_align > 1:
        raise HeapwrightError(
            "java-direct.page_align is 0 or 1, and its other knobs are not negative."
        )
    columns = (reserve(MOST + 1, np.int64) for _ in range(4))
    return Heap(
        machine,
        np.zeros(1 << BUCKET_BITS, np.int64),
        *columns,
        words(
            Heap,
            limit=config.max_direct_memory or UNLIMITED,
            page_align=config.page_align,
            collect_every=config.collect_every,
            until_collection=config.collect_every,
        ),
        counters(PATHS),
    )


@kernel(inline=True)
def _bucket(address):
    """Where an address is looked for: they are multiples of 16, those of large blocks of more."""
    return unsigned((address >> 4 ^ address >> 20) & ((1 << BUCKET_BITS) - 1))


@kernel
def _find(heap, address):
    """The row of a buffer that is in use."""
    row = heap.bucket[_bucket(address)]
    while heap.address[unsigned(row)] != address:
        row = heap.next[unsigned(row)]
    return row


@kernel(inline=True)
def _taken(heap, size):
    """Bytes that malloc is asked for."""
    return max(size + (PAGE_BYTES if heap.page_align else 0), 1)


@kernel
def collect_dead(heap, thread):
    """Free every buffer that waits: what the cleaners do after a collection."""
    heap.paths[COLLECTIONS] += 1
    heap.until_collection = heap.collect_every
    row = heap.waiting
    while row:
        pass_free(heap.machine, thread, heap.base[unsigned(row)])
        size, behind = heap.size[unsigned(row)], heap.next[unsigned(row)]
        heap.buffers -= 1
        heap.capacity -= size
        heap.reserved -= _taken(heap, size)
        heap.paths[FREED] += 1
        heap.next[unsigned(row)] = heap.unused
        heap.unused, row = row, behind
    heap.waiting, heap.waiting_count = 0, 0


@kernel
def alloc(heap, thread, size, align):
    """Address of a buffer, cleared; 0 where the limit or malloc refuses."""
    if heap.collect_every:
        heap.until_collection -= 1
        if heap.until_collection < 0:
            collect_dead(heap, thread)
    if size > heap.limit - heap.capacity:
        collect_dead(heap, thread)
    within = size <= heap.limit - heap.capacity and (heap.unused or heap.rows < MOST)
    base = pass_alloc(heap.machine, thread, _taken(heap, size), align) if within else 0
    if not base:
        if not heap.paths[REFUSED]:
            heap.refused_bytes, heap.refused_reserved = _taken(heap, size), heap.reserved
        heap.paths[REFUSED] += 1
        return 0
    address = base
    if heap.page_align and base & (PAGE_BYTES - 1):
        address = (base + PAGE_BYTES) & -PAGE_BYTES
    clear(heap.machine, base, _taken(heap, size))
    row = heap.unused
    if row:
        heap.unused = heap.next[unsigned(row)]
    else:
        heap.rows += 1
        row = heap.rows
    place = _bucket(address)
    heap.address[unsigned(row)], heap.base[unsigned(row)] = address, base
    heap.size[unsigned(row)], heap.next[unsigned(row)] = size, heap.bucket[place]
    heap.bucket[place] = row
    heap.buffers += 1
    heap.capacity += size
    heap.reserved += _taken(heap, size)
    heap.paths[ALLOCATED] += 1
    return address


@kernel
def free(heap, thread, address):
    """The owner is dropped: the buffer waits."""
    heap.paths[DROPPED] += 1
    place = _bucket(address)
    row, before = heap.bucket[place], 0
    while heap.address[unsigned(row)] != address:
        before, row = row, heap.next[unsigned(row)]
    if before:
        heap.next[unsigned(before)] = heap.next[unsigned(row)]
    else:
        heap.bucket[place] = heap.next[unsigned(row)]
    heap.next[unsigned(row)] = heap.waiting
    heap.waiting = row
    heap.waiting_count += 1


@kernel
def usable(heap, address, size):
    """The capacity: Java lets nobody beyond it."""
    return heap.size[unsigned(_find(heap, address))]


@kernel
def extent(heap, address, size):
    """malloc's whole block."""
    row = unsigned(_find(heap, address))
    return pass_extent(heap.machine, heap.base[row], _taken(heap, heap.size[row]))


@kernel
def passed(heap, address, size):
    """malloc's block, and what it was asked for."""
    row = unsigned(_find(heap, address))
    return heap.base[row], _taken(heap, heap.size[row])


@kernel
def cached(heap, blocks):
    """The buffers that wait."""
    count, row = 0, heap.waiting
    while row:
        at = unsigned(row)
        start, length = pass_extent(heap.machine, heap.base[at], _taken(heap, heap.size[at]))
        count = write_row(blocks, count, start, length)
        row = heap.next[at]
    return count


@kernel
def metadata(heap, blocks):
    """None in native memory: the owners know."""
    return 0


@kernel
def check(heap):
    """0, or the number of the invariant that is broken."""
    count = capacity = reserved = 0
    for place in range(1 << BUCKET_BITS):
        row = heap.bucket[unsigned(place)]
        while row:
            if _bucket(heap.address[unsigned(row)]) != place:
                return 2
            count += 1
            capacity += heap.size[unsigned(row)]
            reserved += _taken(heap, heap.size[unsigned(row)])
            row = heap.next[unsigned(row)]
    waiting, row = 0, heap.waiting
    while row:
        waiting += 1
        capacity += heap.size[unsigned(row)]
        reserved += _taken(heap, heap.size[unsigned(row)])
        row = heap.next[unsigned(row)]
    unused, row = 0, heap.unused
    while row:
        unused += 1
        row = heap.next[unsigned(row)]
    if waiting != heap.waiting_count or count + waiting + unused != heap.rows:
        return 3
    told = (heap.buffers, heap.capacity, heap.reserved)
    return 0 if told == (count + waiting, capacity, reserved) else 1


def notes(heap):
    """What its figures mean, in sentences."""
    told = [
        f"Of {int(heap.paths[DROPPED]):,} buffers whose owner was dropped "
        f"{int(heap.paths[FREED]):,} were freed, by {int(heap.paths[COLLECTIONS]):,} collections; "
        f"{int(heap.waiting_count):,} wait for one, and stand under caches. Java clears each."
    ]
    if not int(heap.collect_every):
        told.append(
            "No collection of Java's heap is assumed but those that the limit asks for: set "
            "collect_every to the buffers that a program allocates between two."
        )
    if int(heap.paths[REFUSED]) and int(heap.limit) < UNLIMITED:
        told.append(
            f"{int(heap.paths[REFUSED]):,} were refused, the first with OutOfMemoryError: "
            f"Cannot reserve {int(heap.refused_bytes)} bytes of direct buffer memory (allocated: "
            f"{int(heap.refused_reserved)}, limit: {int(heap.limit)}); "
            f"-XX:MaxDirectMemorySize sets the limit of {bytes_text(int(heap.limit))}."
        )
    return told
