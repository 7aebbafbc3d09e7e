"""Logged cards: in which order a collection comes upon the regions that lead into young ones.

    write out of an old region ─► its card, if it is clean ─► the thread's buffer of 256 cards
    collection ─► cards of what leads to survivors and humongous objects ─► buffers of its own
    next collection: its predecessor's cards first, the latest first; then the thread's buffers, the
    eldest first, each from its end

A region comes where its first card does. `stamp` is that place: negative of the collection's cards,
positive of the thread's, 0 of a region without any.

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1RemSet.cpp: G1MergeHeapRootsTask;
           g1DirtyCardQueue.cpp, g1RedirtyCardsQueue.cpp
Omits      refinement of cards beside the program, which begins where more than 256 wait
"""

from heapwright.compiler import kernel, unsigned


@kernel
def order_regions(heap):
    """Write all regions to `order`, those with logged cards first, and forget the logs."""
    table, count = heap.regions, 0
    for region in range(heap.total):
        stamp = table.stamp[unsigned(region)]
        if stamp:
            at = count
            while at > 0 and table.stamp[unsigned(table.order[unsigned(at - 1)])] > stamp:
                table.order[unsigned(at)] = table.order[unsigned(at - 1)]
                at -= 1
            table.order[unsigned(at)] = region
            count += 1
    for region in range(heap.total):
        if table.stamp[unsigned(region)] == 0:
            table.order[unsigned(count)] = region
            count += 1
    forget(heap)


@kernel
def forget(heap):
    """No card is logged."""
    for region in range(heap.total):
        heap.regions.stamp[unsigned(region)] = 0
    heap.logged = 0
