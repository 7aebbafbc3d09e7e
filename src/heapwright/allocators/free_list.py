"""One list of all free blocks, over boundary tags: what first, next, best and worst fit search.

    list      ─► block ─► block ─► block ─►        address, LIFO or FIFO order
    alloc     a policy walks the list and picks; the block is split, the rest keeps its place
    free      immediate: merged with free neighbours, the result entered as its order says
              deferred: entered as it is; when a search fails, one sweep merges what is adjacent

Modelled   a walk along the list: `examined` counts the blocks that it would have looked at. No walk
           is made: the indexes of `list_order.py` answer
Invariant  the boundary tags' (check: 1-4); immediate: no two free blocks adjacent (5); the list
           holds exactly the free blocks (6, 7); the indexes are sound (8, 9)
Source     Wilson et al. 1995, sections 3.3-3.4; Knuth 2.5
Omits      threads: one heap, one lock
"""

from heapwright.allocators import boundary_tags
from heapwright.allocators.boundary_tags import (
    ALIGN_BYTES,
    FLAGS,
    HEAD_BYTES,
    IN_USE,
    MIN_BLOCK_BYTES,
    PAD_BYTES,
    PREVIOUS_IN_USE,
    area_before,
    area_fence,
    block_bytes,
    cut,
    is_free,
    newest_area,
    previous,
    previous_is_free,
    set_free,
    size_of,
)
from heapwright.allocators.list_order import (
    ADDRESS_ORDER,
    DEFERRED,
    IMMEDIATE,
    block_at,
    enter,
    leave,
    place_of,
    position_of,
    replace,
    set_size,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.ground import CONTINUES
from heapwright.structures import ranked_tree, sorted_keys

PATHS = ("alloc", "free", "examined", "split", "merge", "sweep", "grow", "trim", "in_place")
ALLOC, FREE, EXAMINED, SPLIT, MERGE, SWEEP, GROW, TRIM, IN_PLACE = range(9)


@kernel
def request_bytes(size, align):
    """Bytes of a free block that surely holds `size` bytes at a multiple of `align`."""
    need = block_bytes(size)
    return need if align <= ALIGN_BYTES else need + align + ALIGN_BYTES


@kernel
def place(heap, block, size, align):
    """Cut a block for `size` bytes out of the free `block`, low end first; the user's address."""
    machine = heap.machine
    have, need = size_of(machine, block), block_bytes(size)
    user = (block + HEAD_BYTES + align - 1) & ~(align - 1)
    if 0 < user - HEAD_BYTES - block < MIN_BLOCK_BYTES:
        user += align
    used = user - HEAD_BYTES
    lead = used - block
    tail = have - lead - need
    if tail < MIN_BLOCK_BYTES:
        need, tail = need + tail, 0
    else:
        heap.paths[SPLIT] += 1
    if lead:
        heap.paths[SPLIT] += 1
        touch(machine, used, HEAD_BYTES)
        store(machine, used, need)  # below it lies a free block
        cut(machine, used, need, tail)
        set_free(machine, block, lead, load(machine, block) & PREVIOUS_IN_USE)
        replace(heap, block, block, lead)
        if tail:
            enter(heap, used + need, tail)
        return user
    cut(machine, block, need, tail)
    if tail:
        replace(heap, block, block + need, tail)
    else:
        leave(heap, block)
    return user


@kernel
def release(heap, block, size):
    """Make a used block free: merge it with free neighbours unless deferred, and list it."""
    machine = heap.machine
    flag = load(machine, block) & PREVIOUS_IN_USE
    if heap.coalescing == DEFERRED:
        set_free(machine, block, size, flag)
        enter(heap, block, size)
        heap.unmerged += 1
        return
    merged = _merge(heap, block, size)
    _trim(heap, merged)


@kernel
def _trim(heap, block):
    """Give the end of the heap back if the setting says so; or the area that `block` fills."""
    least, tags = heap.trim_bytes, heap.tags
    if not least:
        return
    if CONTINUES:
        last, kept = boundary_tags.trim(tags, least)
        if last:
            heap.paths[TRIM] += 1
            replace(heap, last, last, kept)
    else:
        size = size_of(heap.machine, block)
        if size >= least and boundary_tags.fills_an_area(tags, block, size):
            heap.paths[TRIM] += 1
            leave(heap, block)
            boundary_tags.drop_area(tags, block)


@kernel
def _merge(heap, block, size):
    """Make the unlisted `block` free, one with its free neighbours, and list the whole: its
    start."""
    machine = heap.machine
    after = block + size
    below = previous(machine, block) if previous_is_free(machine, block) else 0
    above = after if is_free(machine, after) else 0
    start, end = block, after
    if above:
        heap.paths[MERGE] += 1
        end = after + size_of(machine, after)
    if below:
        heap.paths[MERGE] += 1
        start = below
    in_order = heap.order == ADDRESS_ORDER
    flag = load(machine, start) & PREVIOUS_IN_USE
    if above and (below or not in_order):
        leave(heap, above)
    if below and not in_order:
        leave(heap, below)
    set_free(machine, start, end - start, flag)
    if not in_order or (not below and not above):
        enter(heap, start, end - start)
    else:
        replace(heap, below if below else above, start, end - start)
    if in_order:  # a rover inside the merged block moves to its start
        low, high = place_of(start), place_of(end)
        if low < heap.rover < high:
            heap.rover = low
    return start


@kernel
def sweep(heap):
    """Merge all adjacent free blocks, lowest first; False when none was freed since the last."""
    if heap.unmerged == 0:
        return False
    heap.unmerged = 0
    heap.paths[SWEEP] += 1
    area = newest_area(heap.tags)
    while area:
        before = area_before(heap.tags, area)
        _sweep_area(heap, area)
        area = before
    return True


@kernel
def _sweep_area(heap, area):
    """The same of one area, which goes back if it is one free block and the setting says so."""
    machine = heap.machine
    block, past = area + PAD_BYTES, area_fence(heap.tags, area)
    while block < past:
        end = block + size_of(machine, block)
        if is_free(machine, block) and is_free(machine, end):
            flag = load(machine, block) & PREVIOUS_IN_USE
            in_order = heap.order == ADDRESS_ORDER
            if not in_order:
                leave(heap, block)
            while is_free(machine, end):
                heap.paths[MERGE] += 1
                leave(heap, end)
                end += size_of(machine, end)
            set_free(machine, block, end - block, flag)
            if in_order:
                replace(heap, block, block, end - block)
                low, high = place_of(block), place_of(end)
                if low < heap.rover < high:
                    heap.rover = low
            else:
                enter(heap, block, end - block)
        block = end
    if CONTINUES or is_free(machine, area + PAD_BYTES):
        _trim(heap, area + PAD_BYTES)


@kernel
def grow(heap, need):
    """More memory, so that a free block of `need` bytes exists; whether it could."""
    block, size = boundary_tags.grow(heap.tags, need)
    if block == 0:
        return False
    heap.paths[GROW] += 1
    _merge(heap, block, size)
    return True


@kernel
def free(heap, thread, address):
    """Give back the block at `address`. About 30 ns."""
    heap.paths[FREE] += 1
    block = address - HEAD_BYTES
    release(heap, block, size_of(heap.machine, block))


@kernel
def resize_in_place(heap, address, size):
    """Shrink or grow the block at `address` where it lies; whether it could."""
    machine = heap.machine
    block, need = address - HEAD_BYTES, block_bytes(size)
    have = size_of(machine, block)
    after = block + have
    if need <= have:
        if have - need >= MIN_BLOCK_BYTES:
            heap.paths[SPLIT] += 1
            touch(machine, block + need, HEAD_BYTES)
            store(machine, block, need | (load(machine, block) & FLAGS))
            store(machine, block + need, (have - need) | PREVIOUS_IN_USE | IN_USE)
            release(heap, block + need, have - need)
        heap.paths[IN_PLACE] += 1
        return True
    room = have + size_of(machine, after)
    if not is_free(machine, after) or room < need:
        return False
    heap.paths[IN_PLACE] += 1
    tail = room - need
    if tail < MIN_BLOCK_BYTES:
        need, tail = room, 0
        leave(heap, after)
        cut(machine, block, need, tail)
        return True
    place_in_list = position_of(heap, after)
    cut(machine, block, need, tail)
    if heap.order == ADDRESS_ORDER:
        set_size(heap, place_in_list, 0)
        set_size(heap, place_of(block + need), tail)
    else:
        heap.block[unsigned(place_in_list)] = block + need
        store(machine, block + need + HEAD_BYTES, place_in_list)
        set_size(heap, place_in_list, tail)
    return True


@kernel
def metadata(heap, blocks):
    """The heap's padding and fences."""
    return boundary_tags.own_memory(heap.tags, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = boundary_tags.check(heap.tags)
    if broken:
        return broken
    machine, area, listed = heap.machine, newest_area(heap.tags), 0
    in_order = heap.order == ADDRESS_ORDER
    while area:
        block, fence, below_free = area + PAD_BYTES, area_fence(heap.tags, area), False
        if in_order and ranked_tree.check(heap.tree, place_of(fence), place_of(block)):
            return 8
        while block < fence:
            size = size_of(machine, block)
            if is_free(machine, block):
                if below_free and heap.coalescing == IMMEDIATE:
                    return 5
                position = position_of(heap, block)
                if block_at(heap, position) != block:
                    return 6
                if ranked_tree.size_at(heap.tree, position) != size >> 4:
                    return 6
                listed += 1
            below_free = is_free(machine, block)
            block += size
        area = area_before(heap.tags, area)
    if listed != ranked_tree.total(heap.tree):
        return 7
    if not in_order and ranked_tree.check(heap.tree, heap.serials):
        return 8
    sized = heap.sized
    if sized and (sorted_keys.check(heap.keys) or sorted_keys.size(heap.keys) != listed):
        return 9
    return 0
