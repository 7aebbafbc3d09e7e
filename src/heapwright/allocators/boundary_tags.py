"""Boundary tags: a heap of adjacent blocks, each of which finds both of its neighbours.

    START                                                                     END = the break
    │pad│ head │ user ...        │ head │ link link ... foot │ head │ user ... │ fence │
    8 B  8 B    usable bytes       8 B     a free block   8 B                     8 B

Terms      head: size | PREVIOUS_IN_USE | IN_USE; foot: size, in the last word of a free block only;
           fence: a head of size 0, in use, that ends the heap; block: address of its head.
           area: one such run. The machine gives one that grows with the break; any other ground
           gives one after the other, and the pad of each holds the area before and its own end
Invariant  the blocks from START + PAD tile the area up to the fence; sizes are multiples of 16 and
           at least 32; each PREVIOUS_IN_USE tells the truth; each free block has its foot  (check)
Source     Knuth, The Art of Computer Programming 1, section 2.5, algorithm C and exercise 19 (the
           foot only where free); the layout is Doug Lea's

A block in use costs 8 bytes above its user bytes: the word of a foot belongs to the user.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel
from heapwright.compiler.record import record, words
from heapwright.machine import PAGE_BYTES, Machine, load, store, touch
from heapwright.machine.ground import CONTINUES, LOWEST, give_back, less, more

HEAD_BYTES = 8
ALIGN_BYTES = 16
MIN_BLOCK_BYTES = 32  # head, two links, foot
LINKS_BYTES = 24  # head and links: what is written at the start of a free block
PAD_BYTES = 8 if CONTINUES else 24  # before an area's first head
AREA_BEFORE, AREA_END = 0, 8  # words of a pad, where areas are many

IN_USE, PREVIOUS_IN_USE = 1, 2
FLAGS = 15


@record(
    "start",  # address of the newest area
    "end",  # past it; equal to start while there is none
    "growth",  # setting: bytes
)
class Tags(NamedTuple):
    """A heap of boundary-tagged blocks at the break."""

    machine: Machine
    fields: np.ndarray  # int64[word]


def boundary_tags(machine, growth_bytes):
    """An empty heap that grows by at least `growth_bytes` at a time."""
    return Tags(machine, words(Tags, start=LOWEST, end=LOWEST, growth=growth_bytes))


@kernel
def block_bytes(size):
    """Bytes of the block for a request of `size`."""
    return max(MIN_BLOCK_BYTES, (size + HEAD_BYTES + ALIGN_BYTES - 1) & ~(ALIGN_BYTES - 1))


@kernel
def first_block(tags):
    """The lowest block of the newest area, or the fence; of a heap that is not empty."""
    return tags.start + PAD_BYTES


@kernel
def fence(tags):
    """Where the blocks of the newest area end."""
    return tags.end - HEAD_BYTES


@kernel
def newest_area(tags):
    """Address of the newest area, where a walk through all begins; 0 of an empty heap."""
    return tags.start if tags.start != tags.end else 0


@kernel
def area_before(tags, area):
    """The area that was taken before `area`; 0 if none."""
    return 0 if CONTINUES else load(tags.machine, area + AREA_BEFORE)


@kernel
def area_fence(tags, area):
    """Where the blocks of `area` end."""
    return fence(tags) if CONTINUES else load(tags.machine, area + AREA_END) - HEAD_BYTES


@kernel
def size_of(machine, block):
    """Bytes of `block`, head included; 0 for the fence."""
    return load(machine, block) & ~FLAGS


@kernel
def is_free(machine, block):
    """Whether `block` is free."""
    return load(machine, block) & IN_USE == 0


@kernel
def previous_is_free(machine, block):
    """Whether the block below is free; False for the lowest."""
    return load(machine, block) & PREVIOUS_IN_USE == 0


@kernel
def previous(machine, block):
    """The free block below `block`."""
    return block - load(machine, block - HEAD_BYTES)


@kernel
def set_used(machine, block, size):
    """Write the head of a block in use whose lower neighbour's state is known to the old head."""
    store(machine, block, size | (load(machine, block) & PREVIOUS_IN_USE) | IN_USE)
    after = block + size
    store(machine, after, load(machine, after) | PREVIOUS_IN_USE)


@kernel
def set_free(machine, block, size, previous_in_use):
    """Write head and foot of a free block and tell the block above."""
    touch(machine, block, LINKS_BYTES)
    store(machine, block, size | previous_in_use)
    after = block + size
    store(machine, after - HEAD_BYTES, size)
    store(machine, after, load(machine, after) & ~PREVIOUS_IN_USE)


@kernel
def cut(machine, block, head_size, tail_size):
    """Write a used block of `head_size` and the free one of `tail_size` (0: none) after it."""
    if tail_size == 0:
        set_used(machine, block, head_size)
        return
    store(machine, block, head_size | (load(machine, block) & PREVIOUS_IN_USE) | IN_USE)
    set_free(machine, block + head_size, tail_size, PREVIOUS_IN_USE)


