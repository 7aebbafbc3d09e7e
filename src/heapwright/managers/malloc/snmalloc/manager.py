"""snmalloc as published in 2019: each thread's allocator alone frees what it handed out.

    alloc ─► thread's slab of the size ─none has room─► messages taken, then a slab ─► chunk ─► mmap
    free  ─► own object: its slab's list; another's: a message in a bucket ─full─► all are sent

Terms      chunk: 16 MiB; slab: 64 KiB of one; message: an object on its way to its owner
Invariant  a slab's free, fresh and used objects are all that fit in it (check: 1); lists hold what
           has room and are linked both ways (2); messages in buckets are none of their holder's and
           sum to what it counts (3)
Source     Lietar et al., "snmalloc: A Message Passing Allocator" (ISMM 2019); parts in the files
           beside
Omits      what came after: free lists per size, guard pages, BatchIt; the short first slab; that
           messages take time: a sent one has arrived. No live reference: nothing that is packaged
           is of that time, so the figures are those of the paper's rules
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, counters
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import copy
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.snmalloc import state
from heapwright.managers.malloc.snmalloc.invariants import cached, check, metadata
from heapwright.managers.malloc.snmalloc.messages import (
    block_bytes,
    free_own,
    keep_for_owner,
    owner_of,
    post,
    receive,
)
from heapwright.managers.malloc.snmalloc.slabs import (
    give_chunks,
    new_slab,
    take_large,
    take_medium,
    take_object,
)
from heapwright.managers.malloc.snmalloc.state import (
    ALLOCATOR_ROW,
    CHUNK_BYTES,
    CHUNK_ORDERS,
    CHUNK_ROW,
    CHUNK_SHIFT,
    CHUNK_SLABS,
    CHUNKS,
    KIND,
    LARGE_IN,
    MEDIUM_BYTES,
    MOST_THREADS,
    NEXT_IDLE,
    PATHS,
    POSTED,
    SIZE,
    SLAB_ROW,
    SLABS,
    SMALL_BYTES,
    WAITING,
    Heap,
    chunk_word,
    class_of,
    row_word,
    set_row,
)

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "check",
    "extent",
    "free",
    "metadata",
    "realloc",
    "thread_exit",
    "usable",
]


class Config(NamedTuple):
    """The paper's constants."""

    remote_cache: int = 1 << 20  # bytes of messages that are kept before all are sent
    remote_batch: int = 64  # messages that an allocator takes at once


def boot(machine, config):
    """No chunk and no allocator yet; HeapwrightError for knobs that do not fit."""
    if config.remote_cache < 0 or config.remote_batch < 1:
        raise HeapwrightError(
            "snmalloc.remote_cache is not negative and snmalloc.remote_batch at least 1."
        )
    return Heap(
        machine,
        reserve(SLABS << SLAB_ROW, np.int64),
        reserve(CHUNKS << CHUNK_ROW, np.int64),
        reserve(CHUNKS * CHUNK_SLABS, np.int16),
        reserve((MOST_THREADS + 1) << ALLOCATOR_ROW, np.int64),
        reserve(MOST_THREADS, np.int64),
        np.zeros(CHUNK_ORDERS, np.int64),
        words(Heap, remote_cache=config.remote_cache, remote_batch=config.remote_batch),
        counters(PATHS),
    )


@kernel
def _allocator_of(heap, thread):
    """The thread's allocator; one whose thread has ended, or a new one."""
    row = unsigned(thread & (MOST_THREADS - 1))
    if not heap.of_thread[row]:
        allocator = heap.idle
        if allocator:
            heap.paths[state.ALLOCATOR_AGAIN] += 1
            heap.idle = row_word(heap, allocator, NEXT_IDLE)
        else:
            heap.paths[state.NEW_ALLOCATOR] += 1
            heap.allocators += 1
            allocator = heap.allocators
        heap.of_thread[row] = allocator
    return heap.of_thread[row]


@kernel
def alloc(heap, thread, size, align):
    """A block; an aligned one has a size that is a multiple of its alignment. 0 if refused."""
    heap.paths[state.ALLOC] += 1
    if unsigned(size) > unsigned(SPACE_BYTES) or unsigned(align) > unsigned(CHUNK_BYTES):
        return 0
    allocator = _allocator_of(heap, thread)
    if align > ALIGN_BYTES:
        size = (max(size, 1) + align - 1) & -align
    if size > MEDIUM_BYTES:
        _take_messages(heap, allocator)
        return take_large(heap, allocator, size)
    class_ = class_of(size)
    if size > SMALL_BYTES:
        if not row_word(heap, allocator, class_):
            _take_messages(heap, allocator)
        return take_medium(heap, allocator, class_)
    slab = row_word(heap, allocator, class_)
    if not slab:
        _take_messages(heap, allocator)
        slab = row_word(heap, allocator, class_)
        if not slab:
            slab = new_slab(heap, allocator, class_)
    return take_object(heap, allocator, class_, slab) if slab else 0


@kernel
def _take_messages(heap, allocator):
    """Look for messages, where there are any."""
    if row_word(heap, allocator, POSTED):
        receive(heap, allocator)


@kernel
def free(heap, thread, address):
    """Free a block of the thread's own, or keep it for its owner; a large one is everybody's."""
    heap.paths[state.FREED] += 1
    chunk, allocator = address >> CHUNK_SHIFT, _allocator_of(heap, thread)
    if chunk_word(heap, chunk, KIND) == LARGE_IN:
        give_chunks(heap, chunk, chunk_word(heap, chunk, SIZE))
    elif owner_of(heap, address) == allocator:
        free_own(heap, allocator, address)
    else:
        heap.paths[state.REMOTE] += 1
        keep_for_owner(heap, allocator, address)
        if row_word(heap, allocator, WAITING) >= heap.remote_cache:
            post(heap, allocator)


@kernel
def realloc(heap, thread, address, size):
    """The block itself where its size is the request's; else moved."""
    room = usable(heap, address, size)
    fits = size <= room and (size > MEDIUM_BYTES or _rounded(size) == room)
    if fits and not (size > MEDIUM_BYTES and size <= room // 2):
        return address
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        heap.paths[state.MOVED] += 1
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def _rounded(size):
    """Bytes that a request of at most MEDIUM_BYTES gets."""
    return state.bytes_of(class_of(size))


@kernel
def thread_exit(heap, thread):
    """Its messages are sent, and the allocator waits for another thread; the main one stays."""
    row = unsigned(thread & (MOST_THREADS - 1))
    allocator = heap.of_thread[row]
    if thread and allocator:
        post(heap, allocator)
        set_row(heap, allocator, NEXT_IDLE, heap.idle)
        heap.idle = allocator
        heap.of_thread[row] = 0


@kernel
def usable(heap, address, size):
    """The object's size, or the chunks'."""
    chunk = address >> CHUNK_SHIFT
    if chunk_word(heap, chunk, KIND) == LARGE_IN:
        return CHUNK_BYTES << chunk_word(heap, chunk, SIZE)
    return block_bytes(heap, address)


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, usable(heap, address, size)
