"""The kernel's buddies: free blocks of 2^order frames, in a list for each zone, order and kind.

    take   first of the smallest order that has one ─► split: upper halves to the front
           none of this kind ─► steal a block of another kind, the largest first
    give   merge with the buddy while that is free ─► front; or the end, if the next merge is near

Invariant  free blocks are aligned, in the list of their order and kind, and no free buddy of theirs
           could be merged with them                                            (check: 1-3)
Source     Linux 6.1, mm/page_alloc.c: __free_one_page, __rmqueue, steal_suitable_fallback
Omits      capture by compaction, page reporting, guard pages, ALLOC_NOFRAGMENT
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros
from heapwright.linux.frames import (
    BOOST,
    DRIFT,
    END,
    FALLBACK,
    FREE,
    HIGH,
    HIGHATOMIC,
    INDEX,
    KINDS,
    MANAGED,
    MERGE,
    MOVABLE,
    NONE,
    ORDERS,
    RECLAIMABLE,
    SPLIT,
    START,
    STEAL_BLOCK,
    THRESHOLD,
    UNMOVABLE,
    ZONE_WORDS,
    block_kind,
    first_of,
    link_first,
    link_last,
    list_of,
    on_all_cpus,
    release,
    unlink,
    zone_row,
)

BOOST_FACTOR = 15000  # vm.watermark_boost_factor, of 10,000


@kernel(inline=True)
def put(pages, z, frame, order, kind):
    """A free block at the front of its list."""
    head = list_of(pages, z, order, kind)
    link_first(pages, head, frame)
    pages.order[unsigned(frame)], pages.kind[unsigned(frame)] = order, kind
    pages.filled[unsigned((z // ZONE_WORDS) * KINDS + kind)] |= 1 << order


@kernel(inline=True)
def put_last(pages, z, frame, order, kind):
    """A free block at the end of its list."""
    head = list_of(pages, z, order, kind)
    link_last(pages, head, frame)
    pages.order[unsigned(frame)], pages.kind[unsigned(frame)] = order, kind
    pages.filled[unsigned((z // ZONE_WORDS) * KINDS + kind)] |= 1 << order


@kernel(inline=True)
def take_out(pages, z, frame):
    """Take a free block out of its list."""
    order, kind = int(pages.order[unsigned(frame)]), int(pages.kind[unsigned(frame)])
    unlink(pages, frame)
    pages.order[unsigned(frame)] = NONE
    head = list_of(pages, z, order, kind)
    if first_of(pages, head) == head:
        pages.filled[unsigned((z // ZONE_WORDS) * KINDS + kind)] &= ~(1 << order)


@kernel(inline=True)
def filled(pages, z, kind):
    """Bits: the orders of which a zone has free blocks of this kind."""
    return pages.filled[unsigned((z // ZONE_WORDS) * KINDS + kind)]


@kernel(inline=True)
def count_free(pages, z, frames):
    """Frames that became free, or negative: into the zone's counter once they are many."""
    drift = pages.zone[unsigned(z + DRIFT)] + frames
    if abs(drift) > pages.zone[unsigned(z + THRESHOLD)]:
        pages.zone[unsigned(z + FREE)] += drift
        drift = 0
    pages.zone[unsigned(z + DRIFT)] = drift


@kernel
def _move(pages, z, frame, kind):
    """A free block becomes of another kind: to the end of that list."""
    order = int(pages.order[unsigned(frame)])
    take_out(pages, z, frame)
    put_last(pages, z, frame, order, kind)


@kernel
def _may_merge(pages, buddy, kind, order):
    """Whether blocks of different pageblocks may become one: not where one is set apart."""
    if order < pages.block_order:
        return True
    other = block_kind(pages, buddy)
    return other == kind or (other <= RECLAIMABLE and kind <= RECLAIMABLE)


@kernel
def _merged(pages, frame, order, kind):
    """Take the free buddies of a block out of their lists, upwards as far as it goes: what they
    make together, (frame, order)."""
    while order < ORDERS - 1:
        buddy = frame ^ (1 << order)
        if buddy >= pages.frames or int(pages.order[unsigned(buddy)]) != order:
            break
        if not _may_merge(pages, buddy, kind, order):
            break
        take_out(pages, zone_row(pages, buddy), buddy)
        frame &= buddy
        order += 1
        pages.counts[MERGE] += 1
    return frame, order


@kernel
def give_at_boot(pages, z, frame, order):
    """A block that the boot allocator hands over: always to the end of its list."""
    pages.zone[unsigned(z + FREE)] += 1 << order
    kind = block_kind(pages, frame)
    frame, order = _merged(pages, frame, order, kind)
    put_last(pages, z, frame, order, kind)


@kernel
def give(pages, z, frame, order, kind):
    """Free a block: merged upwards, to the front of its list, or to the end if the next merge is
    near."""
    release(pages, frame, order)
    count_free(pages, z, 1 << order)
    frame, order = _merged(pages, frame, order, kind)
    if order < ORDERS - 2:
        above = (frame & ~(1 << order)) ^ (2 << order)
        if above < pages.frames and int(pages.order[unsigned(above)]) == order + 1:
            put_last(pages, z, frame, order, kind)
            return
    put(pages, z, frame, order, kind)


@kernel
def smallest(pages, z, order, kind):
    """A block of `order` from the smallest free one of this kind, which is split; NONE."""
    orders = filled(pages, z, kind) >> order << order
    if not orders:
        return NONE
    large = trailing_zeros(orders)
    frame = first_of(pages, list_of(pages, z, large, kind))
    take_out(pages, z, frame)
    while large > order:
        large -= 1
        put(pages, z, frame + (1 << large), large, kind)
        pages.counts[SPLIT] += 1
    return frame