@kernel
def grow(tags, need):
    """More memory, so that the heap has a free block of `need` bytes or more at its end.

    Returns the added block and its bytes, in use and not yet merged with a free one below it;
    (0, 0) where the ground refuses.
    """
    machine = tags.machine
    start, end = tags.start, tags.end
    have = 0
    if CONTINUES and end > start and previous_is_free(machine, end - HEAD_BYTES):
        have = load(machine, end - ALIGN_BYTES)
    bytes_ = max(tags.growth, need - have + PAD_BYTES + HEAD_BYTES)
    bytes_ = (bytes_ + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    place = more(machine, end, bytes_, ALIGN_BYTES)
    if not place:
        return 0, 0
    tags.end = place + bytes_
    if CONTINUES and end > start:
        block = end - HEAD_BYTES
        flags = load(machine, block) & PREVIOUS_IN_USE
    else:
        touch(machine, place, PAD_BYTES + HEAD_BYTES)
        if not CONTINUES:
            store(machine, place + AREA_BEFORE, start if start != end else 0)
            store(machine, place + AREA_END, place + bytes_)
        tags.start = place
        block = first_block(tags)
        flags = PREVIOUS_IN_USE
    size = fence(tags) - block
    touch(machine, fence(tags), HEAD_BYTES)
    store(machine, block, size | flags | IN_USE)
    store(machine, fence(tags), PREVIOUS_IN_USE | IN_USE)
    return block, size


@kernel
def trim(tags, least):
    """Lower the heap's end when its last block is free and of `least` bytes or more; where the
    heap is one area that CONTINUES.

    Keeps the last block's first page. Returns the last block and its new size, (0, 0) if nothing
    was done.
    """
    machine, end = tags.machine, tags.end
    if not previous_is_free(machine, end - HEAD_BYTES):
        return 0, 0
    size = load(machine, end - ALIGN_BYTES)
    block = end - HEAD_BYTES - size
    kept = (block + MIN_BLOCK_BYTES + HEAD_BYTES + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    if size < least or kept >= end:
        return 0, 0
    less(machine, kept)
    tags.end = kept
    touch(machine, fence(tags), HEAD_BYTES)
    store(machine, fence(tags), PREVIOUS_IN_USE | IN_USE)
    set_free(machine, block, fence(tags) - block, load(machine, block) & PREVIOUS_IN_USE)
    return block, fence(tags) - block


@kernel
def fills_an_area(tags, block, size):
    """Whether a block is all that its area holds; False where the heap is one that CONTINUES."""
    if CONTINUES or size_of(tags.machine, block + size):
        return False
    area = newest_area(tags)
    while area and area + PAD_BYTES != block:
        area = area_before(tags, area)
    return area != 0


@kernel
def drop_area(tags, block):
    """Give the area that the unlisted `block` fills back to the ground."""
    machine = tags.machine
    area = block - PAD_BYTES
    before, end = load(machine, area + AREA_BEFORE), load(machine, area + AREA_END)
    if tags.start == area:
        tags.start = before
        tags.end = load(machine, before + AREA_END) if before else 0
    else:
        newer = tags.start
        while load(machine, newer + AREA_BEFORE) != area:
            newer = load(machine, newer + AREA_BEFORE)
        store(machine, newer + AREA_BEFORE, before)
    give_back(machine, 0, area, end - area)


@kernel
def usable(heap, address, size):
    """User bytes of the block: all but its head."""
    return size_of(heap.machine, address - HEAD_BYTES) - HEAD_BYTES


@kernel
def extent(heap, address, size):
    """The block from its head to the next one's."""
    return address - HEAD_BYTES, size_of(heap.machine, address - HEAD_BYTES)


@kernel
def own_memory(tags, blocks):
    """Each area's padding and fence, as rows of `blocks` (start, bytes); their number."""
    rows, area = 0, newest_area(tags)
    while area:
        if rows + 2 <= len(blocks):
            blocks[rows, 0], blocks[rows, 1] = area, PAD_BYTES
            blocks[rows + 1, 0], blocks[rows + 1, 1] = area_fence(tags, area), HEAD_BYTES
        rows += 2
        area = area_before(tags, area)
    return rows


@kernel
def check(tags):
    """0, or 1: no tiling; 2: bad size; 3: PREVIOUS_IN_USE lies; 4: bad foot."""
    machine, area = tags.machine, newest_area(tags)
    while area:
        block, past, below_in_use = area + PAD_BYTES, area_fence(tags, area), True
        while block < past:
            size = size_of(machine, block)
            if size < MIN_BLOCK_BYTES or size % ALIGN_BYTES:
                return 2
            if previous_is_free(machine, block) == below_in_use:
                return 3
            if is_free(machine, block) and load(machine, block + size - HEAD_BYTES) != size:
                return 4
            below_in_use = not is_free(machine, block)
            block += size
        if block != past or size_of(machine, block):
            return 1
        if previous_is_free(machine, block) == below_in_use:
            return 3
        area = area_before(tags, area)
    return 0
