"""From the keyframes of a replay to a map of its heap that fits on a page.

    Keyframes ─► pages ever mapped ─► at each keyframe, at most CELLS cells of neighbouring pages
         ─► the peak          ─► every page, and the objects of the emptiest pages first

The least full pages are the telling ones: what lies there strands the rest.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heapwright.insight.stranded import stranded
from heapwright.insight.tops import tops
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.result import ABSENT_LEVEL, EMPTY_LEVEL, Blocks, HeapMap
from heapwright.tunnel.keyframes import Keyframes

RUN_PAGES = 256  # so long a run of pages that are never resident is left out, as of an arena's rest
CELLS = 1 << 13  # of a keyframe; a screen shows about as many
BLOCKS = 300_000  # objects kept


def heap_map(keyframes: Keyframes, labels: Sequence[str] = ()) -> HeapMap:
    """The map of a replay's heap; call sites whose `labels` read the same count as the first."""
    mapped = keyframes.pages()
    pages = shown_pages(keyframes, mapped)
    group = 1
    while len(pages) > group * CELLS:
        group *= 2
    frames = [keyframes.levels(frame, pages) for frame in range(len(keyframes.events))]
    at_peak = frames[int(np.searchsorted(keyframes.events, keyframes.peak_event))]
    live, free = keyframes.bytes_at(keyframes.peak_event, pages)
    blocks = keyframes.blocks
    if labels:  # a site beyond the table, of a damaged trace, is unknown
        known = alike(labels)[np.where(blocks.site < len(labels), blocks.site, -1) + 1]
        blocks = replace(blocks, site=known)
    found = HeapMap(
        pages=pages,
        events=keyframes.events,
        frames=np.array([cells(levels, group) for levels in frames]),
        pages_per_cell=group,
        peak_event=keyframes.peak_event,
        state=np.minimum(at_peak, EMPTY_LEVEL),
        live=live,
        free=free,
        blocks=blocks,
        known_live=PAGE_BYTES,
        left_out_pages=len(mapped) - len(pages),
    )
    found.stranded = stranded(found)
    found.tops_event = max(keyframes.end_event, -1)
    if found.tops_event not in keyframes.taken:
        found.tops_event = keyframes.peak_event
    found.tops = tops(keyframes.taken[found.tops_event])
    return with_blocks(found, BLOCKS)


def shown_pages(keyframes: Keyframes, pages: np.ndarray) -> np.ndarray:
    """Those of the mapped `pages` that are worth a square: long runs in which no page is ever
    resident, and no object begins or ends, are left out."""
    shown = np.zeros(len(pages), bool)
    for frame in range(len(keyframes.events)):
        shown |= keyframes.levels(frame, pages) >= EMPTY_LEVEL
    blocks = keyframes.blocks
    for address in (blocks.address, blocks.address + np.maximum(blocks.size, 1) - 1):
        at = np.searchsorted(pages, address >> PAGE_SHIFT)
        shown[at[at < len(pages)]] = True
    edges = np.flatnonzero(np.diff(shown, prepend=True, append=True))  # runs of what is not shown
    for start, past in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if past - start < RUN_PAGES:
            shown[start:past] = True
    return pages[shown]


def alike(labels: Sequence[str]) -> np.ndarray:
    """int32[1 + site]: for each site the first with the same label; -1 for site -1."""
    first: dict[str, int] = {}
    return np.array([-1, *(first.setdefault(label, n) for n, label in enumerate(labels))], np.int32)


def cells(levels: np.ndarray, group: int) -> np.ndarray:
    """uint8[cell]: levels of `group` pages each; the mean of those that are resident."""
    if group == 1:
        return levels
    padded = np.zeros((-(-len(levels) // group), group), np.int64)
    padded.flat[: len(levels)] = levels
    resident = padded >= EMPTY_LEVEL
    count = resident.sum(axis=1)
    steps = np.where(resident, padded - EMPTY_LEVEL, 0).sum(axis=1)
    mean = EMPTY_LEVEL + -(-steps // np.maximum(count, 1))
    found: np.ndarray = np.where(count, mean, padded.max(axis=1) >= ABSENT_LEVEL).astype(np.uint8)
    return found


def with_blocks(known: HeapMap, limit: int) -> HeapMap:
    """The same map with about `limit` blocks at most: those that fill a page and those of the
    emptiest pages, all of the pages with up to `known_live` live bytes."""
    blocks = known.blocks
    if len(blocks.address) <= limit:
        return known
    first = np.searchsorted(known.pages, blocks.address >> PAGE_SHIFT)
    past = blocks.address + np.maximum(blocks.size, 1) - 1
    last = np.searchsorted(known.pages, past >> PAGE_SHIFT)
    least = np.minimum(known.live[first], known.live[last]).astype(np.int64)
    large = blocks.size >= 2 * PAGE_BYTES
    counted = np.bincount(least[~large], minlength=PAGE_BYTES + 1).cumsum()
    room = limit - np.count_nonzero(large)
    bound = int(np.searchsorted(counted, room, side="right")) - 1
    kept = large | (least <= bound)
    return HeapMap(
        **{
            **vars(known),
            "blocks": Blocks(**{name: column[kept] for name, column in vars(blocks).items()}),
            "known_live": bound,
        }
    )
