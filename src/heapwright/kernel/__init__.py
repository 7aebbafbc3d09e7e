"""Plain data structures and the one decorator that compiles them; no memory manager's policy."""

from heapwright.kernel.bare import bare
from heapwright.kernel.compiled import INTERPRETED, kernel, unsigned
from heapwright.kernel.hints import likely, unlikely

__all__ = ["INTERPRETED", "bare", "kernel", "likely", "unlikely", "unsigned"]
