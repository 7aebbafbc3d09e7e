"""A device's memory as a driver gives it: whole areas at once, or address space and pages apart.

    device_alloc ─► an area, mapped at once (cudaMalloc)      device_free ─► its address space too
    reserve_span ─► address space alone       map_span, unmap_span ─► memory of a part of it

Everything that is mapped is resident: a device faults nothing in. The areas lie in the machine's
address space, from near its end upwards, and below when that is used up.

Terms      span: a range of address space of an expandable segment; held: bytes mapped
Invariant  held <= capacity; the machine's own (address_space.py)
Source     CUDA: cudaMalloc, cudaFree, cuMemAddressReserve, cuMemMap
Omits      where the driver puts an area, which only a recording tells; what else uses the device
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import INTERPRETED, kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.machine.address_space import (
    BREAK_BASE,
    LOWEST_MAPPED,
    MAPPED,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_BYTES,
    PAGE_SHIFT,
    PEAK_MAPPED_BYTES,
    PEAK_RESIDENT_PAGES,
    RESIDENT,
    RESIDENT_PAGES,
    SYSCALLS,
)
from heapwright.machine.gaps import give_back, place

UNIT_BYTES = 2 << 20  # areas begin at its multiples
UPWARDS_BYTES = 1 << 28  # of address space below its end in which the first areas follow each other
MOST_CAPACITY_BYTES = 60 << 30  # the address space has room for no more


@record("capacity", "held", "next")
class Device(NamedTuple):
    """A device."""

    fields: np.ndarray  # int64[word]  bytes, bytes, the address after the last area


def device(machine, capacity_bytes):
    """A device with so much memory; all of the machine's address space is for it."""
    machine.gaps.start[0] = BREAK_BASE << 1
    return Device(words(Device, capacity=capacity_bytes, next=MAPPED_TOP - UPWARDS_BYTES))


if INTERPRETED:

    def _flag(machine, address, bytes_, flags):
        """Flag the pages of a range."""
        machine.pages[address >> PAGE_SHIFT : (address + bytes_) >> PAGE_SHIFT] = flags

else:

    @kernel
    def _flag(machine, address, bytes_, flags):
        """Flag the pages of a range."""
        for page in range(address >> PAGE_SHIFT, (address + bytes_) >> PAGE_SHIFT):
            machine.pages[unsigned(page)] = flags


@kernel
def reserve_span(machine, device, bytes_):
    """Address space without memory; 0 where there is none so wide."""
    wide = (bytes_ + UNIT_BYTES - 1) & -UNIT_BYTES
    address = place(machine.gaps, device.next, wide)
    if address == device.next:
        device.next += wide
    return address


@kernel
def release_span(machine, address, bytes_):
    """Give such address space back, nothing mapped in it."""
    give_back(machine.gaps, address, (bytes_ + UNIT_BYTES - 1) & -UNIT_BYTES)


@kernel
def map_span(machine, device, address, bytes_):
    """Memory for a part of a span; whether the device has as much."""
    meters = machine.meters
    meters[SYSCALLS] += 1
    if device.held + bytes_ > device.capacity:
        return False
    device.held += bytes_
    _flag(machine, address, bytes_, MAPPED | RESIDENT)
    meters[LOWEST_MAPPED] = min(meters[LOWEST_MAPPED], address)
    meters[MAPPED_BYTES] += bytes_
    meters[RESIDENT_PAGES] += bytes_ // PAGE_BYTES
    meters[PEAK_MAPPED_BYTES] = max(meters[PEAK_MAPPED_BYTES], meters[MAPPED_BYTES])
    meters[PEAK_RESIDENT_PAGES] = max(meters[PEAK_RESIDENT_PAGES], meters[RESIDENT_PAGES])
    return True


@kernel
def unmap_span(machine, device, address, bytes_):
    """Take the memory of a part of a span."""
    machine.meters[SYSCALLS] += 1
    device.held -= bytes_
    _flag(machine, address, bytes_, 0)
    machine.meters[MAPPED_BYTES] -= bytes_
    machine.meters[RESIDENT_PAGES] -= bytes_ // PAGE_BYTES


@kernel
def device_alloc(machine, device, bytes_):
    """An area of so many bytes; 0 where the device has not as much."""
    if device.held + bytes_ > device.capacity:
        machine.meters[SYSCALLS] += 1
        return 0
    address = reserve_span(machine, device, bytes_)
    if address:
        map_span(machine, device, address, bytes_)
    return address


@kernel
def device_free(machine, device, address, bytes_):
    """Give such an area back."""
    unmap_span(machine, device, address, bytes_)
    release_span(machine, address, bytes_)
