"""A memory pool in nginx's manner: small objects are bumped and die together, large ones alone.

    pool   │header│ objects ... │      ─► │header│ objects ... │ ─► ...   blocks of pool_bytes
    large  record ─► record ─► record     each points to a block of its own, or to none
    ends   cleanup ─► cleanup             handlers, run newest first when the pool is destroyed

Terms      current: the block where a search for room starts; a block that failed more than five
           requests is passed over from then on; record: 16 bytes in the pool that own a large block
Invariant  last <= end in each block (check: 11); current is one of them (12); each record is found
           by its block's address (13)
Source     nginx 1.26, src/core/ngx_palloc.c
Omits      ngx_pfree's walk along the large list: `record` finds the entry at once

The memory beneath, which nginx asks of malloc, is a good fit heap. Objects lie at multiples of 16
(nginx: of 8). `record` is the simulator's; headers, records and cleanups lie in the pool.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import good_fit
from heapwright.allocators.boundary_tags import HEAD_BYTES
from heapwright.allocators.boundary_tags import own_memory as memory_of_tags
from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.call import call
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import load, store, touch
from heapwright.machine.ground import PAST

ALIGN_BYTES = 16
HEADER_BYTES = 80  # sizeof(ngx_pool_t): of the first block, and of each one after a rewind
BLOCK_HEADER_BYTES = 32  # sizeof(ngx_pool_data_t): of the others
MOST_SMALL_BYTES = 4095  # NGX_MAX_ALLOC_FROM_POOL: a page less one
FAILED_MOST = 4
REUSED_MOST = 3  # records that are passed in search of an empty one

LAST, END, NEXT, FAILED = 0, 8, 16, 24  # offsets in a block's header
LARGE_BLOCK, LARGE_NEXT, LARGE_BYTES = 0, 8, 16  # a record's fields and size
HANDLER, DATA, CLEANUP_NEXT, CLEANUP_BYTES = 0, 8, 16, 24


@record(
    "first",  # addresses, 0: none
    "current",
    "large_list",
    "cleanups",
    "pool_bytes",  # setting
    "small_most",  # bytes
    "blocks",  # their number
)
class Pool(NamedTuple):
    """One pool. Its first block is made with the first object."""

    beneath: good_fit.Heap  # what nginx calls malloc
    record: np.ndarray  # int64[address >> 4]  of the record that owns the large block, or 0
    fields: np.ndarray  # int64[word]


def pool(machine, pool_bytes, growth_bytes):
    """A pool without blocks; `pool_bytes` holds at least two headers."""
    small_most = min(pool_bytes - HEADER_BYTES, MOST_SMALL_BYTES)
    fields = words(Pool, pool_bytes=pool_bytes, small_most=small_most)
    return Pool(
        good_fit.good_fit(machine, growth_bytes, 0, steps_shift=5),
        reserve(PAST >> 4, np.int64),
        fields,
    )


@kernel
def _new_block(pool, header_bytes):
    """A block of pool_bytes with an empty header; 0 where there is no memory."""
    machine, size = pool.beneath.machine, pool.pool_bytes
    block = good_fit.alloc(pool.beneath, 0, size, ALIGN_BYTES)
    if not block:
        return 0
    touch(machine, block, header_bytes)
    store(machine, block + LAST, block + header_bytes)
    store(machine, block + END, block + size)
    store(machine, block + NEXT, 0)
    store(machine, block + FAILED, 0)
    pool.blocks += 1
    return block


@kernel
def _bump(machine, block, size):
    """Address of `size` bytes in `block`; 0 if they do not fit."""
    address = (load(machine, block + LAST) + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1)
    if load(machine, block + END) - address < size:
        return 0
    store(machine, block + LAST, address + size)
    return address


@kernel
def small(pool, size):
    """Address of `size` bytes, at most SMALL_MOST, in the pool's blocks (ngx_palloc_small)."""
    machine = pool.beneath.machine
    if not pool.first:
        pool.first = pool.current = _new_block(pool, HEADER_BYTES)
    block = pool.current
    while block:
        address = _bump(machine, block, size)
        if address:
            return address
        block = load(machine, block + NEXT)
    if not pool.first:
        return 0
    return _small_in_new_block(pool, size)


@kernel
def _small_in_new_block(pool, size):
    """The first object of a further block (ngx_palloc_block)."""
    machine = pool.beneath.machine
    block = _new_block(pool, BLOCK_HEADER_BYTES)
    if not block:
        return 0
    address = _bump(machine, block, size)
    last = pool.current
    while load(machine, last + NEXT):
        failed, after = load(machine, last + FAILED), load(machine, last + NEXT)
        if failed > FAILED_MOST:
            pool.current = after
        store(machine, last + FAILED, failed + 1)
        last = after
    store(machine, last + NEXT, block)
    return address


