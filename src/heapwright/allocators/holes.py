"""A heap of adjacent blocks for a collector that sweeps it: free runs in bins, no boundary tags.

    START │ block │ block │ hole      │ block │ current hole: top ─► limit │ block │ END = break

    alloc ─► bump in the current hole ─full─► its rest to the bins; the first bin all of whose
             holes are large enough gives the next ─none─► 0: sweep, collect or `grow`
    sweep ─► walks from block to block and `give`s each run of dead and free ones as one hole

Terms      block: a whole number of granules; its word 1 holds their number in its low 31 bits,
           whoever has it. hole: a free block; its word 0 is the complement of the next hole's
           address in its bin, so it is negative, which word 0 of a block in use never is.
           granule: 16 bytes; a hole of one granule is in its bin like any other
Invariant  the blocks tile the heap from START to END, the current hole being one (check: 1); each
           hole in a bin is of that bin's sizes (2); a bit is set iff its bin is not empty (3)
Source     Wilson et al. 1995, section 3.6 (segregated fits); McCarthy, "Recursive functions of
           symbolic expressions", CACM 1960, for the free list that a sweep makes anew
Omits      merging at a free: whoever sweeps merges

Addresses rise along a hole, so what is allocated together lies together.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros
from heapwright.compiler.record import record, words
from heapwright.machine import PAGE_BYTES, brk, load, store, touch
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

GRANULE_BYTES = 16
GRANULES_MASK = (1 << 31) - 1
FINE = 16  # bins 1 to 15 hold one size each, in granules; above there are four to a doubling
BINS = 128
LOW_BITS = 4  # word of the lower half of the bitmap


@record(
    "start",  # address
    "end",  # the break
    "top",  # of the current hole: addresses
    "limit",
    "low_bits",  # bitmap of the bins that are not empty, in two halves
    "high_bits",
)
class Holes(NamedTuple):
    """The heap's free memory."""

    first: np.ndarray  # int64[BINS]  a hole, 0: none
    fields: np.ndarray  # int64[word]


def holes():
    """An empty heap at the break."""
    empty = words(Holes, start=BREAK_BASE, end=BREAK_BASE, top=BREAK_BASE, limit=BREAK_BASE)
    return Holes(np.zeros(BINS, np.int64), empty)


@kernel(inline=True)
def granules_of(machine, block):
    """Granules of a block, in use or free."""
    return load(machine, block + 8) & GRANULES_MASK


@kernel(inline=True)
def is_hole(machine, block):
    """Whether the block is free."""
    return load(machine, block) < 0


@kernel(inline=True)
def vacate(machine, block, bytes_, after):
    """Make [block, block + bytes_) a hole before the one at `after`, 0: none. Writes 16 bytes."""
    store(machine, block, ~after)
    store(machine, block + 8, bytes_ >> 4)


@kernel(inline=True)
def after(machine, block):
    """The hole after this one in its list, 0 if none."""
    return ~load(machine, block)


@kernel
def bin_of(granules):
    """Number of the bin of a hole of so many granules."""
    if granules < FINE:
        return granules
    shift = bit_length(granules) - 3
    return FINE + 4 * (shift - 2) + (granules >> shift) - 4


@kernel
def give(machine, holes, block, bytes_):
    """Put the free run [block, block + bytes_) in its bin."""
    touch(machine, block, GRANULE_BYTES)
    number = bin_of(bytes_ >> 4)
    vacate(machine, block, bytes_, holes.first[unsigned(number)])
    holes.first[unsigned(number)] = block
    holes.fields[LOW_BITS + (number >> 6)] |= np.int64(1) << (number & 63)


