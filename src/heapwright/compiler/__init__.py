"""How a kernel runs: interpreted, compiled for the tunnel, compiled ahead of time for flight.

`@kernel` is the one decorator; beside it stand the hints and intrinsics that kernels are written
with, and the only code that names Numba.
"""

from heapwright.compiler.bare import bare
from heapwright.compiler.compiled import INTERPRETED, kernel, unsigned
from heapwright.compiler.hints import likely, unlikely

__all__ = ["INTERPRETED", "bare", "kernel", "likely", "unlikely", "unsigned"]
