"""ART of Android 11 by its published rules: bumped regions, copied out of; large objects apart.

    new ─► three pages and more without references: a mapping of its own
             ├ a region and more: regions of its own
             └ else: the thread's buffer in a region ─► 16 KiB more are counted, or a fresh region
    beyond the concurrent start: Background, before the next one; beyond the limit: Alloc ─► out

Terms      see state.py beside this file
Invariant  state.py                                                              (check: 1-6)
Source     ART 11 runtime/gc/heap.cc, heap-inl.h, space/region_space.cc; the parts name files
Omits      a live reference: none was driven; Java's headers of 8 bytes: an object has 16 here, and
           lies at a multiple of 16; buffers of several threads; the zygote's and the non-moving
           space; native memory but for pixels, which go with the collection that finds them dead,
           as if their finalizer ran at once; trimming; see collection.py
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import frame
from heapwright.allocators.holes import is_hole
from heapwright.allocators.linear import bump
from heapwright.collectors import mark, regions, textbook
from heapwright.collectors.android.history import history, note
from heapwright.collectors.android.properties import sizes
from heapwright.collectors.log import log
from heapwright.collectors.mark import mark_stack
from heapwright.collectors.mutator import SLOTS
from heapwright.collectors.objects import (
    GRANULE_BYTES,
    HEADER_BYTES,
    MOST_BYTES,
    block_bytes,
    bytes_of,
    fields_of,
    reference,
    set_note,
    slot_of,
)
from heapwright.collectors.regions import (
    LARGE,
    USED,
    home_of,
    open_region,
    region_of,
    take_large,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT
from heapwright.managers.runtime.art.collection import LEAST_REMAINING, collect_for
from heapwright.managers.runtime.art.large_objects import (
    are_counted,
    count_pixels,
    holds,
    is_over_target,
    large_bytes,
    obtain_large,
)
from heapwright.managers.runtime.art.lines import lines
from heapwright.managers.runtime.art.state import (
    BACKGROUND,
    BUFFER,
    EXPLICIT,
    FOR_ALLOC,
    LARGE_BYTES,
    LARGE_OBJECT,
    LARGE_REGION,
    MOST_LARGE,
    NATIVE,
    NEW,
    OOM,
    OUT,
    PATHS,
    REGION_BYTES,
    REGION_SHIFT,
    TLAB_BYTES,
    Heap,
)
from heapwright.versions import version_number

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "boot",
    "cached",
    "check",
    "collect",
    "extent",
    "lines",
    "metadata",
    "new",
    "notes",
    "usable",
    "vacant",
    "write",
]

cached, extent, usable = frame.cached, textbook.extent, textbook.usable
metadata = mark.metadata


FOR_PIXELS = 2  # a collection is wanted for their sake


class Config(NamedTuple):
    """Properties of the device, dalvik.vm.*, with the defaults of the virtual machine itself."""

    heapsize: int = 256 << 20  # most bytes of the heap
    heapgrowthlimit: int = 0  # of a process that does not ask for a large heap; 0: heapsize
    heapstartsize: int = 2 << 20  # the first target
    heaptargetutilization: int = 75  # percent of the heap that shall live after a collection
    heapmaxfree: int = 2 << 20  # most that is free then, before it is multiplied,
    heapminfree: int = 512 << 10  # and least
    native_pixels_bytes: int = 0  # objects without references from this size on are pixels of
    # bitmaps, in native memory as from Android 8 on; 0: all is in the heap, as in 3 to 7
    multiplier: int = 300  # percent of it: 2, and 1 for the read barrier; 100 in the background
    concurrent: int = 1  # 0: collections only when the target is reached, 1: before that
    version: int = version_number("11.0")


def boot(machine, config, mutator):
    """No region yet; HeapwrightError for sizes that contradict each other."""
    start, limit, most = sizes("art", config)
    if config.native_pixels_bytes and config.native_pixels_bytes < LARGE_BYTES:
        raise HeapwrightError(
            f"art.native_pixels_bytes is 0 or at least {LARGE_BYTES:,}, "
            f"not {config.native_pixels_bytes:,}."
        )
    if config.multiplier < 100:
        raise HeapwrightError(f"art.multiplier is at least 100 percent, not {config.multiplier}.")
    rows = (BREAK_LIMIT - BREAK_BASE) >> REGION_SHIFT
    fields = words(
        Heap,
        growth_limit=limit,
        utilization=config.heaptargetutilization,
        min_free=config.heapminfree,
        max_free=min(config.heapmaxfree, most),
        multiplier=config.multiplier,
        native_from=config.native_pixels_bytes,
        target=start,
        concurrent=config.concurrent,
        concurrent_start=max(start - LEAST_REMAINING, LEAST_REMAINING),
    )
    return Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        stack=mark_stack(),
        regions=regions.regions(REGION_SHIFT, 0, 0),
        fresh=reserve(rows, np.uint8),
        large=reserve(MOST_LARGE, np.int64),
        spare=reserve(MOST_LARGE, np.int64),
        history=history(),
        fields=fields,
        paths=frame.counters(PATHS),
    )


def notes(heap):
    """What its figures mean, in sentences."""
    return [
        "art follows ART 11's published rules; there is no live reference to hold it to.",
        "An object has a header of 16 bytes, twice ART's; collections stand still as a whole.",
    ]


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object; a bump while the buffer has room."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    block = 0
    if need <= heap.buffer and not heap.wanted and (fields or need < LARGE_BYTES):
        block = bump(heap.regions.newest, need, GRANULE_BYTES)
    if block:
        heap.buffer -= need
    else:
        if not fields and need >= LARGE_BYTES:
            need = large_bytes(need)
        block = _obtain(heap, need, fields)
        if not block:
            return 0
    address = textbook.born(heap, (block, need), slot, fields)
    if heap.native_from and not fields and need >= heap.native_from:
        set_note(heap.machine, address, 1)
    return address


@kernel(inline=True)
def write(heap, slot, field, target):
    """One store; with pixels in native memory their references are counted."""
    if heap.native_from:
        count_pixels(heap, slot, field, target)
    textbook.write(heap, slot, field, target)


@kernel(cold=True)
def _obtain(heap, need, fields):
    """A block by all means there are; 0 if there is none."""
    if heap.wanted:
        cause = NATIVE if heap.wanted == FOR_PIXELS else BACKGROUND
        heap.wanted = 0
        collect_for(heap, cause)
    block = 0
    if need <= MOST_BYTES:
        block = _obtain_at_once(heap, need, fields, False)
        if not block and need <= heap.growth_limit:
            collect_for(heap, FOR_ALLOC)
            block = _obtain_at_once(heap, need, fields, True)
    if not block:
        heap.paths[OUT] += 1
        free = max(heap.target - heap.allocated, 0)
        left = max(heap.growth_limit - heap.allocated, 0)
        note(heap, OOM, (need, free, left, heap.target, heap.growth_limit, 0))
    elif heap.concurrent and heap.allocated >= heap.concurrent_start:
        heap.wanted = 1
    elif heap.native_bytes and is_over_target(heap):
        heap.wanted = FOR_PIXELS
    return block


@kernel
def _may_have(heap, bytes_, grow):
    """Whether so many bytes more are allowed; with `grow` the target follows."""
    after = heap.allocated + bytes_
    if after <= heap.target:
        return True
    if after > heap.growth_limit:
        return False
    if not heap.concurrent:
        if not grow:
            return False
        heap.target = after
    return True


@kernel
def _obtain_at_once(heap, need, fields, grow):
    """A block without a collection; 0 if there is none."""
    machine, table = heap.machine, heap.regions
    if not fields and need >= LARGE_BYTES:
        if heap.native_from and need >= heap.native_from:
            return obtain_large(heap, need, True)
        block = obtain_large(heap, need, False) if _may_have(heap, need, grow) else 0
        if block:
            heap.paths[LARGE_OBJECT] += 1
            heap.allocated += need
        return block
    if need > REGION_BYTES:
        bytes_ = (need + REGION_BYTES - 1) & -REGION_BYTES
        block = take_large(machine, table, need) if _may_have(heap, bytes_, grow) else 0
        if block:
            heap.paths[LARGE_REGION] += 1
            heap.allocated += bytes_
        return block
    newest = table.newest
    if need > newest.limit - newest.top:
        if not _may_have(heap, max(need, TLAB_BYTES), grow):
            return 0
        heap.allocated -= heap.buffer
        heap.buffer = 0
        if not open_region(machine, table, False):
            return 0
        heap.fresh[unsigned(region_of(table, newest.base))] = 1
    if need > heap.buffer:
        more = max(need - heap.buffer, min(TLAB_BYTES, newest.limit - newest.top - heap.buffer))
        if not _may_have(heap, more, grow):
            return 0
        heap.paths[BUFFER] += 1
        heap.allocated += more
        heap.buffer += more
    heap.buffer -= need
    return bump(newest, need, GRANULE_BYTES)


@kernel
def collect(heap):
    """System.gc()."""
    collect_for(heap, EXPLICIT)


@kernel
def vacant(heap, blocks):
    """Free regions, the ends of others, and holes."""
    return regions.vacant(heap.machine, heap.regions, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    machine, table = heap.machine, heap.regions
    broken = regions.check(machine, table)
    if broken:
        return broken
    for region in range(table.total):
        if table.kind[unsigned(region)] not in (USED, LARGE):
            continue
        block = regions.base_of(table, region)
        while block < regions.top_of(table, region):
            address = block + HEADER_BYTES
            if not is_hole(machine, block):
                for field in range(fields_of(machine, address)):
                    target = reference(machine, address, field)
                    if target and not _is_in_use(heap, target):
                        return 3
            block += bytes_of(machine, address)
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and (not _is_in_use(heap, address) or slot_of(machine, address) != slot):
            return 4
    if not mark.check(heap.stack):
        return 5
    return 0 if are_counted(heap) else 6


@kernel
def _is_in_use(heap, address):
    """Whether the address lies in a region that holds objects, or is a large object's."""
    region = home_of(heap.regions, address)
    if 0 <= region < heap.regions.total:
        return heap.regions.kind[unsigned(region)] in (USED, LARGE)
    return holds(heap, address)
