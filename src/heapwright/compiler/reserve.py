"""Large zeroed arrays that cost physical memory only where they are written."""

import contextlib
import mmap
import sys
from typing import Any

import numpy as np

_MAP_NORESERVE = 0x4000  # Linux; Python names it from 3.13


def in_huge_pages(array: np.ndarray, first_byte: int, length: int) -> None:
    """Let the host back bytes of a reserved array by huge pages, where it does so on request: what
    is written densely then faults once in 2 MiB, not 512 times."""
    space = getattr(array.base, "obj", None)
    if isinstance(space, mmap.mmap) and hasattr(mmap, "MADV_HUGEPAGE"):
        start = first_byte // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError, ValueError):  # a host without them
            space.madvise(mmap.MADV_HUGEPAGE, start, length)


def reserve(length: int, dtype: Any) -> np.ndarray:
    """`length` zeros of `dtype`: address space now, a page of memory at the first write to it."""
    bytes_ = max(1, length) * np.dtype(dtype).itemsize
    if sys.platform == "linux":
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        space = mmap.mmap(-1, bytes_, flags=flags)
    else:
        space = mmap.mmap(-1, bytes_)
    return np.frombuffer(space, dtype, count=length)
