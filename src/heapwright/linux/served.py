"""What managers over SLUB's caches do alike with an object or a block of frames that was given out.

A heap has `slub`, and `taken`: by frame, the order of the block of frames in use that starts there.
"""

from heapwright.compiler import kernel, unlikely
from heapwright.linux.frames import frame_of
from heapwright.linux.given import cache_at, check_frames, room
from heapwright.linux.kmalloc import give_block
from heapwright.linux.per_cpu import listed_frames
from heapwright.linux.slub import CACHE_WORDS, OBJECT_BYTES, SIZE, run_thread
from heapwright.linux.slub import free as free_object
from heapwright.linux.slub_lists import check as check_slub
from heapwright.linux.slub_lists import listed_objects


@kernel(inline=True)
def free(heap, thread, address):
    """Give it back."""
    if unlikely(thread != heap.slub.pages.thread):
        run_thread(heap.slub, thread)
    if cache_at(heap.slub, address) >= 0:
        free_object(heap.slub, address)
    else:
        give_block(heap.slub.pages, heap.taken, frame_of(heap.slub.pages, address))


@kernel
def usable(heap, address, size):
    """What ksize says: the size of its cache's objects, without padding."""
    return room(heap.slub, heap.taken, address, CACHE_WORDS, OBJECT_BYTES)


@kernel
def extent(heap, address, size):
    """The object with its padding."""
    return address, room(heap.slub, heap.taken, address, CACHE_WORDS, SIZE)


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
    broken = check_frames(heap.slub.pages)
    return broken if broken else check_slub(heap.slub)
