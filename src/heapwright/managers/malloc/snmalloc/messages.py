"""Frees of another thread's objects: messages, kept in buckets and sent in batches.

    free ─► bucket of the owner's number ─full─► each bucket to the owner of its first message
    owner, when a size has no room ─► takes messages: its own are freed, the others go on

A bucket is named by six bits of the owner's number, so several owners may share one; who receives
it sends on what is not his.

Source     Lietar et al. 2019, section 3.2 (remote deallocation, the temporal radix tree)
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.snmalloc import state
from heapwright.managers.malloc.snmalloc.slabs import free_medium, free_object
from heapwright.managers.malloc.snmalloc.state import (
    BUCKETS,
    BUCKETS_SHIFT,
    CHUNK_SHIFT,
    CLASS,
    FIRST_OF,
    KIND,
    LAST_OF,
    LAST_POSTED,
    OWNER,
    POSTED,
    SIZE,
    SLAB_SHIFT,
    SLABS_IN,
    WAITING,
    bytes_of,
    chunk_word,
    row_word,
    set_row,
    slab_word,
)


@kernel(inline=True)
def owner_of(heap, block):
    """The allocator that a block belongs to."""
    return chunk_word(heap, block >> CHUNK_SHIFT, OWNER)


@kernel
def block_bytes(heap, block):
    """Bytes of a small or medium block."""
    chunk = block >> CHUNK_SHIFT
    if chunk_word(heap, chunk, KIND) == SLABS_IN:
        return bytes_of(slab_word(heap, block >> SLAB_SHIFT, CLASS))
    return bytes_of(chunk_word(heap, chunk, SIZE))


@kernel(inline=True)
def free_own(heap, allocator, block):
    """Free a block of the allocator's own."""
    if chunk_word(heap, block >> CHUNK_SHIFT, KIND) == SLABS_IN:
        free_object(heap, allocator, block)
    else:
        free_medium(heap, allocator, block)


@kernel
def _enter(heap, allocator, block, bucket):
    """Put a message at a bucket's end."""
    touch(heap.machine, block, 8)
    store(heap.machine, block, 0)
    last = row_word(heap, allocator, LAST_OF + bucket)
    if last:
        store(heap.machine, last, block)
    else:
        set_row(heap, allocator, FIRST_OF + bucket, block)
    set_row(heap, allocator, LAST_OF + bucket, block)


@kernel
def keep_for_owner(heap, allocator, block):
    """A message for the block's owner, in its bucket."""
    _enter(heap, allocator, block, owner_of(heap, block) & (BUCKETS - 1))
    waiting = row_word(heap, allocator, WAITING) + block_bytes(heap, block)
    set_row(heap, allocator, WAITING, waiting)


@kernel
def post(heap, allocator):
    """Send every bucket; what lies in the sender's own is sorted by the next bits, and again."""
    set_row(heap, allocator, WAITING, 0)
    depth = 0
    while True:
        own = (allocator >> depth) & (BUCKETS - 1)
        for bucket in range(BUCKETS):
            first = row_word(heap, allocator, FIRST_OF + bucket)
            if bucket != own and first:
                heap.paths[state.POST] += 1
                _send(
                    heap, owner_of(heap, first), first, row_word(heap, allocator, LAST_OF + bucket)
                )
                set_row(heap, allocator, FIRST_OF + bucket, 0)
                set_row(heap, allocator, LAST_OF + bucket, 0)
        block = row_word(heap, allocator, FIRST_OF + own)
        if not block:
            return
        set_row(heap, allocator, FIRST_OF + own, 0)
        set_row(heap, allocator, LAST_OF + own, 0)
        depth += BUCKETS_SHIFT
        while block:
            next_ = load(heap.machine, block)
            _enter(heap, allocator, block, (owner_of(heap, block) >> depth) & (BUCKETS - 1))
            block = next_


@kernel
def _send(heap, to, first, last):
    """Append messages to an allocator's queue."""
    end = row_word(heap, to, LAST_POSTED)
    if end:
        store(heap.machine, end, first)
    else:
        set_row(heap, to, POSTED, first)
    set_row(heap, to, LAST_POSTED, last)


@kernel
def receive(heap, allocator):
    """Take the next messages, at most a batch: free what is one's own, keep the rest for others."""
    for _ in range(heap.remote_batch):
        block = row_word(heap, allocator, POSTED)
        if not block:
            break
        next_ = load(heap.machine, block)
        set_row(heap, allocator, POSTED, next_)
        if not next_:
            set_row(heap, allocator, LAST_POSTED, 0)
        if owner_of(heap, block) == allocator:
            heap.paths[state.RECEIVED] += 1
            free_own(heap, allocator, block)
        else:
            heap.paths[state.FORWARDED] += 1
            keep_for_owner(heap, allocator, block)
    if row_word(heap, allocator, WAITING) >= heap.remote_cache:
        post(heap, allocator)