@kernel
def large(pool, size, align):
    """Address of a block of its own (ngx_palloc_large; with an alignment ngx_pmemalign)."""
    machine = pool.beneath.machine
    address = good_fit.alloc(pool.beneath, 0, size, align)
    if not address:
        return 0
    if align <= ALIGN_BYTES:
        record, passed = pool.large_list, 0
        while record and passed <= REUSED_MOST + 1:
            if not load(machine, record + LARGE_BLOCK):
                store(machine, record + LARGE_BLOCK, address)
                pool.record[unsigned(address >> 4)] = record
                return address
            record, passed = load(machine, record + LARGE_NEXT), passed + 1
    record = small(pool, LARGE_BYTES)
    if not record:
        good_fit.free(pool.beneath, 0, address)
        return 0
    touch(machine, record, LARGE_BYTES)
    store(machine, record + LARGE_BLOCK, address)
    store(machine, record + LARGE_NEXT, pool.large_list)
    pool.large_list = record
    pool.record[unsigned(address >> 4)] = record
    return address


@kernel
def free_large(pool, address):
    """Free a large block; False for any other object, which stays (ngx_pfree: NGX_DECLINED)."""
    record = pool.record[unsigned(address >> 4)]
    if not record:
        return False
    pool.record[unsigned(address >> 4)] = 0
    store(pool.beneath.machine, record + LARGE_BLOCK, 0)
    good_fit.free(pool.beneath, 0, address)
    return True


@kernel
def add_cleanup(pool, handler, data):
    """Have the C function at address `handler` called with `data` when the pool is destroyed."""
    machine = pool.beneath.machine
    cleanup = small(pool, CLEANUP_BYTES)
    if not cleanup:
        return False
    touch(machine, cleanup, CLEANUP_BYTES)
    store(machine, cleanup + HANDLER, handler)
    store(machine, cleanup + DATA, data)
    store(machine, cleanup + CLEANUP_NEXT, pool.cleanups)
    pool.cleanups = cleanup
    return True


@kernel
def _free_all_large(pool):
    """Free what the large list owns and forget the list."""
    machine, record = pool.beneath.machine, pool.large_list
    while record:
        address = load(machine, record + LARGE_BLOCK)
        if address:
            free_large(pool, address)
        record = load(machine, record + LARGE_NEXT)
    pool.large_list = 0


@kernel
def reset(pool):
    """Free the large blocks and rewind all others, which stay (ngx_reset_pool). Its quirk is kept:
    every block is rewound to behind a full header. Cleanups are kept in nginx but lie in memory
    that is used again: here they are forgotten."""
    machine = pool.beneath.machine
    _free_all_large(pool)
    block = pool.first
    while block:
        store(machine, block + LAST, block + HEADER_BYTES)
        store(machine, block + FAILED, 0)
        block = load(machine, block + NEXT)
    pool.current, pool.cleanups = pool.first, 0


@kernel
def destroy(pool):
    """Run the cleanups, newest first, and give everything back (ngx_destroy_pool)."""
    machine = pool.beneath.machine
    cleanup = pool.cleanups
    while cleanup:
        call(load(machine, cleanup + HANDLER), load(machine, cleanup + DATA), 0)
        cleanup = load(machine, cleanup + CLEANUP_NEXT)
    _free_all_large(pool)
    block = pool.first
    while block:
        after = load(machine, block + NEXT)
        good_fit.free(pool.beneath, 0, block)
        block = after
    pool.first = pool.current = pool.cleanups = pool.blocks = 0


@kernel
def own_memory(pool, blocks):
    """Heads and headers of blocks, records, cleanups, and what the heap beneath owns, as rows of
    `blocks` (start, bytes); their number."""
    machine = pool.beneath.machine
    rows = memory_of_tags(pool.beneath.bins.tags, blocks)
    block = pool.first
    while block:
        length = HEADER_BYTES if block == pool.first else BLOCK_HEADER_BYTES
        rows = write_row(blocks, rows, block - HEAD_BYTES, HEAD_BYTES + length)
        block = load(machine, block + NEXT)
    record = pool.large_list
    while record:
        rows = write_row(blocks, rows, record, LARGE_BYTES)
        record = load(machine, record + LARGE_NEXT)
    cleanup = pool.cleanups
    while cleanup:
        rows = write_row(blocks, rows, cleanup, CLEANUP_BYTES)
        cleanup = load(machine, cleanup + CLEANUP_NEXT)
    return rows


@kernel
def check(pool):
    """Number of the broken invariant, 0 if none."""
    machine = pool.beneath.machine
    broken = good_fit.check(pool.beneath)
    if broken:
        return broken
    block, found, blocks = pool.first, False, 0
    while block:
        if load(machine, block + LAST) > load(machine, block + END):
            return 11
        found |= block == pool.current
        blocks += 1
        block = load(machine, block + NEXT)
    if (blocks > 0 and not found) or blocks != pool.blocks:
        return 12
    record = pool.large_list
    while record:
        address = load(machine, record + LARGE_BLOCK)
        if address and pool.record[unsigned(address >> 4)] != record:
            return 13
        record = load(machine, record + LARGE_NEXT)
    return 0
