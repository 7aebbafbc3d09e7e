"""A page's blocks: free ones in three lists, of which the owner hands out from one.

    extend ─► FREE ─pop─► used ─► LOCAL, where the owner freed it; REMOTE, where another did
    gather: REMOTE in front of LOCAL; that is FREE, once there is no other

Invariant  FREE and LOCAL and USED sum to CAPACITY, and REMOTE is among USED (lists_hold)
Source     mimalloc 2.0.9 and 3.4.3 src/page.c (_mi_page_free_collect, mi_page_extend_free),
           src/alloc.c, alloc-aligned.c
"""

import numpy as np

from heapwright.allocators.mimalloc.classes import bin_of
from heapwright.allocators.mimalloc.words import (
    CAPACITY,
    FLAGS,
    FREE,
    HAS_ALIGNED,
    LOCAL,
    REMOTE,
    RESERVED,
    SIZE,
    START,
    USED,
    get,
    heap_word,
    page_at,
    put,
)
from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.machine import load, store, touch

EXTEND_BYTES = 4096  # MI_MAX_EXTEND_SIZE


@kernel(inline=True)
def pop(heap, page, block):
    """The first block of a page's free list."""
    put(heap, page, FREE, load(heap.machine, block))
    put(heap, page, USED, get(heap, page, USED) + 1)
    return block


@kernel(inline=True)
def pop_direct(heap, row, size):
    """A block of at most DIRECT_BYTES, of the first page of its size; 0: that has no free one."""
    bin_ = np.int64(heap.bin_of[unsigned((size + 7) >> 3)])
    page = heap_word(heap, row, bin_)
    if likely(page != 0):
        block = get(heap, page, FREE)
        if likely(block != 0):
            return pop(heap, page, block)
    return 0


@kernel
def pop_aligned(heap, row, size, align):
    """The same, if that block lies at a multiple of `align` by chance."""
    page = heap_word(heap, row, bin_of(heap, size))
    if page:
        block = get(heap, page, FREE)
        if block and not block & (align - 1):
            return pop(heap, page, block)
    return 0


@kernel
def within(heap, block, align):
    """The first multiple of `align` in a block, which has room; its page says so."""
    address = (block + align - 1) & -align
    if address != block:
        page = page_at(heap, block)
        put(heap, page, FLAGS, get(heap, page, FLAGS) | HAS_ALIGNED)
    return address


@kernel(inline=True)
def push_local(heap, page, block):
    """The owner frees a block; how many are in use yet."""
    store(heap.machine, block, get(heap, page, LOCAL))
    put(heap, page, LOCAL, block)
    used = get(heap, page, USED) - 1
    put(heap, page, USED, used)
    return used


@kernel
def _block_around(heap, page, address):
    """The start of the block that an address is in."""
    return address - (address - get(heap, page, START)) % get(heap, page, SIZE)


@kernel(inline=True)
def block_of(heap, page, address):
    """The start of the block that was handed out at an address."""
    if unlikely(get(heap, page, FLAGS) & HAS_ALIGNED != 0):
        return _block_around(heap, page, address)
    return address


@kernel
def usable(heap, address, size):
    """What is left of the block from the address on."""
    page = page_at(heap, address)
    bytes_ = get(heap, page, SIZE)
    if get(heap, page, FLAGS) & HAS_ALIGNED:
        return bytes_ - (address - get(heap, page, START)) % bytes_
    return bytes_


@kernel
def extent(heap, address, size):
    """The whole block: it has no header."""
    page = page_at(heap, address)
    return _block_around(heap, page, address), get(heap, page, SIZE)


@kernel
def extend(heap, page, least):
    """Put the next blocks that were never used on the free list, if that is empty: of 4 KiB, but
    `least` at the least. Whether there were any."""
    capacity, size = get(heap, page, CAPACITY), get(heap, page, SIZE)
    count = min(get(heap, page, RESERVED) - capacity, max(least, EXTEND_BYTES // size))
    if count <= 0 or get(heap, page, FREE):
        return False
    machine = heap.machine
    first = block = get(heap, page, START) + capacity * size
    for _ in range(count - 1):
        touch(machine, block, 8)
        store(machine, block, block + size)
        block += size
    touch(machine, block, 8)
    store(machine, block, 0)
    put(heap, page, FREE, first)
    put(heap, page, CAPACITY, capacity + count)
    return True


@kernel
def to_local(heap, page, first):
    """Blocks that others freed go in front of those that the owner did."""
    machine, count, last = heap.machine, 1, first
    while load(machine, last):
        last = load(machine, last)
        count += 1
    store(machine, last, get(heap, page, LOCAL))
    put(heap, page, LOCAL, first)
    put(heap, page, USED, get(heap, page, USED) - count)


@kernel
def local_to_free(heap, page):
    """What was freed becomes the free list, if there is no other; whether it did."""
    local = get(heap, page, LOCAL)
    if not local or get(heap, page, FREE):
        return False
    put(heap, page, FREE, local)
    put(heap, page, LOCAL, 0)
    return True


@kernel
def gather(heap, page):
    """What others freed goes in front of what the owner did; that becomes the free list, if there
    is no other. Whether it did."""
    first = get(heap, page, REMOTE)
    if first:
        put(heap, page, REMOTE, 0)
        to_local(heap, page, first)
    return local_to_free(heap, page)


@kernel
def gather_all(heap, page):
    """The same when a thread ends: what was freed goes in front of the free list, whatever it
    has."""
    changed = gather(heap, page)
    local = get(heap, page, LOCAL)
    if local:
        last = local
        while load(heap.machine, last):
            last = load(heap.machine, last)
        store(heap.machine, last, get(heap, page, FREE))
        put(heap, page, FREE, local)
        put(heap, page, LOCAL, 0)
    return changed or local != 0


@kernel
def _chain(heap, first):
    """Blocks of a list."""
    count = 0
    while first:
        count += 1
        first = load(heap.machine, first)
    return count


@kernel
def lists_hold(heap, page):
    """Whether a page's lists and its used blocks are all that it ever had."""
    free = _chain(heap, get(heap, page, FREE)) + _chain(heap, get(heap, page, LOCAL))
    used, capacity = get(heap, page, USED), get(heap, page, CAPACITY)
    if free + used != capacity or capacity > get(heap, page, RESERVED):
        return False
    return _chain(heap, get(heap, page, REMOTE)) <= used
