"""dalvik.vm.heapstartsize, heapgrowthlimit, heapsize and the rest: read and held to each other.

Source     Android 4.4 dalvik/vm/Init.cpp; ART 11 runtime/parsed_options.cc, heap.cc
"""

from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES

MOST_SIZE = 1 << 31


class Sizes(NamedTuple):
    """Bytes."""

    start: int
    limit: int  # of growth
    most: int  # of the heap


def sizes(name, config):
    """What the properties say; HeapwrightError where they contradict each other."""
    most = config.heapsize
    limit = config.heapgrowthlimit or most
    start = config.heapstartsize
    if not 0 < most < MOST_SIZE or not limit <= most:
        raise HeapwrightError(
            f"{name}.heapgrowthlimit is {limit:,} and heapsize {most:,}; the limit is at most the "
            f"size, which is below {MOST_SIZE:,}."
        )
    if not PAGE_BYTES <= start <= limit:
        raise HeapwrightError(
            f"{name}.heapstartsize is {start:,}; it is from {PAGE_BYTES:,} to the limit of growth, "
            f"{limit:,}."
        )
    if not 0 < config.heaptargetutilization < 100:
        raise HeapwrightError(
            f"{name}.heaptargetutilization is a percentage above 0 and below 100, "
            f"not {config.heaptargetutilization}."
        )
    if not 0 <= config.heapminfree <= config.heapmaxfree:
        raise HeapwrightError(
            f"{name}.heapminfree is {config.heapminfree:,}; it is from 0 to heapmaxfree, "
            f"{config.heapmaxfree:,}."
        )
    return Sizes(start, limit, most)
