"""jemalloc's generators: offsets of large blocks, looks at decay, deadlines.

Source     jemalloc 5.3.0 include/jemalloc/internal/prng.h, ticker.h, src/ticker.c, smoothstep.h
"""

import math

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.compiler.compiled import INTERPRETED
from heapwright.managers.malloc.jemalloc.state import DRAWS, JITTER, get, put

FACTOR, ADDEND = 6364136223846793005, 1442695040888963407
STEPS = 200  # SMOOTHSTEP_NSTEPS
STEP_BITS = 24  # SMOOTHSTEP_BFP
TICKER_BITS, TICKER_MUL = 6, 61  # TICKER_GEOM_NBITS, TICKER_GEOM_MUL

if INTERPRETED:

    def advanced(state: int) -> int:
        """The next state, modulo 2^64 as an int64."""
        word = (int(state) * FACTOR + ADDEND) & 0xFFFF_FFFF_FFFF_FFFF
        return word - (1 << 64) if word >> 63 else word
else:

    @kernel(inline=True)
    def advanced(state):
        """The next state, modulo 2^64 as an int64."""
        return state * FACTOR + ADDEND


@kernel(inline=True)
def high_bits(state, bits):
    """The uppermost bits of a state."""
    return (state >> (64 - bits)) & ((1 << bits) - 1)


@kernel
def draw(heap, row, bits):
    """So many random bits of a thread."""
    state = advanced(heap.rows[unsigned(row + DRAWS)])
    heap.rows[unsigned(row + DRAWS)] = state
    return high_bits(state, bits)


@kernel
def draw_jitter(heap, arena, decay, past):
    """A number below `past`, of a decay (prng_range_u64)."""
    bits = max(bit_length(past - 1), 1)
    while True:
        state = advanced(get(heap, arena, decay + JITTER))
        put(heap, arena, decay + JITTER, state)
        drawn = high_bits(state, bits)
        if drawn < past:
            return drawn


def smooth_steps() -> np.ndarray:
    """int64[STEPS]: 6x^5 - 15x^4 + 10x^3 in 2^24ths; exact, as the real table is."""
    top = STEPS**5
    shares = []
    for i in range(1, STEPS + 1):
        share = 6 * i**5 - 15 * i**4 * STEPS + 10 * i**3 * STEPS**2
        shares.append((share << STEP_BITS) // top)
    return np.array(shares, np.int64)


def ticker_draws(mean: int) -> np.ndarray:
    """int64[64]: ticks until the next look: -ln of equal shares, kept in 61sts."""
    places = 1 << TICKER_BITS
    table = [round(-TICKER_MUL * math.log(i / places)) for i in range(1, places + 1)]
    return np.array([mean * each // TICKER_MUL for each in table], np.int64)
