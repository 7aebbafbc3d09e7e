"""A processor's own lists of frames, before the zone's: low orders by kind, and huge pages.

    alloc  front ─empty─► refill: a batch from the buddies, each behind the one before
    free   front ─count >= high─► drain: round robin over the lists, from their ends

Terms      factor: log2 of the batches that the last drains took; it grows while frees go on and
           halves at each allocation
Invariant  the lists' frames add up to CPU_COUNT                             (check: 4)
Source     Linux 6.1, mm/page_alloc.c: rmqueue_bulk, free_unref_page_commit, nr_pcp_free,
           free_pcppages_bulk
Omits      what a workqueue drains every second
"""

from heapwright.compiler import kernel, likely, unsigned
from heapwright.linux.buddy import count_free, give, take
from heapwright.linux.frames import (
    COSTLY_ORDER,
    CPU_BATCH,
    CPU_COUNT,
    CPU_FACTOR,
    CPU_HIGH,
    CPU_LISTS,
    DRAIN,
    KINDS,
    LOW_LISTS,
    MOVABLE,
    NONE,
    ORDERS,
    RECLAIMABLE,
    RECLAIMING,
    REFILL,
    ZONE_WORDS,
    ZONES,
    address_of,
    block_kind,
    cpu_list_of,
    first_of,
    hold,
    last_of,
    link_first,
    link_last,
    on_all_cpus,
    unlink,
)
from heapwright.machine import PAGE_BYTES

FACTOR_LIMIT = 5  # CONFIG_PCP_BATCH_SCALE_MAX


@kernel(inline=True)
def kept(pages, order):
    """Whether a processor keeps blocks of this order."""
    return order <= COSTLY_ORDER or (pages.huge_lists and order == pages.block_order)


@kernel(inline=True)
def _index(order, kind):
    """Which of a processor's lists."""
    if order > COSTLY_ORDER:
        return LOW_LISTS + (1 if kind == MOVABLE else 0)
    return 3 * order + kind


@kernel(inline=True)
def order_of_list(pages, index):
    """The order of a list's blocks."""
    return pages.block_order if index >= LOW_LISTS else index // 3


@kernel
def _refill(pages, z, order, kind, head):
    """Fill an empty list with a batch; whether there was any."""
    pages.counts[REFILL] += 1
    batch = pages.zone[unsigned(z + CPU_BATCH)]
    if batch > 1:
        batch = max(batch >> order, 2)
    got = 0
    while got < batch:
        frame = take(pages, z, order, kind)
        if frame == NONE:
            break
        hold(pages, frame, order)
        link_last(pages, head, frame)
        pages.kind[unsigned(frame)] = kind
        got += 1
    count_free(pages, z, -(got << order))
    pages.zone[unsigned(z + CPU_COUNT)] += got << order
    return got > 0


@kernel(inline=True)
def cpu_alloc(pages, z, order, kind):
    """A block from the processor's list, which is refilled if it is empty; NONE."""
    pages.zone[unsigned(z + CPU_FACTOR)] >>= 1
    head = cpu_list_of(pages, z, _index(order, kind))
    frame = first_of(pages, head)
    if not likely(frame != head):
        if not _refill(pages, z, order, kind, head):
            return NONE
        frame = first_of(pages, head)
    unlink(pages, frame)
    pages.zone[unsigned(z + CPU_COUNT)] -= 1 << order
    return frame


@kernel(inline=True)
def cpu_free(pages, z, frame, order):
    """A block back to the processor's list; too many are drained."""
    kind = block_kind(pages, frame)
    index = _index(order, kind if kind <= RECLAIMABLE else MOVABLE)
    pages.kind[unsigned(frame)] = kind
    link_first(pages, cpu_list_of(pages, z, index), frame)
    count = pages.zone[unsigned(z + CPU_COUNT)] + (1 << order)
    pages.zone[unsigned(z + CPU_COUNT)] = count
    factor = pages.zone[unsigned(z + CPU_FACTOR)]
    all_of_it = factor > 0 and 0 < order <= COSTLY_ORDER
    if all_of_it or count >= pages.zone[unsigned(z + CPU_HIGH)] or _tight(pages, z, count):
        _too_many(pages, z, index, all_of_it)


