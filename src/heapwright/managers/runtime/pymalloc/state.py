"""pymalloc's words: constants, arenas' rows, the heap; and how large what is.

Terms      pool: 4 or 16 KiB of blocks of one size class, its header in its first 48 bytes;
           arena: 64 pools, mapped at once; row: an arena object's number, from 1; 0 is none
Source     CPython Include/internal/pycore_obmalloc.h; Objects/obmalloc.c of 3.9 and 3.11

    words of a pool's header      here                           there
    COUNT                         blocks in use                  ref.count
    NEWEST                        newest free block, 0: none     freeblock
    NEXT, PREVIOUS                neighbours in its list         nextpool, prevpool
    OWNER                         row | size class << 32         arenaindex, szidx
    OFFSET                        of the first untouched block   nextoffset
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import Machine

ALIGN_BYTES, CLASS_SHIFT = 16, 4  # ALIGNMENT, ALIGNMENT_SHIFT
SMALL_BYTES = 512  # SMALL_REQUEST_THRESHOLD: larger ones are malloc's
CLASSES = SMALL_BYTES // ALIGN_BYTES
NO_CLASS = 0xFFFF  # DUMMY_SIZE_IDX: of a pool that was never used

HEADER_BYTES = 48  # POOL_OVERHEAD
COUNT, NEWEST, NEXT, PREVIOUS, OWNER, OFFSET = range(0, HEADER_BYTES, 8)
ROW_MASK = (1 << 32) - 1  # of OWNER

POOLS = 64  # MAX_POOLS_IN_ARENA, of every version
FIRST_ROWS = 16  # INITIAL_ARENA_OBJECTS
ROW_BYTES = 48  # sizeof(struct arena_object)
MOST_ARENAS = 1 << 18

PATHS = (
    "small",
    "passed",  # to the ground: larger than 512 bytes, of 0 bytes, or aligned beyond 16
    "raw",  # the ground's business: of the raw domain, or malloc's
    "untouched",  # the block after this one is used for the first time
    "pool_used_up",
    "pool",  # an empty one came into use
    "pool_kept_its_class",  # and was of this size class before
    "pool_carved",  # for the first time
    "pool_available",  # a full one got a block back
    "pool_emptied",
    "arena",
    "arena_freed",
    "arena_available",  # a full one got a pool back
    "arena_moved",  # to the right among the usable ones
    "free",
    "free_passed",
    "in_place",
    "moved",
    "realloc_passed",
)
(
    SMALL,
    PASSED,
    RAW,
    UNTOUCHED,
    POOL_USED_UP,
    POOL,
    POOL_KEPT_ITS_CLASS,
    POOL_CARVED,
    POOL_AVAILABLE,
    POOL_EMPTIED,
    ARENA,
    ARENA_FREED,
    ARENA_AVAILABLE,
    ARENA_MOVED,
    FREE,
    FREE_PASSED,
    IN_PLACE,
    MOVED,
    REALLOC_PASSED,
) = range(len(PATHS))


class Arenas(NamedTuple):
    """Arena objects, a row each; here beside the memory that the real table takes."""

    base: np.ndarray  # int64[row]  address of its mapping; 0 while it has none
    next_pool: np.ndarray  # int64[row]  address of the next pool to carve (pool_address)
    free: np.ndarray  # int64[row]  pools that are not in use (nfreepools)
    pools: np.ndarray  # int64[row]  whole pools in it (ntotalpools)
    newest: np.ndarray  # int64[row]  newest of the pools that are free again (freepools)
    next: np.ndarray  # int64[row]  among the usable, or among those without a mapping
    previous: np.ndarray  # int64[row]  among the usable


@record(
    "usable",  # first row of those with a free pool, fewest free pools first (usable_arenas)
    "unused",  # first row without a mapping (unused_arena_objects)
    "rows",  # arena objects that the table has (maxarenas)
    "table",  # address of the memory of the table
    "mapped",  # arenas now (narenas_currently_allocated)
    "most",  # arenas at once so far (narenas_highwater)
    "pool_bytes",  # by version
    "arena_bytes",
    "tree",  # 1: addresses are looked up in a radix tree, from 3.10 on
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    used: np.ndarray  # int64[class]  first pool with a used and a free block (usedpools)
    arenas: Arenas
    last_with: np.ndarray  # int64[pools]  last usable row with so many free (nfp2lasta)
    root: np.ndarray  # int64[32768]  addresses of the tree's middle nodes (arena_map_root)
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def class_bytes(index):
    """Bytes of a block of a size class (INDEX2SIZE)."""
    return (index + 1) << CLASS_SHIFT


@kernel(inline=True)
def pool_of(heap, address):
    """Address of the pool that would hold `address` (POOL_ADDR)."""
    return address & -heap.pool_bytes


@kernel(inline=True)
def first_pool(heap, row):
    """Address of the first whole pool of an arena."""
    pool_bytes = heap.pool_bytes
    return (heap.arenas.base[unsigned(row)] + pool_bytes - 1) & -pool_bytes
