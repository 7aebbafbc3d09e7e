"""The thread-local allocation buffer: a piece of eden in which one thread bumps without a lock.

    eden  │ ... │ objects ─►          │ reserve │ ...      reserve: room for the filler that
                bump            bump_end                   closes it, 16 bytes

    a request that does not fit   more free than the limit: the buffer stays, the object is born in
                                  eden, and the limit rises
                                  else: a new buffer, of the desired size and the object

Source     OpenJDK 17 src/hotspot/share/gc/shared/threadLocalAllocBuffer.cpp, .inline.hpp
Omits      ResizeTLAB: the size is TLABSize; more threads than one; the larger reserve of the
           optimising compiler, which prefetches beyond the buffer: `reserve` is a setting
"""

from heapwright.collectors.hotspot.layout import fill
from heapwright.compiler import kernel

LEAST_BYTES = 2048  # MinTLABSize
RAISE_BYTES = 32  # TLABWasteIncrement is 4 words
WASTE_SHIFT = 6  # TLABRefillWasteFraction is 64


@kernel
def retained(heap):
    """Whether a buffer with so much left is kept where a request did not fit. The limit rises."""
    if heap.bump_end - heap.bump <= heap.waste_limit:
        return False
    heap.waste_limit += RAISE_BYTES
    return True


@kernel
def new_bytes(heap, need):
    """Bytes of the next buffer, for an object of `need` bytes; 0 where eden is too full for one."""
    bytes_ = min(heap.eden_end - heap.eden_top, heap.tlab_bytes + need)
    return bytes_ if bytes_ >= max(need + heap.tlab_reserve, LEAST_BYTES) else 0


@kernel
def retire(heap):
    """Close the buffer: what is left of it is filled, so that eden can be walked."""
    if heap.bump_end:
        fill(heap.machine, heap.bump, heap.bump_end + heap.tlab_reserve - heap.bump)
    heap.bump = heap.bump_end = 0


@kernel
def open_buffer(heap, bytes_):
    """Begin a buffer of so many bytes at eden's top."""
    heap.bump = heap.eden_top
    heap.eden_top += bytes_
    heap.bump_end = heap.eden_top - heap.tlab_reserve
    heap.waste_limit = heap.tlab_bytes >> WASTE_SHIFT & ~7