@kernel(inline=True)
def _tight(pages, z, count):
    """Whether there are too many for the time in which kswapd runs."""
    return pages.zone[unsigned(z + RECLAIMING)] and count >= _high(pages, z)


@kernel
def _high(pages, z):
    """From how many frames on the lists are drained."""
    high = pages.zone[unsigned(z + CPU_HIGH)]
    if high and pages.zone[unsigned(z + RECLAIMING)]:
        return min(pages.zone[unsigned(z + CPU_BATCH)] << 2, high)
    return high


@kernel
def _too_many(pages, z, index, all_of_it):
    """Drain as many as frees in a row have earned."""
    count, batch = pages.zone[unsigned(z + CPU_COUNT)], pages.zone[unsigned(z + CPU_BATCH)]
    high = 0 if all_of_it else _high(pages, z)
    if all_of_it:
        wanted = count
    elif high < batch:
        wanted = 1
    else:
        factor = pages.zone[unsigned(z + CPU_FACTOR)]
        least, most = batch, high - batch
        wanted = batch << factor
        if wanted < most and factor < FACTOR_LIMIT:
            pages.zone[unsigned(z + CPU_FACTOR)] = factor + 1
        wanted = max(min(wanted, most), least) if least <= most else most
    drain(pages, z, wanted, index)


@kernel
def drain(pages, z, wanted, index):
    """Give `wanted` frames of the lists to the buddies, round robin from list `index` on."""
    pages.counts[DRAIN] += 1
    wanted = min(wanted, pages.zone[unsigned(z + CPU_COUNT)])
    index -= 1
    lowest, highest = 0, (CPU_LISTS if pages.huge_lists else LOW_LISTS) - 1
    while wanted > 0:
        head = frame = 0
        while True:
            index += 1
            if index > highest:
                index = lowest
            head = cpu_list_of(pages, z, index)
            frame = last_of(pages, head)
            if frame != head:
                break
            if index == highest:
                highest -= 1
            if index == lowest:
                lowest += 1
        order = order_of_list(pages, index)
        while wanted > 0 and frame != head:
            unlink(pages, frame)
            wanted -= 1 << order
            pages.zone[unsigned(z + CPU_COUNT)] -= 1 << order
            give(pages, z, frame, order, int(pages.kind[unsigned(frame)]))
            frame = last_of(pages, head)


@kernel
def listed_frames(pages, blocks, row):
    """The blocks in all lists, as rows of `blocks` (start, bytes) from `row` on; the next row."""
    first = pages.frames + ZONES * ORDERS * KINDS
    for lists in range(pages.cpus * ZONES):
        for index in range(CPU_LISTS):
            head = first + lists * CPU_LISTS + index
            node = first_of(pages, head)
            while node != head:
                if row < len(blocks):
                    blocks[row, 0] = address_of(pages, node)
                    blocks[row, 1] = PAGE_BYTES << order_of_list(pages, index)
                row += 1
                node = first_of(pages, node)
    return row


@kernel
def check(pages):
    """Number of the broken invariant, 0 if none."""
    for number in range(pages.zones):
        z = number * ZONE_WORDS
        count, first = 0, pages.frames + ZONES * ORDERS * KINDS
        for cpu in range(pages.cpus):
            for index in range(CPU_LISTS):
                head = first + (cpu * ZONES + number) * CPU_LISTS + index
                node = first_of(pages, head)
                while node != head:
                    count += 1 << order_of_list(pages, index)
                    node = first_of(pages, node)
        if count != on_all_cpus(pages, z, 1):
            return 4
    return 0
