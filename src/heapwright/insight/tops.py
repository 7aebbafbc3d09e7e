"""What keeps the top of each heap: its highest live block, below which nothing is given back.

A manager that gives memory back from a heap's end only (glibc: M_TRIM_THRESHOLD) can give none of
the empty pages below the last block that lives. So that block is the culprit of all of them, and of
those directly below it the only one.

Heap  see `insight.pins`: the one that brk moves, or the 64 MiB that an arena reserves at a time
"""

from typing import Any

import numpy as np

from heapwright.insight.pins import HEAP_SHIFT, pins
from heapwright.machine.address_space import BREAK_LIMIT
from heapwright.tunnel.keyframes import Taken

LEAST_BYTES = 64 << 10  # retained in a heap; less is not told
MOST = 12  # heaps that are told


def tops(taken: Taken) -> list[dict[str, Any]]:
    """A row per heap that retains most, the most first.

    heap_address, retained_bytes (empty pages below the block), freed_bytes (those directly below
    it, which would go with it), and the block: address, bytes, age_events, site (-1 unknown)
    """
    blocks = taken.blocks
    if not len(blocks.address):
        return []
    cost = pins(taken)
    heap = np.where(blocks.address < BREAK_LIMIT, -1, blocks.address >> HEAP_SHIFT)
    last = np.flatnonzero(np.diff(heap, append=heap[-1] + 1))  # blocks ascend by address
    first = np.concatenate([[0], last[:-1] + 1])
    rows = []
    for low, high in zip(first.tolist(), last.tolist(), strict=True):
        retained = int(cost.retained[low : high + 1].sum())
        if retained < LEAST_BYTES:
            continue
        rows.append(
            {
                "heap_address": int(blocks.address[low])
                if heap[low] < 0
                else int(heap[low]) << HEAP_SHIFT,
                "retained_bytes": retained,
                "freed_bytes": int(cost.retained[high]),
                "address": int(blocks.address[high]),
                "bytes": int(blocks.size[high]),
                "age_events": int(blocks.age[high]),
                "site": int(blocks.site[high]),
            }
        )
    return sorted(rows, key=lambda row: -row["retained_bytes"])[:MOST]
