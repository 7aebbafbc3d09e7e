"""Who pins memory: the free bytes of partly used pages, charged to call sites.

A page goes back to the system when the last object on it dies. So the free bytes of a page are
charged evenly to the objects that hold it, however small: each is as much in the way as any other.
The charges sum to the `partial` bytes of the peak.

An object is long-lived if it lived through at least half of the events up to the peak. The pages
that only long-lived objects of one call site hold are those that a change there would free: keep
such objects together, or let them die sooner.
"""

from typing import Any

import numpy as np

from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.result import HeapMap

TOP_SITES = 15


def stranded(known: HeapMap) -> dict[str, Any]:
    """Of a map with all its blocks: the partial bytes, and the sites that hold most of them.

    partial_bytes
    by_bytes   rows of site (number, -1 unknown), bytes, share, objects, pages, median_age_events
    by_pages   rows of site, pages, bytes: partial pages that only its long-lived objects hold
    """
    partial = (known.live > 0) & (known.free > 0)
    total = int(known.free[partial].sum(dtype=np.int64))
    owner, page = _holders(known, partial)
    if not len(owner):
        return {"partial_bytes": total, "by_bytes": [], "by_pages": []}
    holders = np.bincount(page, minlength=len(known.pages))
    charge = known.free[page] / holders[page]
    site = known.blocks.site[owner].astype(np.int64)
    charged = np.bincount(site + 1, weights=charge)
    rows = []
    for number in np.argsort(-charged, kind="stable")[:TOP_SITES].tolist():
        if charged[number] <= 0:
            break
        its = site == number - 1
        objects = np.unique(owner[its])
        rows.append(
            {
                "site": number - 1,
                "bytes": round(float(charged[number])),
                "share": float(charged[number]) / total,
                "objects": len(objects),
                "pages": len(np.unique(page[its])),
                "median_age_events": int(np.median(known.blocks.age[objects])),
            }
        )
    return {
        "partial_bytes": total,
        "by_bytes": rows,
        "by_pages": _freed(known, owner, page, site),
    }


def _holders(known: HeapMap, partial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of an object and a partial page that it lies on, in the order of pages.

    An object fills the pages between its first and its last, so those have nothing free.
    """
    blocks = known.blocks
    objects = np.flatnonzero(blocks.size > 0)
    start = blocks.address[objects]
    first = np.searchsorted(known.pages, start >> PAGE_SHIFT)
    last = np.searchsorted(known.pages, (start + blocks.size[objects] - 1) >> PAGE_SHIFT)
    two = last > first
    owner = np.concatenate([objects, objects[two]])
    page = np.concatenate([first, last[two]])
    held = partial[page]
    order = np.argsort(page[held], kind="stable")
    return owner[held][order], page[held][order]


def _freed(
    known: HeapMap, owner: np.ndarray, page: np.ndarray, site: np.ndarray
) -> list[dict[str, int]]:
    """Sites whose long-lived objects alone hold most partial pages."""
    start = np.flatnonzero(np.diff(page, prepend=-1))  # of each page's run of pairs
    alone = np.minimum.reduceat(site, start) == np.maximum.reduceat(site, start)
    youngest = np.minimum.reduceat(known.blocks.age[owner], start)
    freed = start[alone & (2 * youngest >= known.peak_event)]
    pages = np.bincount(site[freed] + 1)
    free = np.bincount(site[freed] + 1, weights=known.free[page[freed]])
    return [
        {"site": number - 1, "pages": int(pages[number]), "bytes": int(free[number])}
        for number in np.argsort(-pages, kind="stable")[:TOP_SITES].tolist()
        if pages[number]
    ]
