"""A machine's memory as zones, with the marks and list sizes that the kernel computes at its start.

    DMA      below 16 MiB     DMA32   below 4 GiB     Normal   above

Source     Linux 6.1: setup_per_zone_wmarks, init_per_zone_wmark_min, zone_batchsize,
           setup_per_zone_lowmem_reserve (mm/page_alloc.c), calculate_normal_threshold (mm/vmstat.c)
"""

from collections.abc import Iterator
from math import isqrt

import numpy as np

from heapwright.compiler.record import words
from heapwright.compiler.reserve import in_huge_pages
from heapwright.errors import HeapwrightError
from heapwright.linux.buddy import give_at_boot
from heapwright.linux.frames import (
    COUNTS,
    CPU_BATCH,
    CPU_HIGH,
    CPU_LISTS,
    CPU_WORDS,
    END,
    HIGH,
    INDEX,
    KINDS,
    MANAGED,
    MIN,
    MOVABLE,
    NONE,
    ORDERS,
    RESERVE,
    START,
    THRESHOLD,
    ZONE_WORDS,
    ZONES,
    Pages,
)
from heapwright.machine import PAGE_BYTES, Machine
from heapwright.machine.address_space import BREAK_LIMIT, FIRST_BREAK

DMA_FRAMES, DMA32_FRAMES = (16 << 20) // PAGE_BYTES, (4 << 30) // PAGE_BYTES
RESERVE_RATIO = (256, 256, 32, 0, 0)  # vm.lowmem_reserve_ratio
SCALE_FACTOR = 10  # vm.watermark_scale_factor, of 10,000
ZONES_WORD = Pages.WORDS.index("zones")  # type: ignore[attr-defined]
BLOCK_ORDER_WORD = Pages.WORDS.index("block_order")  # type: ignore[attr-defined]
MOST_CPUS = 512  # more than a kernel is built for by default is not asked
LEAST_MEMORY, MOST_MEMORY = 32 << 20, 16 << 30  # bytes


