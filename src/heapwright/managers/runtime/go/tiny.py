"""Objects of less than 16 bytes without references share a block of 16 (the tiny allocator).

    │ object │ object │ room │     the block lives as long as any of them

Invariant  TINY_USED bytes of the block at TINY are given out, none of them twice
Source     Go 1.27 runtime/malloc.go (mallocgcTiny)
"""

from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.go.layout import PROCESSOR_SHIFT, TINY, TINY_USED

TINY_BYTES = 16  # runtime: maxTinySize
TINY_CLASS = 5  # span class of such blocks


@kernel(inline=True)
def share(go, processor, size):
    """Address of `size` bytes in the processor's block, aligned as the size is; 0 if there is too
    little room."""
    own = unsigned(processor << PROCESSOR_SHIFT)
    used = go.processors[own + unsigned(TINY_USED)]
    if not size & 7:
        used = (used + 7) & ~7
    elif not size & 3:
        used = (used + 3) & ~3
    elif not size & 1:
        used = (used + 1) & ~1
    block = go.processors[own + unsigned(TINY)]
    if not block or used + size > TINY_BYTES:
        return 0
    go.processors[own + unsigned(TINY_USED)] = used + size
    return block + used


@kernel(inline=True)
def share_out(go, processor, block, size):
    """A new block has its first object, of `size` bytes: the emptier of the two is shared."""
    own = unsigned(processor << PROCESSOR_SHIFT)
    used = go.processors[own + unsigned(TINY_USED)]
    if size < used or not go.processors[own + unsigned(TINY)]:
        go.processors[own + unsigned(TINY)] = block
        go.processors[own + unsigned(TINY_USED)] = size
