"""What must hold of jemalloc's heap at any time, what its caches hold, and its own statistics."""

from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_count
from heapwright.machine import load
from heapwright.machine.address_space import LOWEST_MAPPED, MAPPED_TOP
from heapwright.managers.malloc.jemalloc.arenas import NEVER_OVERSIZE
from heapwright.managers.malloc.jemalloc.nonfull import entered
from heapwright.managers.malloc.jemalloc.sets import set_of
from heapwright.managers.malloc.jemalloc.size_classes import PAD_BYTES, SMALL_CLASSES, class_of
from heapwright.managers.malloc.jemalloc.state import (
    ACTIVE,
    ARRAY,
    BINS,
    BLOCK_AT,
    BLOCK_BYTES,
    BLOCK_SHIFT,
    BLOCK_START,
    BLOCKS_BYTES,
    BYTES,
    COUNT,
    CURRENT,
    DIRTY,
    FILLED,
    FREE,
    HEAD_BIT,
    IN_USE,
    KIND,
    LIVE,
    LOW,
    MAP,
    MAPPED,
    META_MAPPED,
    META_RESIDENT,
    MOST,
    MUZZY,
    PAGE_SHIFT,
    PAGES,
    PURGES,
    RETAINED,
    ROW_SHIFT,
    STACK,
    START,
    STATE,
    class_at,
    extent_at,
    get,
    owner_of,
)

PAGE_BYTES = 4096
# Of mallctl's own records, made when it is first called: of all, of each arena there may be
ASKED_BYTES, ASKED_ARENA_BYTES = 109_248, 37_856


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = _check_pages(heap)
    return broken if broken else _check_stacks(heap)


@kernel
def _block_from(heap, address):
    """Bytes of the block of metadata that begins at an address; 0 if none does."""
    for block in range(heap.blocks):
        words = block << BLOCK_SHIFT
        if heap.blocks_of[unsigned(words + BLOCK_START)] == address:
            return heap.blocks_of[unsigned(words + BLOCK_BYTES)]
    return 0


@kernel
def _check_pages(heap):
    """Walk over all that was mapped: 1 to 5, 0 if nothing is broken."""
    machine = heap.machine
    at, before, total, active, slabs = machine.meters[LOWEST_MAPPED], IN_USE, 0, 0, 0
    while at < MAPPED_TOP:
        extent = extent_at(heap, at >> PAGE_SHIFT)
        if not extent or load(machine, extent + START) != at:
            before = IN_USE
            at += max(_block_from(heap, at), PAGE_BYTES)
            continue
        bytes_, where = load(machine, extent + BYTES), load(machine, extent + STATE)
        if bytes_ <= 0 or extent_at(heap, (at + bytes_ - 1) >> PAGE_SHIFT) != extent:
            return 1
        if not get(heap, owner_of(heap, extent), LIVE):
            return 1
        head = load(machine, extent + KIND) & HEAD_BIT
        if where == RETAINED and before == RETAINED and not head:
            return 3
        if where == IN_USE:
            active += bytes_
            nonfull = _check_slab(heap, extent)
            if nonfull < 0:
                return 4
            slabs += nonfull
        else:
            total += bytes_
        before = where
        at += bytes_
    for arena in range(heap.huge + 1):
        active -= get(heap, arena, ACTIVE)
        for where in range(DIRTY, RETAINED + 1):
            total -= heap.arenas[unsigned(set_of(arena, where) + PAGES)] << PAGE_SHIFT
        for class_ in range(SMALL_CLASSES):
            count = entered(heap, arena, class_)
            if count < 0:
                return 5
            slabs -= count
    if slabs:
        return 5
    return 2 if total or active else 0


@kernel
def _check_slab(heap, slab):
    """Whether a slab belongs to the heap of its bin: 1 or 0; -1 unless its map has as many free
    regions as it says."""
    class_ = class_at(heap, slab)
    if class_ >= SMALL_CLASSES:
        return 0
    free, left, word = 0, heap.classes.regions[unsigned(class_)], MAP
    while left > 0:
        free += bit_count(load(heap.machine, slab + word))
        left, word = left - 64, word + 8
    if free != load(heap.machine, slab + FREE):
        return -1
    current = get(heap, owner_of(heap, slab), CURRENT + class_)
    return 1 if free and current != slab else 0


