"""What of resident memory each of two storeys costs; `bind` makes a copy for each pair.

    whole    the ledger of the replay: what the program has, and what both managers add
    below    the ground's own view: what the upper manager took of it is live
    upper    whole - below; its parts sum to what it took

Invariant  the upper parts sum to `taken`; they and the ground's other parts to resident memory
           (asserted by `apart`)

This file is bound to the linear manager, which has no second storey; in a copy the import below
names another one.
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine.address_space import RESIDENT
from heapwright.managers.textbook.linear import manager
from heapwright.tunnel.ledger import (
    CACHED,
    HEADER,
    LIVE,
    PARTIAL,
    RESIDENT_BYTES,
    RETAINED,
    ROUNDING,
    SAMPLE_COLUMNS,
    add_up,
    enter_block,
)
from heapwright.tunnel.ledger import ledger as empty_ledger

beneath = getattr(manager, "beneath", manager)


@kernel
def _as_it_is(heap, address, size):
    """For a manager that passes a request on without a head of its own."""
    return address, size


@kernel
def _none(heap, blocks):
    """For a manager without another one above."""
    return 0


passed = getattr(manager, "passed", _as_it_is)
kept = manager.upper.cached if hasattr(manager, "upper") else _none  # the upper one's caches
TAKEN = "taken"  # what the upper manager holds of its ground, areas and blocks passed on


@kernel
def view_below(heap, objects, ledger, areas, sample):
    """The ground's own decomposition; `areas` int64[area, 3]: start, bytes, and 1 where it was
    mapped beside the ground; ascending.

    Returns 0, or the number of rows that `ledger.blocks` must have.
    """
    ground = heap.machine.heap
    own = beneath.cached(ground, ledger.blocks)
    rows = beneath.metadata(ground, ledger.blocks[min(own, len(ledger.blocks)) :])
    first = own + rows
    past = first + kept(heap, ledger.blocks[min(first, len(ledger.blocks)) :])
    if past > len(ledger.blocks):
        return past
    for row in range(first, past):  # a block passed on that the upper manager keeps, head and all
        start, bytes_ = ledger.blocks[row, 0], ledger.blocks[row, 1]
        if not _in_areas(areas, start):
            enter_block(ledger, (start, bytes_), (start, bytes_, bytes_), 1)
    for row in range(len(areas)):
        start, bytes_ = areas[row, 0], areas[row, 1]
        extent = start, bytes_
        if not areas[row, 2]:
            extent = beneath.extent(ground, start, bytes_)
        enter_block(ledger, extent, (start, bytes_, bytes_), 1)
    for slot in range(len(objects.address)):
        address, size = objects.address[slot], objects.size[slot]
        if address and not _in_areas(areas, address):
            block, bytes_ = passed(heap, address, size)
            user = block, bytes_, beneath.usable(ground, block, bytes_)
            enter_block(ledger, beneath.extent(ground, block, bytes_), user, 1)
    add_up(heap.machine, ledger, (own, rows, 0), 0, sample)
    return 0


@kernel
def _in_areas(areas, address):
    """Whether an area holds the address."""
    low, high = 0, len(areas)
    while low < high:
        middle = (low + high) >> 1
        if areas[middle, 0] <= address:
            low = middle + 1
        else:
            high = middle
    return low > 0 and address < areas[low - 1, 0] + areas[low - 1, 1]


@kernel
def free_above(machine, whole, below, free):
    """Free bytes of the upper manager on resident pages: free[0] partial, free[1] retained, as the
    program sees the page."""
    for page in range(len(machine.pages)):
        if machine.pages[unsigned(page)] & RESIDENT:
            more = np.int64(whole.free[page]) - np.int64(below.free[page])
            free[0 if whole.live[page] else 1] += more


def apart(heap, objects, whole, sample):
    """Bytes by part of "upper" and "below", from a sample of `whole` that was just made."""
    held, count = heap.machine.areas, int(heap.machine.areas.count[0])
    areas = np.stack([column[:count] for column in held[:3]], axis=1)
    areas = np.ascontiguousarray(areas[np.argsort(areas[:, 0])])
    ground, rows = np.zeros(SAMPLE_COLUMNS, np.int64), 1 << 12
    while rows:
        below = empty_ledger(len(heap.machine.pages), rows)
        rows = 2 * view_below(heap, objects, below, areas, ground)
    free = np.zeros(2, np.int64)
    free_above(heap.machine, whole, below, free)
    upper = {
        "live": sample[LIVE],
        "rounding": sample[ROUNDING] - ground[ROUNDING],
        "header": sample[HEADER] - ground[HEADER],
        "cached": sample[CACHED] - ground[CACHED],
        "partial": free[0],
        "retained": free[1],
    }
    lower = {
        "rounding": ground[ROUNDING],
        "header": ground[HEADER],
        "cached": ground[CACHED],
        "partial": ground[PARTIAL],
        "retained": ground[RETAINED],
    }
    upper, lower = ({k: int(v) for k, v in parts.items()} for parts in (upper, lower))
    # What lies beyond what was asked of the ground, and beyond what the upper one lets be used: the
    # ground's rounding, that the sample has under headers
    hidden = min(upper["rounding"], 0)
    upper["rounding"], upper["header"] = upper["rounding"] - hidden, upper["header"] + hidden
    taken = sum(upper.values())
    assert min(*upper.values(), *lower.values()) >= 0, f"{upper} over {lower}"
    assert taken == ground[LIVE], f"{taken} bytes above {ground[LIVE]} that were taken"
    assert taken + sum(lower.values()) == sample[RESIDENT_BYTES]
    return {"upper": upper, "below": {TAKEN: taken, **lower}}
