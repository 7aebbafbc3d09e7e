"""The heap maps of a page, as much of them as a page has room for.

Room for blocks is dealt out in the order of the results given: each may take half of what is left.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from heapwright.insight.heap_map import with_blocks
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.report.packed import Packed
from heapwright.result import HeapMap, Result

ROOM = 4_000_000  # characters, of a page of 8 MB at most
BLOCKS = 1_000_000  # of all maps together, to begin with
LEAST_BLOCKS = 2_000  # below, the pages at the peak go too


def map_data(results: Sequence[Result], labels: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The map of each result, which all have one; `labels` are the call sites of its trace.

    The number of blocks is halved until the maps fit in ROOM.
    """
    limit = BLOCKS
    while True:
        left = limit
        maps: list[dict[str, Any]] = []
        for result, names in zip(results, labels, strict=True):
            assert result.heap_map is not None
            known = with_blocks(result.heap_map, left // 2)
            left = max(0, left - len(known.blocks.address))
            maps.append(_map(known, names, limit >= LEAST_BLOCKS))
        if sum(len(one["data"]) for one in maps) <= ROOM or limit < LEAST_BLOCKS:
            return maps
        limit //= 2


def _map(known: HeapMap, labels: Sequence[str], with_pages: bool) -> dict[str, Any]:
    packed = Packed()
    blocks = known.blocks
    row = np.searchsorted(known.pages, blocks.address >> PAGE_SHIFT)
    sites, site = np.unique(blocks.site, return_inverse=True)
    columns = {
        "pages": packed.add(known.pages, delta=True),
        "frames": packed.add_frames(known.frames),
    }
    if with_pages:
        columns |= {
            "state": packed.add(known.state),
            "live": packed.add(known.live),
            "free": packed.add(known.free),
            "row": packed.add(row, delta=True),
            "offset": packed.add(blocks.address & (PAGE_BYTES - 1)),
            "size": packed.add(blocks.size),
            "age": packed.add(blocks.age),
            "site": packed.add(site),
        }
    return {
        "events": known.events.tolist(),
        "peak_event": known.peak_event,
        "pages_per_cell": known.pages_per_cell,
        "known_live": known.known_live,
        "left_out_pages": known.left_out_pages,
        "sites": [labels[n] if 0 <= n < len(labels) else "" for n in sites.tolist()],
        "columns": columns,
        "data": packed.text(),
    }