@kernel
def _next_kind(kind, turn):
    """The kind that is robbed first (turn 0) or second by one that has run out."""
    if kind == MOVABLE:
        return RECLAIMABLE if turn == 0 else UNMOVABLE
    if turn == 1:
        return MOVABLE
    return UNMOVABLE if kind == RECLAIMABLE else RECLAIMABLE


@kernel
def _victim(pages, z, order, kind):
    """A kind that has a free block of exactly this order; NONE."""
    for turn in range(2):
        other = _next_kind(kind, turn)
        if filled(pages, z, other) & (1 << order):
            return other
    return NONE


@kernel
def move_free(pages, z, block, kind):
    """The free blocks of a pageblock change their kind; (frames moved, frames in use that can be
    moved)."""
    frame = (block >> pages.block_order) << pages.block_order
    end = frame + (1 << pages.block_order)
    if frame < pages.zone[unsigned(z + START)]:
        frame = block
    moved = movable = 0
    if end > pages.zone[unsigned(z + END)]:
        return moved, movable
    while frame < end:
        order = int(pages.order[unsigned(frame)])
        if order >= 0:
            _move(pages, z, frame, kind)
            moved += 1 << order
            frame += 1 << order
        else:
            movable += int(pages.on_lru[unsigned(frame)])
            frame += 1
    return moved, movable


@kernel
def _boost(pages, z):
    """Watermarks rise after a block was broken into: kswapd is to make room for whole ones."""
    block = 1 << pages.block_order
    high = pages.zone[unsigned(z + HIGH)]
    if pages.zone[unsigned(z + MANAGED)] >= 4 * block and high:
        most = max(block, high * BOOST_FACTOR // 10000)
        pages.zone[unsigned(z + BOOST)] = min(pages.zone[unsigned(z + BOOST)] + block, most)


@kernel
def _steal(pages, z, frame, kind, whole):
    """Make a free block of another kind this kind's, its pageblock too if most of it then is."""
    order, old = int(pages.order[unsigned(frame)]), block_kind(pages, frame)
    block = 1 << pages.block_order
    if old != HIGHATOMIC and order >= pages.block_order:
        first = frame >> pages.block_order
        for number in range(first, first + (1 << (order - pages.block_order))):
            pages.block[unsigned(number)] = kind
    elif old != HIGHATOMIC:
        _boost(pages, z)
        if whole:
            free, movable = move_free(pages, z, frame, kind)
            alike = 0
            if kind == MOVABLE:
                alike = movable
            elif old == MOVABLE:
                alike = block - free - movable
            if free:
                if free + alike >= block // 2:
                    pages.block[unsigned(frame >> pages.block_order)] = kind
                    pages.counts[STEAL_BLOCK] += 1
                return
    _move(pages, z, frame, kind)


@kernel
def _claims(pages, order, kind):
    """Whether a request of this kind may claim the whole pageblock around a block of this order."""
    return order >= pages.block_order // 2 or kind != MOVABLE


@kernel
def _fall_back(pages, z, order, kind):
    """Steal a block of another kind, the largest first; whether there was one. What can be moved
    takes the smallest instead, where it may not claim a whole pageblock."""
    chosen = ORDERS - 1
    while chosen >= order and _victim(pages, z, chosen, kind) == NONE:
        chosen -= 1
    if chosen < order:
        return False
    if not _claims(pages, chosen, kind):
        chosen = order
        while _victim(pages, z, chosen, kind) == NONE:
            chosen += 1
    pages.counts[FALLBACK] += 1
    frame = first_of(pages, list_of(pages, z, chosen, _victim(pages, z, chosen, kind)))
    _steal(pages, z, frame, kind, _claims(pages, chosen, kind))
    return True


@kernel
def take(pages, z, order, kind):
    """A block of `order` from the zone's lists; NONE where it has none."""
    while True:
        frame = smallest(pages, z, order, kind)
        if frame != NONE or not _fall_back(pages, z, order, kind):
            return frame


@kernel
def free_blocks(pages, z, order):
    """Free blocks of an order, of whatever kind."""
    found = 0
    for kind in range(KINDS):
        head = list_of(pages, z, order, kind)
        node = first_of(pages, head)
        while node != head:
            found += 1
            node = first_of(pages, node)
    return found


@kernel
def check(pages):
    """Number of the broken invariant, 0 if none."""
    for number in range(pages.zones):
        z = number * ZONE_WORDS
        if pages.zone[unsigned(z + INDEX)] < 0:
            return 1
        free = 0
        for order in range(ORDERS):
            for kind in range(KINDS):
                head = list_of(pages, z, order, kind)
                node, before = first_of(pages, head), head
                if (node == head) == (filled(pages, z, kind) >> order & 1 != 0):
                    return 1
                while node != head:
                    if node & ((1 << order) - 1) or int(pages.previous[unsigned(node)]) != before:
                        return 1
                    if int(pages.order[unsigned(node)]) != order:
                        return 2
                    buddy = node ^ (1 << order)
                    if (
                        order < ORDERS - 1
                        and buddy < pages.frames
                        and int(pages.order[unsigned(buddy)]) == order
                        and _may_merge(pages, buddy, block_kind(pages, node), order)
                    ):
                        return 3
                    free += 1 << order
                    before, node = node, first_of(pages, node)
        if free != pages.zone[unsigned(z + FREE)] + on_all_cpus(pages, z, 0):
            return 1
    return 0


@kernel
def largest_free(pages, z):
    """Order of the largest free block; NONE."""
    orders = 0
    for kind in range(KINDS):
        orders |= filled(pages, z, kind)
    return bit_length(orders) - 1
