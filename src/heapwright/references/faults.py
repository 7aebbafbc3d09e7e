"""What a page fault takes on this machine: measured, as it is no other machine's."""

import mmap
import time

import numpy as np

PAGE_BYTES = 4096
PAGES = 4096  # in each try, about 2 ms
TRIES = 5


def fault_ns() -> float:
    """Nanoseconds to write to a fresh page, its clearing included: the least of a few tries, by the
    time that the processor was ours, as others may be at work."""
    found = []
    for _ in range(TRIES):
        with mmap.mmap(-1, PAGES * PAGE_BYTES) as fresh:
            if hasattr(mmap, "MADV_NOHUGEPAGE"):
                fresh.madvise(mmap.MADV_NOHUGEPAGE)
            words = np.frombuffer(fresh, np.uint8)
            start = time.thread_time_ns()
            words[::PAGE_BYTES] = 1
            found.append((time.thread_time_ns() - start) / PAGES)
            del words
    return min(found)
