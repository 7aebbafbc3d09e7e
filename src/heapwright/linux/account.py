"""Who holds the frames, and how broken up the free ones are: for people, in plain Python.

Source     Linux: mm/vmstat.c (__fragmentation_index), mm/slub.c (show_slab_objects)
"""

from collections.abc import Sequence
from typing import Any

from heapwright.linux import frames as words
from heapwright.linux import slab as classic
from heapwright.linux import slub as objects
from heapwright.linux.buddy import free_blocks
from heapwright.linux.frames import NONE, ORDERS, ZONE_WORDS, Pages
from heapwright.linux.slab import Slabs
from heapwright.linux.slub import Slub
from heapwright.linux.slub_lists import free_objects
from heapwright.linux.zones import ZONES_WORD
from heapwright.machine import PAGE_BYTES


def fragmentation_index(free: Sequence[int], order: int) -> float:
    """Why a request of `order` would fail: near 0 for want of memory, near 1 since what is free is
    in pieces; -1 where it would not fail. `free` blocks by order, as in
    /sys/kernel/debug/extfrag/extfrag_index.

    >>> fragmentation_index([512, 0, 0], 2), fragmentation_index([0, 0, 1], 2)
    (0.748, -1.0)
    """
    blocks = sum(free)
    if not blocks:
        return 0.0
    if any(free[order:]):
        return -1.0
    frames = sum(count << size for size, count in enumerate(free))
    return (1000 - (1000 + frames * 1000 // (1 << order)) // blocks) / 1000


def frames_by_owner(pages: Pages) -> dict[str, Any]:
    """Frames free in the buddies by order, in the processor's lists, and in use."""
    rows = [number * ZONE_WORDS for number in range(int(pages.fields[ZONES_WORD]))]
    free = [sum(int(free_blocks(pages, z, order)) for z in rows) for order in range(ORDERS)]
    managed = sum(int(pages.zone[z + words.MANAGED]) for z in rows)
    kept = sum(int(words.on_all_cpus(pages, z, 1)) for z in rows)
    unused = sum(count << order for order, count in enumerate(free))
    return {
        "frames": managed,
        "free_frames": unused,
        "cpu_list_frames": kept,
        "used_frames": managed - unused - kept,
        "free_by_order": free,
        "fragmentation_index": [fragmentation_index(free, order) for order in range(ORDERS)],
    }


def cache_row(name: str, slabs: int, order: int, in_use: int, size: int) -> dict[str, Any]:
    """What a cache holds; `beyond` is what its frames have besides objects in use."""
    held = slabs * PAGE_BYTES << order
    live = in_use * size
    told = {"cache": name, "slabs": slabs, "frames": slabs << order, "objects": in_use}
    return told | {"held_bytes": held, "object_bytes": live, "beyond_bytes": held - live}


def slub_rows(slub: Slub, names: Sequence[str]) -> list[dict[str, Any]]:
    """What each of SLUB's caches holds."""
    found = []
    for number, name in enumerate(names):
        c = number * objects.CACHE_WORDS
        free, slabs = 0, list[int]()
        for own in range(c, len(slub.cache), len(names) * objects.CACHE_WORDS):  # by processor
            row = slub.cache[own : own + objects.CACHE_WORDS]
            free += int(free_objects(slub, c, int(row[objects.CPU_FREE])))
            slabs += [int(row[objects.CPU_SLAB])] if row[objects.CPU_SLAB] != NONE else []
            slab = int(row[objects.CPU_PARTIAL])
            while slab != NONE:
                slabs.append(slab)
                slab = int(slub.next[slab])
        row = slub.cache[c : c + objects.CACHE_WORDS]
        head = len(slub.pages.order) + number
        slab = int(slub.next[head])
        while slab != head:
            slabs.append(slab)
            slab = int(slub.next[slab])
        free += sum(int(free_objects(slub, c, int(slub.free[each]))) for each in slabs)
        count, order = int(row[objects.SLABS]), int(row[objects.ORDER])
        in_use = max(count * int(row[objects.OBJECTS]) - free, 0)
        found.append(cache_row(name, count, order, in_use, int(row[objects.OBJECT_BYTES])))
    return found


def slab_rows(slabs: Slabs, names: Sequence[str]) -> list[dict[str, Any]]:
    """What each of the classic allocator's caches holds."""
    found = []
    for number, name in enumerate(names):
        c = number * classic.CACHE_WORDS
        row = slabs.cache[c : c + classic.CACHE_WORDS]
        count, order = int(row[classic.SLABS]), int(row[classic.ORDER])
        free = int(row[classic.FREE_OBJECTS] + row[classic.AVAILABLE])
        in_use = count * int(row[classic.OBJECTS]) - free
        found.append(cache_row(name, count, order, in_use, int(row[classic.OBJECT_BYTES])))
    return found