@kernel
def _take(machine, holes, granules):
    """A hole of at least so many granules, taken out of its bin; 0 if no bin surely has one."""
    number = bin_of(granules)
    if granules >= FINE:
        number += 1  # all holes of its own bin may be too small
    if number >= BINS:
        return 0
    half = number >> 6
    bits = holes.fields[LOW_BITS + half] & (-1 << (number & 63))
    if bits == 0 and half == 0:
        half, bits = 1, holes.high_bits
    if bits == 0:
        return 0
    number = (half << 6) + trailing_zeros(bits)
    block = holes.first[unsigned(number)]
    rest = after(machine, block)
    holes.first[unsigned(number)] = rest
    if not rest:
        holes.fields[LOW_BITS + half] &= ~(np.int64(1) << (number & 63))
    return block


@kernel(inline=True)
def alloc(machine, holes, bytes_):
    """A block of `bytes_`, a multiple of a granule; its header is to be written. 0 if none fits."""
    top = holes.top
    if holes.limit - top >= bytes_:
        holes.top = top + bytes_
        return top
    return _alloc_elsewhere(machine, holes, bytes_)


@kernel
def _alloc_elsewhere(machine, holes, bytes_):
    """Make another hole the current one and take the block from it; 0 if none fits."""
    block = _take(machine, holes, bytes_ >> 4)
    if not block:
        return 0
    size = granules_of(machine, block) << 4
    retire(machine, holes)
    holes.top, holes.limit = block + bytes_, block + size
    return block


@kernel
def retire(machine, holes):
    """Put what is left of the current hole in its bin; none is current then."""
    if holes.limit > holes.top:
        give(machine, holes, holes.top, holes.limit - holes.top)
    holes.top = holes.limit = holes.end


@kernel
def forget(machine, holes):
    """Empty all bins, before a sweep gives every hole anew."""
    retire(machine, holes)
    for number in range(BINS):
        holes.first[unsigned(number)] = 0
    holes.low_bits = holes.high_bits = 0


@kernel
def grow(machine, holes, bytes_, limit):
    """Move the break up by at least `bytes_`, whole pages; the added run becomes the current hole.
    `limit`: most bytes of the heap, 0 none. Whether it was done."""
    end = holes.end
    more = (bytes_ + PAGE_BYTES - 1) & -PAGE_BYTES
    if more > BREAK_LIMIT - end or (limit and end + more - holes.start > limit):
        return False
    if brk(machine, end + more) != end + more:
        return False
    low = end
    if holes.limit == end:  # the current hole ends the heap: it becomes longer
        low = holes.top
    else:
        retire(machine, holes)
    holes.top, holes.limit, holes.end = low, end + more, end + more
    return True


@kernel
def list_holes(machine, holes, blocks):
    """Every hole, as rows of `blocks` (start, bytes) as far as they fit; how many there are."""
    rows = 0
    if holes.limit > holes.top:
        if len(blocks):
            blocks[0, 0], blocks[0, 1] = holes.top, holes.limit - holes.top
        rows = 1
    for number in range(BINS):
        block = holes.first[unsigned(number)]
        while block:
            if rows < len(blocks):
                blocks[rows, 0], blocks[rows, 1] = block, granules_of(machine, block) << 4
            rows += 1
            block = after(machine, block)
    return rows


@kernel
def first_block(holes):
    """The lowest block, or END; as all walks, it passes the current hole over."""
    return holes.limit if holes.top == holes.start else holes.start


@kernel(inline=True)
def next_block(machine, holes, block):
    """The block after this one, or END."""
    block += granules_of(machine, block) << 4
    return holes.limit if block == holes.top else block


@kernel
def check(machine, holes):
    """Number of the broken invariant, 0 if none."""
    block = first_block(holes)
    while block < holes.end:
        if granules_of(machine, block) == 0:
            return 1
        block = next_block(machine, holes, block)
    if block != holes.end:
        return 1
    for number in range(BINS):
        block = holes.first[unsigned(number)]
        if (holes.fields[LOW_BITS + (number >> 6)] >> (number & 63)) & 1 != (block != 0):
            return 3
        while block:
            if not is_hole(machine, block) or bin_of(granules_of(machine, block)) != number:
                return 2
            block = after(machine, block)
    return 0
