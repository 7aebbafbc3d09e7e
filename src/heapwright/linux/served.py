"""What managers over SLUB's caches do alike with an object or a block of frames that was given out.

A heap has `slub`, and `taken`: by frame, the order of the block of frames in use that starts there.
"""

import numpy as np

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.linux import buddy, per_cpu
from heapwright.linux.frames import frame_of
from heapwright.linux.kmalloc import give_block
from heapwright.linux.per_cpu import listed_frames
from heapwright.linux.slub import CACHE_WORDS, OBJECT_BYTES, SIZE, run_thread
from heapwright.linux.slub import free as free_object
from heapwright.linux.slub_lists import check as check_slub
from heapwright.linux.slub_lists import listed_objects
from heapwright.machine import PAGE_BYTES


@kernel(inline=True)
def free(heap, thread, address):
    """Give it back."""
    if unlikely(thread != heap.slub.pages.thread):
        run_thread(heap.slub, thread)
    frame = frame_of(heap.slub.pages, address)
    if np.int64(heap.slub.owner[unsigned(frame)]) >= 0:
        free_object(heap.slub, address)
    else:
        give_block(heap.slub.pages, heap.taken, frame)


@kernel
def _room(heap, address, word):
    """Bytes of an object, by the word of its cache that says them, or of a block of frames."""
    frame = frame_of(heap.slub.pages, address)
    cache = np.int64(heap.slub.owner[unsigned(frame)])
    if cache < 0:
        return PAGE_BYTES << np.int64(heap.taken[unsigned(frame)])
    return heap.slub.cache[unsigned(cache * CACHE_WORDS + word)]


@kernel
def usable(heap, address, size):
    """What ksize says: the size of its cache's objects, without padding."""
    return _room(heap, address, OBJECT_BYTES)


@kernel
def extent(heap, address, size):
    """The object with its padding."""
    return address, _room(heap, address, SIZE)


@kernel
def cached(heap, blocks):
    """Free objects of the processor's slabs, and what lies in its lists of frames."""
    return listed_frames(heap.slub.pages, blocks, listed_objects(heap.slub, blocks))


@kernel
def metadata(heap, blocks):
    """None in memory: the descriptors are there from the start."""
    return 0


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = buddy.check(heap.slub.pages)
    if not broken:
        broken = per_cpu.check(heap.slub.pages)
    return broken if broken else check_slub(heap.slub)
