"""Two-level segregated fit: good fit in constant time, made for real-time systems.

    level by the size's highest bit, then 2^second_level_shift lists of equal width in the level
    alloc ─► round up to the next list ─► two bitmaps give the first that has a block ─► its newest
    free  ─► merged with free neighbours at once ─► newest of its list

Invariant  the bins'                                                         (check: 1-8)
Source     Masmano, Ripoll, Crespo and Real, "TLSF: a new dynamic memory allocator for real-time
           systems", ECRTS 2004; Masmano et al., "Implementation of a constant-time dynamic storage
           allocator", Software: Practice and Experience 2008
Omits      several pools; threads: one heap, one lock

Every operation is a fixed number of steps, apart from brk. With 32 lists a level at most 1/32 of a
block is passed over in the search. The mechanism is `allocators/good_fit.py`.
"""

from typing import NamedTuple

from heapwright.allocators.good_fit import *  # noqa: F403 the frame
from heapwright.allocators.good_fit import good_fit
from heapwright.errors import HeapwrightError

MOST_SHIFT = 5


class Config(NamedTuple):
    """Knobs."""

    second_level_shift: int = 5  # log2 of the lists a doubling; 4 or 5 in the paper
    growth_bytes: int = 1 << 17  # least that brk moves
    trim_bytes: int = 0  # give the heap's end back from this many free bytes on; 0 never


def boot(machine, config):
    """An empty heap at the break; HeapwrightError for a negative knob or too many lists."""
    if min(config) < 0 or config.second_level_shift > MOST_SHIFT:
        raise HeapwrightError(
            f"a knob of tlsf is not negative, and second_level_shift is at most {MOST_SHIFT}."
        )
    return good_fit(machine, config.growth_bytes, config.trim_bytes, config.second_level_shift)
