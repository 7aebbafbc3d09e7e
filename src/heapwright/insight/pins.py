"""What keeps free memory from the system, block by block, at one moment of a replay.

    partial page    its free bytes are charged evenly to the live blocks on it, however small
    retained page   empty, below a live block of the same heap: charged to the next block above it
    top             empty, above all live blocks of its heap: kept by the manager's threshold alone
    rounding        what glibc's chunk is larger than the request

Heap  the one that brk moves, or the 64 MiB that an arena of glibc reserves at a time
Trim  glibc gives back the top alone unless malloc_trim is called, so a block above keeps a run
"""

from typing import NamedTuple

import numpy as np

from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.tunnel.keyframes import Taken

HEAP_SHIFT = 26  # glibc: HEAP_MAX_SIZE
CHUNK_ALIGN, CHUNK_LEAST, CHUNK_HEADER = 16, 32, 8  # glibc on 64 bits: malloc/malloc.c


class Pins(NamedTuple):
    """What each live block costs beyond its own bytes; rows as in `Taken.blocks`."""

    partial: np.ndarray  # float64[block], bytes: sums to the partial bytes
    pages: np.ndarray  # int64[block], partly used pages that it lies on
    retained: np.ndarray  # int64[block], bytes of empty pages below it
    rounding: np.ndarray  # int64[block], bytes of its chunk beyond the request
    top_bytes: int  # empty pages above all live blocks


def pins(taken: Taken) -> Pins:
    """Charge the free pages of a moment to its blocks."""
    blocks = taken.blocks
    count = len(blocks.address)
    partial, held = np.zeros(count), np.zeros(count, np.int64)
    retained, top = np.zeros(count, np.int64), 0
    first_page = blocks.address >> PAGE_SHIFT
    last_page = (blocks.address + np.maximum(blocks.size, 1) - 1) >> PAGE_SHIFT
    for zone, (start, live, free) in enumerate(taken.zones):
        past = start + len(live)
        charge = np.zeros(len(live))
        mask = (live > 0) & (free > 0)
        holders = np.zeros(len(live), np.int64)
        touching = []  # pairs of block and page, an end of the block each
        for page, counts in ((first_page, blocks.size > 0), (last_page, last_page > first_page)):
            inside = np.flatnonzero((page >= start) & (page < past) & counts)
            inside = inside[mask[page[inside] - start]]
            touching.append((inside, page[inside] - start))
            np.add.at(holders, page[inside] - start, 1)
        np.divide(free, holders, out=charge, where=holders > 0)
        for block, place in touching:
            np.add.at(partial, block, charge[place])
            np.add.at(held, block, 1)
        empty = np.flatnonzero((live == 0) & (free > 0))
        above = np.searchsorted(first_page, empty + start, side="right")
        kept = above < count
        page = first_page[np.minimum(above, max(count - 1, 0))] if count else above
        heap_shift = HEAP_SHIFT - PAGE_SHIFT
        same = page < past if zone == 0 else page >> heap_shift == (empty + start) >> heap_shift
        kept &= same
        np.add.at(retained, above[kept], free[empty[kept]])
        top += int(free[empty[~kept]].sum(dtype=np.int64))
    return Pins(partial, held, retained, rounding(blocks.size), top)


def rounding(size: np.ndarray) -> np.ndarray:
    """int64[block]: by how much a chunk of glibc is larger than the request for `size` bytes."""
    chunk = (size + CHUNK_HEADER + CHUNK_ALIGN - 1) // CHUNK_ALIGN * CHUNK_ALIGN
    return np.maximum(chunk, CHUNK_LEAST) - size
