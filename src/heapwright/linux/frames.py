"""Frames of physical memory: a descriptor for each, linked into lists, in zones.

    list   head ─► frame ─► frame ─► ... ─► head      a head is a node past the last frame
    zone   DMA │ DMA32 │ Normal                       each with lists [order][kind] and a
                                                      processor's lists
    block  2^pageblock_order frames that are of one kind

Terms      frame: a page of physical memory, by number; kind: the kernel's migrate type; z: the
           first word of a zone's row in `zone`
Invariant  a frame whose `order` is not NONE heads a free block and is in the list of its zone,
           order and kind; a bit of `filled` is set where that list is not empty    (buddy.check)
Source     Linux 6.1: include/linux/mmzone.h, mm/page_alloc.c
Omits      more than one node; hotplug; isolation, CMA

A frame that is in no free list holds memory and counts as resident; what lies in a processor's
list does too.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import PAGE_BYTES, Machine, brk
from heapwright.machine.address_space import (
    BREAK,
    PAGE_SHIFT,
    PEAK_RESIDENT_PAGES,
    RESIDENT,
    RESIDENT_PAGES,
    WRITTEN,
)

ORDERS = 11  # 0 to 10: MAX_ORDER of 6.1
COSTLY_ORDER = 3  # PAGE_ALLOC_COSTLY_ORDER: up to it a processor keeps lists
UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC, ISOLATE = range(5)
KINDS = 5  # rows of lists that are kept, whether a kernel has them or not
LOW_LISTS = 3 * (COSTLY_ORDER + 1)  # of a processor: three kinds of each low order
CPU_LISTS = LOW_LISTS + 2  # and two of a huge page's order
NONE = -1

# Words of a zone's row
(
    START,  # frame
    END,  # frame past it
    MANAGED,  # frames
    MIN,  # watermarks, frames: below it only those go on who free memory,
    LOW,  # the allocator wakes kswapd,
    HIGH,  # kswapd sleeps again
    BOOST,  # frames added to the watermarks after a block was stolen
    FREE,  # free frames, as the zone's counter says: it lags
    DRIFT,  # not yet in that counter
    THRESHOLD,  # from which on the drift is added to it
    HIGHATOMIC_FRAMES,  # reserved for requests that cannot wait
    CPU_COUNT,  # frames in the processor's lists
    CPU_HIGH,  # from so many on they are drained
    CPU_BATCH,  # frames moved at once
    CPU_FACTOR,  # log2 of how many batches the last drains took
    RECLAIMING,  # kswapd runs
    INDEX,  # of the zone
    RESERVE,  # frames that a request allowed in a higher zone leaves: a word for each
) = range(18)
CPU_WORDS = (DRIFT, CPU_COUNT, CPU_FACTOR)  # that each processor has
ZONES = 5  # DMA, DMA32, Normal, Movable, Device: the most a kernel has
ZONE_WORDS = 24

COUNTS = (
    *("refill", "drain", "split", "merge", "fallback", "steal_block", "refused"),
    *("frames_out", "frames_in"),
)
REFILL, DRAIN, SPLIT, MERGE, FALLBACK, STEAL_BLOCK, REFUSED, FRAMES_OUT, FRAMES_IN = range(9)


@record(
    "base",  # address of frame 0
    "frames",  # in the descriptors; the first list's head is the node past the last
    "zones",  # that have frames
    "block_order",  # log2 of a pageblock's frames
    "huge_lists",  # whether a processor keeps blocks of that order too (transparent huge pages)
    "normal",  # the kernel's index of ZONE_NORMAL: 2 with DMA and DMA32 below it, else 0
    "cpus",  # processors, each with lists of its own
    "thread",  # whose requests are served
    "cpu",  # on which processor: its words stand in the zones' rows
    "lists",  # the node of its first list
)
class Pages(NamedTuple):
    """Physical memory. Kernels change it through buddy.py, per_cpu.py and page_alloc.py."""

    machine: Machine
    next: np.ndarray  # int32[node]
    previous: np.ndarray  # int32[node]
    order: np.ndarray  # int8[frame]  of the free block that it heads; NONE
    kind: np.ndarray  # int8[frame]  of that block; in a processor's list, of its block when freed
    on_lru: np.ndarray  # uint8[frame]  in use by what can be moved
    block: np.ndarray  # int8[pageblock]  kind
    zone_of: np.ndarray  # int8[pageblock]  row / ZONE_WORDS
    zone: np.ndarray  # int64[row word]
    filled: np.ndarray  # int64[zone * KINDS + kind]  bits: the orders whose list holds a block
    away: np.ndarray  # int64[(cpu * ZONES + zone) * 3]  CPU_WORDS of one that does not run
    counts: np.ndarray  # int64[len(COUNTS)]  times taken; frames moved to and from the lists
    fields: np.ndarray  # int64[word]


@kernel(inline=True)
def list_of(pages, z, order, kind):
    """Node of a zone's list of free blocks."""
    return pages.frames + ((z // ZONE_WORDS) * ORDERS + order) * KINDS + kind


@kernel(inline=True)
def cpu_list_of(pages, z, index):
    """Node of a list of the processor that runs."""
    return pages.lists + (z // ZONE_WORDS) * CPU_LISTS + index


@kernel(inline=True)
def zone_row(pages, frame):
    """The row of a frame's zone."""
    return np.int64(pages.zone_of[unsigned(frame >> pages.block_order)]) * ZONE_WORDS


@kernel(inline=True)
def block_kind(pages, frame):
    """The kind of a frame's pageblock."""
    return np.int64(pages.block[unsigned(frame >> pages.block_order)])


@kernel(inline=True)
def link_first(pages, head, node):
    """Put a node at a list's front."""
    after = np.int64(pages.next[unsigned(head)])
    pages.next[unsigned(node)], pages.previous[unsigned(node)] = after, head
    pages.previous[unsigned(after)] = pages.next[unsigned(head)] = node


@kernel(inline=True)
def link_last(pages, head, node):
    """Put a node at a list's end."""
    before = np.int64(pages.previous[unsigned(head)])
    pages.previous[unsigned(node)], pages.next[unsigned(node)] = before, head
    pages.next[unsigned(before)] = pages.previous[unsigned(head)] = node


@kernel(inline=True)
def unlink(pages, node):
    """Take a node out of its list."""
    after, before = np.int64(pages.next[unsigned(node)]), np.int64(pages.previous[unsigned(node)])
    pages.next[unsigned(before)], pages.previous[unsigned(after)] = after, before


@kernel(inline=True)
def first_of(pages, head):
    """The first node of a list; the head itself of an empty one."""
    return np.int64(pages.next[unsigned(head)])


@kernel(inline=True)
def last_of(pages, head):
    """The last node of a list; the head itself of an empty one."""
    return np.int64(pages.previous[unsigned(head)])


@kernel(inline=True)
def address_of(pages, frame):
    """Address of a frame's first byte."""
    return pages.base + (frame << PAGE_SHIFT)


@kernel(inline=True)
def frame_of(pages, address):
    """The frame that holds an address."""
    return (address - pages.base) >> PAGE_SHIFT


@kernel(cold=True)
def run_on(pages, thread):
    """The requests that follow are this thread's: a kernel's are its processors."""
    pages.thread = thread
    cpu = thread % pages.cpus
    if cpu == pages.cpu:
        return
    for number in range(pages.zones):
        z = number * ZONE_WORDS
        for i in range(len(CPU_WORDS)):
            word = unsigned(z + CPU_WORDS[i])
            pages.away[(pages.cpu * ZONES + number) * 3 + i] = pages.zone[word]
            pages.zone[word] = pages.away[(cpu * ZONES + number) * 3 + i]
    pages.cpu = cpu
    pages.lists = pages.frames + ZONES * (ORDERS * KINDS + cpu * CPU_LISTS)


@kernel
def on_all_cpus(pages, z, i):
    """The sum of a zone's word CPU_WORDS[i] over all processors."""
    found = pages.zone[unsigned(z + CPU_WORDS[i])]
    for cpu in range(pages.cpus):
        if cpu != pages.cpu:
            found += pages.away[(cpu * ZONES + z // ZONE_WORDS) * 3 + i]
    return found


@kernel(cold=True)
def raise_break(machine, end):
    """The machine's heap, in which the frames lie, reaches up to here."""
    step = PAGE_BYTES << (ORDERS - 1)
    brk(machine, (end + step - 1) & ~(step - 1))


@kernel
def hold_pages(machine, start, end):
    """The pages of [start, end) hold memory from now on."""
    flags, meters = machine.pages, machine.meters
    if end > meters[BREAK]:  # higher than any before
        raise_break(machine, end)
    for page in range(start >> PAGE_SHIFT, end >> PAGE_SHIFT):
        if not flags[unsigned(page)] & RESIDENT:
            flags[unsigned(page)] = (flags[unsigned(page)] | RESIDENT) & WRITTEN
            meters[RESIDENT_PAGES] += 1
    meters[PEAK_RESIDENT_PAGES] = max(meters[PEAK_RESIDENT_PAGES], meters[RESIDENT_PAGES])


@kernel
def drop_pages(machine, start, end):
    """The pages of [start, end) hold none."""
    flags, meters = machine.pages, machine.meters
    for page in range(start >> PAGE_SHIFT, end >> PAGE_SHIFT):
        if flags[unsigned(page)] & RESIDENT:
            flags[unsigned(page)] = flags[unsigned(page)] & (255 - RESIDENT)
            meters[RESIDENT_PAGES] -= 1


@kernel
def hold(pages, frame, order):
    """The block's frames hold memory from now on."""
    hold_pages(pages.machine, address_of(pages, frame), address_of(pages, frame + (1 << order)))
    pages.counts[FRAMES_OUT] += 1 << order


@kernel
def release(pages, frame, order):
    """The block's frames are free."""
    drop_pages(pages.machine, address_of(pages, frame), address_of(pages, frame + (1 << order)))
    pages.counts[FRAMES_IN] += 1 << order
