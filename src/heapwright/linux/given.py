"""What lies at an address that was given out: an object of a cache, or a block of frames.

`caches` is a slab allocator's or SLUB's state: `pages`; `owner`, by frame, the cache whose slab it
lies in, below 0 none; `cache`, the words of its caches. `taken` has, by frame, the order of the
block of frames in use that starts there.
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.linux import buddy, per_cpu
from heapwright.linux.frames import frame_of
from heapwright.machine import PAGE_BYTES


@kernel(inline=True)
def cache_at(caches, address):
    """The number of the cache whose object it is; below 0 it is a block of frames."""
    return np.int64(caches.owner[unsigned(frame_of(caches.pages, address))])


@kernel
def room(caches, taken, address, width, word):
    """Bytes of an object, by the word of its cache, of `width` words, that says them; or of a block
    of frames."""
    cache = cache_at(caches, address)
    if cache < 0:
        return PAGE_BYTES << np.int64(taken[unsigned(frame_of(caches.pages, address))])
    return caches.cache[unsigned(cache * width + word)]


@kernel
def check_frames(pages):
    """Number of the broken invariant of the buddies or the processor's lists, 0 if none."""
    broken = buddy.check(pages)
    return broken if broken else per_cpu.check(pages)
