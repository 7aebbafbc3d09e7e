"""What must hold of the caching allocator at any time, and what PyTorch counts of it."""

from heapwright.compiler import kernel
from heapwright.managers.device.cuda_caching import state
from heapwright.managers.device.cuda_caching.state import (
    AFTER,
    AT,
    BARE,
    BEFORE,
    SIZE,
    SMALL,
    STREAM,
    USED,
    get,
    key_of,
)
from heapwright.structures.sorted_keys import at_least, size


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    mapped = listed = 0
    for row in range(1, heap.rows + 1):
        bytes_ = get(heap, row, SIZE)
        if not bytes_:
            continue
        bare, after = get(heap, row, BARE), get(heap, row, AFTER)
        mapped += 0 if bare else bytes_
        if after:
            alike = get(heap, after, BARE) == bare
            if get(heap, after, BEFORE) != row or get(heap, row, AT) + bytes_ != get(
                heap, after, AT
            ):
                return 1
            if alike and not get(heap, row, USED) and not get(heap, after, USED):
                return 1
        if not get(heap, row, USED):
            listed += 1
            key = key_of(get(heap, row, STREAM), 0 if bare else bytes_, get(heap, row, AT))
            small = get(heap, row, SMALL)
            found = at_least(heap.free_small if small else heap.free_large, key)
            if bare:
                found = at_least(heap.bare_small if small else heap.bare_large, key)
            if found != key:
                return 2
    free = size(heap.free_small) + size(heap.free_large)
    if listed != free + size(heap.bare_small) + size(heap.bare_large):
        return 2
    return 3 if mapped != heap.device.held else 0


def statistics(heap):
    """What torch.cuda.memory_stats() says, by name."""
    paths = dict(zip(state.PATHS, heap.paths.tolist(), strict=True))
    return {
        "allocated_bytes": int(heap.allocated),
        "reserved_bytes": int(heap.device.held),
        "segments": int(heap.segments),
        "num_alloc_retries": paths["retry"],
        "ooms": paths["oom"],
        "aligned": paths["aligned"],
    }