@kernel
def _check_stacks(heap):
    """6 unless stacks hold blocks of their class, and as many as they may."""
    for number in range(heap.arrays):
        row = number << ROW_SHIFT
        if not heap.rows[unsigned(row + ARRAY)]:
            continue
        for class_ in range(heap.cached_classes):
            words = row + BINS + (class_ << 2)
            count = heap.rows[unsigned(words + COUNT)]
            if count > heap.rows[unsigned(words + MOST)] or (
                heap.rows[unsigned(words + LOW)] > count
            ):
                return 6
            for index in range(1, count + 1):
                block = load(heap.machine, heap.rows[unsigned(words + STACK)] - (index << 3))
                if heap.page_class[unsigned(block >> PAGE_SHIFT)] != class_:
                    return 6
    return 0


@kernel
def cached(heap, blocks):
    """The blocks on the threads' stacks, large ones with their page more."""
    rows, machine = 0, heap.machine
    for number in range(heap.arrays):
        row = number << ROW_SHIFT
        if not heap.rows[unsigned(row + ARRAY)]:
            continue
        for class_ in range(heap.cached_classes):
            words = row + BINS + (class_ << 2)
            for index in range(1, heap.rows[unsigned(words + COUNT)] + 1):
                block = load(machine, heap.rows[unsigned(words + STACK)] - (index << 3))
                bytes_ = heap.classes.bytes_of[unsigned(class_)]
                if class_ >= SMALL_CLASSES:
                    block &= -PAGE_BYTES
                    bytes_ += PAD_BYTES
                rows = write_row(blocks, rows, block, bytes_)
    return rows


@kernel
def metadata(heap, blocks):
    """Blocks of metadata, of which only what was handed out was written, and threads' arrays."""
    rows = 0
    for block in range(heap.blocks):
        start = heap.blocks_of[unsigned((block << BLOCK_SHIFT) + BLOCK_START)]
        bytes_ = heap.blocks_of[unsigned((block << BLOCK_SHIFT) + BLOCK_BYTES)]
        rows = write_row(blocks, rows, start, bytes_)
    for number in range(heap.arrays):
        array = heap.rows[unsigned((number << ROW_SHIFT) + ARRAY)]
        if array:
            class_ = class_of(heap.classes, heap.array_bytes)
            bytes_ = heap.classes.bytes_of[unsigned(class_)]
            bytes_ += PAD_BYTES if class_ >= SMALL_CLASSES else 0
            rows = write_row(blocks, rows, array, bytes_)
    return rows


def statistics(heap):
    """What mallctl says of all arenas, by its names."""
    live = [arena for arena in range(int(heap.huge) + 1) if get(heap, arena, LIVE)]

    def total(word):
        return sum(int(get(heap, arena, word)) for arena in live)

    def pages(where):
        return sum(int(heap.arenas[set_of(arena, where) + PAGES]) for arena in live)

    cached_bytes = 0
    for number in range(int(heap.arrays)):
        row = number << ROW_SHIFT
        if heap.rows[row + ARRAY]:
            for class_ in range(int(heap.cached_classes)):
                count = int(heap.rows[row + BINS + (class_ << 2) + COUNT])
                cached_bytes += count * int(heap.classes.bytes_of[class_])
    at = int(heap.blocks_of[BLOCK_AT])  # to ask takes a piece of arena 0's first block
    arenas = int(heap.arenas_wanted) + int(heap.oversize != NEVER_OVERSIZE)
    past = at + ASKED_BYTES + arenas * ASKED_ARENA_BYTES
    asked = ((past - 1) >> PAGE_SHIFT) - ((at - 1) >> PAGE_SHIFT)
    held = (pages(DIRTY) + asked) << PAGE_SHIFT
    dirty, muzzy = PURGES, PURGES + 3
    return {
        "stats.allocated": total(BLOCKS_BYTES),
        "stats.active": total(ACTIVE),
        "stats.mapped": total(MAPPED) + total(META_MAPPED),
        "stats.retained": pages(RETAINED) << PAGE_SHIFT,
        "stats.resident": total(META_RESIDENT) + total(ACTIVE) + held,
        "stats.arenas.4096.pdirty": pages(DIRTY),
        "stats.arenas.4096.pmuzzy": pages(MUZZY),
        "stats.arenas.4096.dirty_npurge": total(dirty),
        "stats.arenas.4096.dirty_nmadvise": total(dirty + 1),
        "stats.arenas.4096.dirty_purged": total(dirty + 2),
        "stats.arenas.4096.muzzy_npurge": total(muzzy),
        "stats.arenas.4096.muzzy_nmadvise": total(muzzy + 1),
        "stats.arenas.4096.muzzy_purged": total(muzzy + 2),
        "stats.arenas.4096.tcache_bytes": cached_bytes,
        "stats.arenas.4096.small.nfills": total(FILLED),
    }
