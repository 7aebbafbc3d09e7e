"""The caches of a kernel: which there are, and their slabs' layout, as SLUB's rows.

    kmalloc-8 ... kmalloc-8k, of each type       then the dedicated ones by name

Source     Linux 6.1: create_kmalloc_caches (mm/slab_common.c), init_cache_random_seq (mm/slub.c)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heapwright.compiler.record import words
from heapwright.linux import slub as rows
from heapwright.linux.frames import NONE, Pages
from heapwright.linux.geometry import (
    DMA,
    KMALLOC_SIZES,
    RECLAIMED,
    TYPE_NAMES,
    WORD_BYTES,
    Layout,
    Settings,
    kmalloc_name,
    layout,
)
from heapwright.linux.page_alloc import GFP_DMA, GFP_RECLAIMABLE
from heapwright.linux.slub import CACHE_WORDS, PATHS, Slub
from heapwright.trace.doors import CACHE, Door


@dataclass(frozen=True)
class Cache:
    """One cache."""

    name: str
    layout: Layout
    gfp: int = 0  # added to its slabs' requests
    sequence: tuple[int, ...] | None = None  # its order of free objects; None ascending


def kmalloc_caches(settings: Settings, random: np.random.Generator | None = None) -> list[Cache]:
    """The general caches, by type and then by size; `random` gives each an order of its own."""
    flags = {RECLAIMED: GFP_RECLAIMABLE, DMA: GFP_DMA}
    found = []
    for kind in range(len(TYPE_NAMES)):
        for size in KMALLOC_SIZES:
            align = size if size & (size - 1) == 0 else 0
            made = layout(size, align, settings)
            found.append(
                Cache(kmalloc_name(size, kind), made, flags.get(kind, 0), shuffled(made, random))
            )
    return found


def shuffled(made: Layout, random: np.random.Generator | None) -> tuple[int, ...] | None:
    """An order in which a cache hands out a fresh slab's objects."""
    return None if random is None else tuple(random.permutation(made.objects).tolist())


def caches_for(
    doors: Sequence[Door], settings: Settings, config: Any
) -> tuple[list[Cache], Callable[[Door], int]]:
    """The general caches and those that the doors name, and which number each of these has.

    With `merging` a cache is one with an earlier dedicated one whose objects have room for its own,
    at most a word more, and lie as it wants: find_mergeable's rule.
    """
    random = np.random.default_rng(config.seed) if config.freelist_random else None
    found = [_set(each, config) for each in kmalloc_caches(settings, random)]
    general, numbers = len(found), {}
    for door in doors:
        if door.call != CACHE or door.cache in numbers:
            continue
        made = layout(door.object_size, door.align, settings)
        gfp = door.gfp & GFP_RECLAIMABLE
        merged = -1
        for number in range(general, len(found)) if config.merging else ():
            other = found[number]
            room = other.layout.size - made.inuse
            if 0 <= room < WORD_BYTES and other.layout.size % made.align == 0 and gfp == other.gfp:
                merged = number
                break
        if merged < 0:
            merged = len(found)
            found.append(_set(Cache(door.cache, made, gfp, shuffled(made, random)), config))
        else:
            _widen(found, merged, door.object_size)
        numbers[door.cache] = merged
    return found, lambda door: numbers[door.cache]


def _widen(caches: list[Cache], number: int, object_size: int) -> None:
    """A merged cache serves the larger of its objects."""
    old = caches[number]
    size = max(old.layout.object_size, object_size)
    caches[number] = replace(old, layout=old.layout._replace(object_size=size))


def _set(cache: Cache, config: Any) -> Cache:
    """What sysfs sets of a cache."""
    made = cache.layout
    if config.min_partial >= 0:
        made = made._replace(min_partial=config.min_partial)
    if config.cpu_partial >= 0:
        slabs = -(-config.cpu_partial * 2 // made.objects)
        made = made._replace(cpu_partial=config.cpu_partial, cpu_slabs=slabs)
    return replace(cache, layout=made)


def slub_of(pages: Pages, caches: Sequence[Cache], seed: int = 1) -> Slub:
    """These caches, each without a slab."""
    frames = len(pages.order)
    nodes = np.arange(frames + len(caches), dtype=np.int32)
    cache = np.zeros(max(len(caches), 1) * CACHE_WORDS, np.int64)
    sequence: list[int] = []
    for number, each in enumerate(caches):
        row, made = cache[number * CACHE_WORDS : (number + 1) * CACHE_WORDS], each.layout
        row[rows.SIZE], row[rows.OBJECTS], row[rows.ORDER] = made.size, made.objects, made.order
        row[rows.LEAST_ORDER], row[rows.OFFSET] = made.least_order, made.offset
        row[rows.MIN_PARTIAL], row[rows.CPU_SLABS] = made.min_partial, made.cpu_slabs
        row[rows.GFP], row[rows.SEQUENCE] = each.gfp, -1
        row[rows.CPU_SLAB] = row[rows.CPU_PARTIAL] = NONE
        row[rows.OBJECT_BYTES] = made.object_size
        if each.sequence is not None:
            row[rows.SEQUENCE] = len(sequence)
            sequence += each.sequence
    return Slub(
        pages,
        np.tile(cache, int(pages.cpus)),
        np.zeros(frames, np.int64),
        np.zeros(frames, np.int32),
        np.zeros(frames, np.int32),
        np.zeros(frames, np.int32),
        np.zeros(frames, np.int8),
        np.zeros(frames, np.uint8),
        nodes,
        nodes.copy(),
        np.zeros(frames, np.int32),
        np.full(frames, -1, np.int16),
        np.array([*sequence, 0], np.int32),
        np.zeros(len(PATHS), np.int64),
        words(Slub, caches=len(caches), random=seed),
    )
