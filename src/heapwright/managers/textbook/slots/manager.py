"""A fixed-size pool: slots of one size, handed out and taken back in a few instructions.

    chunk  │ slot │ slot │ slot │ ... untouched ... │      mapped, chunk_bytes at a time
    alloc ─► newest freed slot ─none─► next untouched slot ─none─► a further chunk
              └ larger than a slot or aligned ─► the heap beneath, a good fit
    free  ─► the slot becomes the newest freed one, linked through its first word

Invariant  every slot handed out so far is in use or on the free list           (check: 11)
           a slot on the list lies in a chunk, at a multiple of slot_bytes      (check: 12)
           of the heap beneath: the bins'                                       (check: 1-8)
Source     Kenwright, "Fast efficient fixed-size memory pool: no loops and no overhead",
           Computation Tools 2012; Boost.Pool's simple segregated storage
Omits      giving chunks back; threads: one pool, one lock

What a trace of malloc means here: a pool serves objects of one type. Requests up to slot_bytes get
a slot, the others pass to a general heap beneath; how many did, the result says. Chunks are whole
pages, so an address's page tells whether it is a slot's.
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags, good_fit
from heapwright.allocators.frame import ALIGN_BYTES, cached, counters, moving
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, Machine, load, store, touch
from heapwright.machine.address_space import PAGE_SHIFT, SPACE_BYTES
from heapwright.machine.ground import obtain

__all__ = ["cached"]

LINK_BYTES = 8

PATHS = ("slot", "reused", "chunk", "beneath", "free", "free_beneath")
SLOT, REUSED, CHUNK, BENEATH, FREE, FREE_BENEATH = range(6)


class Config(NamedTuple):
    """Knobs."""

    slot_bytes: int = 64  # a multiple of 16
    chunk_bytes: int = 1 << 16  # mapped at a time, a multiple of a page
    growth_bytes: int = 1 << 17  # least that brk moves for the heap beneath


@record(
    "newest",  # address of the newest freed slot, 0: none
    "next",  # address of the next untouched slot
    "limit",  # address past the newest chunk's slots
    "used",  # slots
    "listed",  # freed slots
    "slot_bytes",  # settings
    "chunk_bytes",
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    beneath: good_fit.Heap
    page: (
        np.ndarray
    )  # int32[address >> PAGE_SHIFT]  its number in a chunk, from 1; 0: it is in none
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def boot(machine, config):
    """A pool without chunks; HeapwrightError for sizes that do not fit together."""
    slot, chunk = config.slot_bytes, config.chunk_bytes
    if slot <= 0 or slot % ALIGN_BYTES:
        raise HeapwrightError(f"slot_bytes is a multiple of {ALIGN_BYTES}, not {slot}.")
    if chunk < slot or chunk % PAGE_BYTES or chunk > 1 << 30:
        raise HeapwrightError(
            f"chunk_bytes is a multiple of {PAGE_BYTES} with room for a slot, at most {1 << 30}, "
            f"not {chunk}."
        )
    if config.growth_bytes < 0:
        raise HeapwrightError("growth_bytes of slots is not negative.")
    return Heap(
        machine,
        good_fit.good_fit(machine, config.growth_bytes, 0, steps_shift=5),
        reserve(SPACE_BYTES >> PAGE_SHIFT, np.int32),
        words(Heap, slot_bytes=slot, chunk_bytes=chunk),
        counters(PATHS),
    )


@kernel
def alloc(heap, thread, size, align):
    """Address of a slot, or of a block beneath. About 4 ns for a slot."""
    if size > heap.slot_bytes or align > ALIGN_BYTES:
        heap.paths[BENEATH] += 1
        return good_fit.alloc(heap.beneath, thread, size, align)
    heap.paths[SLOT] += 1
    slot = heap.newest
    if slot:
        heap.paths[REUSED] += 1
        heap.newest = load(heap.machine, slot)
        heap.listed -= 1
    else:
        slot = heap.next
        if slot == heap.limit:
            slot = _new_chunk(heap)
            if not slot:
                return 0
        heap.next = slot + heap.slot_bytes
    heap.used += 1
    return slot


@kernel
def _new_chunk(heap):
    """The first slot of a fresh chunk; 0 where the system refuses."""
    chunk = obtain(heap.machine, 0, heap.chunk_bytes, PAGE_BYTES)
    if chunk:
        heap.paths[CHUNK] += 1
        heap.limit = chunk + heap.chunk_bytes // heap.slot_bytes * heap.slot_bytes
        for page in range(heap.chunk_bytes >> PAGE_SHIFT):
            heap.page[unsigned((chunk >> PAGE_SHIFT) + page)] = page + 1
    return chunk


@kernel(inline=True)
def _is_slot(heap, address):
    """Whether the address is a slot's."""
    return heap.page[unsigned(address >> PAGE_SHIFT)] != 0


@kernel
def free(heap, thread, address):
    """Give a slot or a block back. About 4 ns for a slot."""
    if not _is_slot(heap, address):
        heap.paths[FREE_BENEATH] += 1
        good_fit.free(heap.beneath, thread, address)
        return
    heap.paths[FREE] += 1
    touch(heap.machine, address, LINK_BYTES)
    store(heap.machine, address, heap.newest)
    heap.newest = address
    heap.listed += 1
    heap.used -= 1


@kernel
def resize_in_place(heap, address, size):
    """A slot stays while it fits, a block beneath is cut or takes the free one above."""
    fits = size <= heap.slot_bytes
    if _is_slot(heap, address):
        return fits
    return not fits and good_fit.resize_in_place(heap.beneath, address, size)


@kernel
def usable(heap, address, size):
    """The whole slot; of a block beneath all but its head."""
    if _is_slot(heap, address):
        return heap.slot_bytes
    return boundary_tags.usable(heap.beneath, address, size)


realloc = moving(alloc, free, usable, resize_in_place)


@kernel
def extent(heap, address, size):
    """The slot, which has no header; or the block beneath."""
    if _is_slot(heap, address):
        return address, heap.slot_bytes
    return boundary_tags.extent(heap.beneath, address, size)


@kernel
def metadata(heap, blocks):
    """The padding and fence of the heap beneath; slots need nothing."""
    return good_fit.metadata(heap.beneath, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = good_fit.check(heap.beneath)
    if broken:
        return broken
    slot_bytes, chunk_bytes = heap.slot_bytes, heap.chunk_bytes
    slots_of_chunk = chunk_bytes // slot_bytes
    untouched = (heap.limit - heap.next) // slot_bytes
    if heap.used + heap.listed + untouched != heap.paths[CHUNK] * slots_of_chunk:
        return 11
    slot, listed = heap.newest, 0
    while slot:
        page = np.int64(heap.page[unsigned(slot >> PAGE_SHIFT)])
        offset = ((page - 1) << PAGE_SHIFT) + (slot & (PAGE_BYTES - 1))  # in its chunk
        if not page or offset % slot_bytes or offset + slot_bytes > chunk_bytes:
            return 12
        listed += 1
        slot = load(heap.machine, slot)
    return 0 if listed == heap.listed else 11


def notes(heap):
    """What its figures mean, in sentences."""
    slots, beneath = int(heap.paths[SLOT]), int(heap.paths[BENEATH])
    size = int(heap.slot_bytes)
    return [
        f"Of {slots + beneath:,} requests {beneath:,} did not fit a slot of {size:,} bytes and "
        "went to the heap beneath, a good fit."
    ]
