"""The time, for managers that give memory back by the clock.

    in the tunnel   the program's, at the event that is replayed: the loop sets it, see `tell_time`
    in flight       Linux's own, to a tick of the kernel

Source     clock_gettime(2)
"""

from heapwright.compiler import kernel
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import CLOCK_GETTIME, system_call
from heapwright.machine.address_space import TIME_NS, TIME_S

CLOCK_MONOTONIC_COARSE = 6
SECOND_NS = 1_000_000_000


@kernel
def now(machine):
    """Nanoseconds of a clock that only moves on."""
    meters = machine.meters
    if AHEAD:
        place = real_address(meters) + 8 * TIME_S
        system_call(CLOCK_GETTIME, CLOCK_MONOTONIC_COARSE, place)
        return meters[TIME_S] * SECOND_NS + meters[TIME_NS]
    return meters[TIME_NS]
