"""Large zeroed arrays that cost physical memory only where they are written."""

import mmap
import sys
from typing import Any

import numpy as np

_MAP_NORESERVE = 0x4000  # Linux; Python names it from 3.13


def reserve(length: int, dtype: Any) -> np.ndarray:
    """`length` zeros of `dtype`: address space now, a page of memory at the first write to it."""
    bytes_ = max(1, length) * np.dtype(dtype).itemsize
    if sys.platform == "linux":
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        space = mmap.mmap(-1, bytes_, flags=flags)
    else:
        space = mmap.mmap(-1, bytes_)
    return np.frombuffer(space, dtype, count=length)