def empty(
    machine: Machine,
    frames: int,
    *,
    block_order: int = 9,
    huge_lists: bool = True,
    cpus: int = 1,
) -> Pages:
    """Descriptors of `frames` frames, none of them free, and no zone yet.

    Frame 0 lies where the machine's heap starts; the break rises as higher frames are held.
    """
    largest = PAGE_BYTES << (ORDERS - 1)
    base = -(-int(machine.meters[FIRST_BREAK]) // largest) * largest
    nodes = frames + ZONES * (ORDERS * KINDS + cpus * CPU_LISTS)
    links = np.arange(nodes, dtype=np.int32)  # each list's head is linked to itself
    blocks = (frames >> block_order) + 2
    return Pages(
        machine,
        links,
        links.copy(),
        np.full(frames, NONE, np.int8),
        np.zeros(frames, np.int8),
        np.zeros(frames, np.uint8),
        np.full(blocks, MOVABLE, np.int8),
        np.zeros(blocks, np.int8),
        np.zeros(ZONES * ZONE_WORDS, np.int64),
        np.zeros(ZONES * KINDS, np.int64),
        np.zeros(cpus * ZONES * len(CPU_WORDS), np.int64),
        np.zeros(len(COUNTS), np.int64),
        words(
            Pages,
            base=base,
            frames=frames,
            block_order=block_order,
            huge_lists=int(huge_lists),
            normal=2,
            cpus=cpus,
            lists=frames + ZONES * ORDERS * KINDS,
        ),
    )


def add_zone(pages: Pages, index: int, start: int, end: int) -> int:
    """A zone of the frames [start, end), whose row is returned; `index` is the kernel's."""
    z = int(pages.fields[ZONES_WORD]) * ZONE_WORDS
    pages.fields[ZONES_WORD] += 1
    pages.zone[z + START], pages.zone[z + END], pages.zone[z + INDEX] = start, end, index
    order = int(pages.fields[BLOCK_ORDER_WORD])
    pages.zone_of[start >> order : (end - 1 >> order) + 1] = z // ZONE_WORDS
    return z


def physical_memory(machine: Machine, memory_bytes: int, cpus: int = 1) -> Pages:
    """A machine's zones at its start, every frame but the first one free.

    HeapwrightError for a size that is not a multiple of 4 MiB, or that there is no room for, and
    for a number of processors that no machine has.
    """
    if not 1 <= cpus <= MOST_CPUS:
        raise HeapwrightError(f"cpus is 1 to {MOST_CPUS}, not {cpus}.")
    if memory_bytes % (4 << 20) or not LEAST_MEMORY <= memory_bytes <= MOST_MEMORY:
        raise HeapwrightError(
            f"memory_bytes is a multiple of {4 << 20} from {LEAST_MEMORY} to {MOST_MEMORY}, "
            f"not {memory_bytes}."
        )
    frames = memory_bytes // PAGE_BYTES
    assert int(machine.meters[FIRST_BREAK]) + memory_bytes + (8 << 20) <= BREAK_LIMIT
    pages = empty(machine, frames, cpus=cpus)
    in_huge_pages(machine.words, int(machine.meters[FIRST_BREAK]), memory_bytes)
    ends = [min(frames, end) for end in (DMA_FRAMES, DMA32_FRAMES, frames)]
    for index, (start, end) in enumerate(zip([1, *ends], ends, strict=False)):
        if start < end:
            z = add_zone(pages, index, start, end)
            pages.zone[z + MANAGED] = end - start
            hand_over(pages, z, start, end)
    set_marks(pages, cpus)
    return pages


def pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The blocks that a run of frames is handed over in, (frame, order): each the largest that its
    alignment and the run's end allow.

    >>> list(pieces(1, 8))
    [(1, 0), (2, 1), (4, 2)]
    """
    while start < end:
        order = min(ORDERS - 1, (start & -start).bit_length() - 1) if start else ORDERS - 1
        while start + (1 << order) > end:
            order -= 1
        yield start, order
        start += 1 << order


def hand_over(pages: Pages, z: int, start: int, end: int) -> None:
    """The boot allocator gives a run of frames to a zone: every block to the end of its list."""
    for frame, order in pieces(start, end):
        give_at_boot(pages, z, frame, order)


def set_marks(pages: Pages, cpus: int = 1) -> None:
    """Watermarks, reserves and list sizes from the zones' managed frames and the processors."""
    rows = [number * ZONE_WORDS for number in range(int(pages.fields[ZONES_WORD]))]
    managed = [int(pages.zone[z + MANAGED]) for z in rows]
    total = sum(managed)
    kib = total * PAGE_BYTES >> 10
    least = min(max(isqrt(kib * 16), 128), 262144) * 1024 // PAGE_BYTES
    for own, z in zip(managed, rows, strict=True):
        mark = least * own // total
        step = max(mark // 4, own * SCALE_FACTOR // 10000)
        pages.zone[z + MIN : z + HIGH + 1] = mark, mark + step, mark + 2 * step
        batch = max(min(own >> 10, (1 << 20) // PAGE_BYTES) // 4, 1)
        batch = max((1 << (batch + batch // 2).bit_length() - 1) - 1, 1)
        pages.zone[z + CPU_BATCH] = batch
        pages.zone[z + CPU_HIGH] = max((mark + step) // cpus, batch * 4)
        spread = cpus.bit_length() * (1 + (own >> 15).bit_length())
        pages.zone[z + THRESHOLD] = min(125, 2 * spread)
        index = int(pages.zone[z + INDEX])
        ratio = RESERVE_RATIO[index]
        for above in range(index + 1, ZONES):
            higher = sum(
                frames
                for frames, other in zip(managed, rows, strict=True)
                if index < pages.zone[other + INDEX] <= above
            )
            pages.zone[z + RESERVE + above] = higher // ratio if ratio else 0
