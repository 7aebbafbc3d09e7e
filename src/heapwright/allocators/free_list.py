"""One list of all free blocks, over boundary tags: what first, next, best and worst fit search.

    list      ─► block ─► block ─► block ─►        address, LIFO or FIFO order
    alloc     a policy walks the list and picks; the block is split, the rest keeps its place
    free      immediate: merged with free neighbours, the result entered as its order says
              deferred: entered as it is; when a search fails, one sweep merges what is adjacent

Modelled   the list, and a walk along it: `examined` counts the blocks a walk would have looked at
Simulator  no walk is made. `tree` holds each free block's size at its position in the list, and
           `keys` (best fit only) holds size and position in order; neither is counted memory.
           A position is the block's address / 16 in address order; else a serial number, falling
           for LIFO and rising for FIFO, which the block keeps in its first link
Invariant  the boundary tags' (check: 1-4); immediate: no two free blocks adjacent (5); the list
           holds exactly the free blocks (6, 7); the indexes are sound (8, 9)
Source     Wilson et al. 1995, sections 3.3-3.4; Knuth 2.5
Omits      threads: one heap, one lock
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators import boundary_tags
from heapwright.allocators.boundary_tags import (
    ALIGN_BYTES,
    FLAGS,
    HEAD_BYTES,
    IN_USE,
    MIN_BLOCK_BYTES,
    PREVIOUS_IN_USE,
    Tags,
    block_bytes,
    cut,
    fence,
    first_block,
    is_free,
    previous,
    previous_is_free,
    set_free,
    size_of,
)
from heapwright.errors import HeapwrightError
from heapwright.kernel import kernel, ranked_tree, sorted_keys, unsigned
from heapwright.kernel.ranked_tree import RankedTree, put
from heapwright.kernel.reserve import reserve
from heapwright.kernel.sorted_keys import SortedKeys
from heapwright.machine import Machine, load, store
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

ADDRESS_ORDER, LIFO_ORDER, FIFO_ORDER = range(3)
IMMEDIATE, DEFERRED = range(2)

PATHS = ("alloc", "free", "examined", "split", "merge", "sweep", "grow", "trim", "in_place")
ALLOC, FREE, EXAMINED, SPLIT, MERGE, SWEEP, GROW, TRIM, IN_PLACE = range(9)

POSITIONS = (BREAK_LIMIT - BREAK_BASE) // ALIGN_BYTES
FEWEST_SERIALS = 1 << 16  # positions of a LIFO or FIFO list before they are numbered anew
POSITION_BITS = 32  # of a key of SortedKeys: units << POSITION_BITS | position

# Fields
(
    ORDER,
    COALESCING,
    TRIM_BYTES,  # setting: give the last free block back from this size on; 0: never
    SIZED,  # setting: 1 when `keys` is kept
    ROVER,  # position where next fit goes on
    SERIAL,  # next position of a LIFO or FIFO list
    SERIALS,  # positions in use: 0 <= position < SERIALS
    UNMERGED,  # blocks freed since the last sweep
    FIELDS,
) = range(9)


class FreeList(NamedTuple):
    """A heap and the list of its free blocks."""

    machine: Machine
    tags: Tags
    tree: RankedTree  # by position: size in units of 16 bytes
    keys: SortedKeys  # (size, position) of each free block
    block: np.ndarray  # int64[position]  address; unused in address order
    fields: np.ndarray  # int64[FIELDS]
    paths: np.ndarray  # int64[path]  times taken; EXAMINED: blocks


def free_list(machine, config, sized=False):
    """An empty heap. `config` has order, coalescing, growth_bytes and trim_bytes.

    Raises HeapwrightError on a value that names no order or coalescing.
    """
    if config.order not in range(3):
        raise HeapwrightError(f"order is 0 (address), 1 (LIFO) or 2 (FIFO), not {config.order}.")
    if config.coalescing not in range(2):
        raise HeapwrightError(
            f"coalescing is 0 (immediate) or 1 (deferred), not {config.coalescing}."
        )
    if config.growth_bytes < 0 or config.trim_bytes < 0:
        raise HeapwrightError("growth_bytes and trim_bytes are not negative.")
    fields = np.zeros(FIELDS, np.int64)
    fields[ORDER], fields[COALESCING] = config.order, config.coalescing
    fields[TRIM_BYTES], fields[SIZED] = config.trim_bytes, sized
    fields[SERIALS] = FEWEST_SERIALS
    fields[SERIAL] = FEWEST_SERIALS - 1 if config.order == LIFO_ORDER else 0
    return FreeList(
        machine,
        boundary_tags.boundary_tags(machine, config.growth_bytes),
        ranked_tree.ranked_tree(POSITIONS),
        sorted_keys.sorted_keys(POSITIONS if sized else 0),
        reserve(POSITIONS if config.order != ADDRESS_ORDER else 0, np.int64),
        fields,
        np.zeros(len(PATHS), np.int64),
    )


@kernel
def position_of(heap, block):
    """Position of the listed `block`."""
    if heap.fields[ORDER] == ADDRESS_ORDER:
        return (block - BREAK_BASE) >> 4
    return load(heap.machine, block + HEAD_BYTES)


@kernel
def block_at(heap, position):
    """The block listed at `position`."""
    if heap.fields[ORDER] == ADDRESS_ORDER:
        return BREAK_BASE + (position << 4) + HEAD_BYTES
    return heap.block[unsigned(position)]


@kernel
def _set(heap, position, size):
    """Enter `size` at `position` in the indexes; 0 takes it out."""
    if heap.fields[SIZED]:
        old = ranked_tree.size_at(heap.tree, position)
        if old:
            sorted_keys.remove(heap.keys, old << POSITION_BITS | position)
        if size:
            sorted_keys.insert(heap.keys, (size >> 4) << POSITION_BITS | position)
    put(heap.tree, position, size >> 4)


@kernel
def _enter(heap, block, size):
    """List a free block where its order says."""
    fields = heap.fields
    if fields[ORDER] == ADDRESS_ORDER:
        _set(heap, (block - BREAK_BASE) >> 4, size)
        return
    if fields[SERIAL] < 0 or fields[SERIAL] >= fields[SERIALS]:
        _renumber(heap)
    position = fields[SERIAL]
    fields[SERIAL] += 1 if fields[ORDER] == FIFO_ORDER else -1
    heap.block[unsigned(position)] = block
    store(heap.machine, block + HEAD_BYTES, position)
    _set(heap, position, size)


@kernel
def _leave(heap, block):
    """Take a block off the list."""
    _set(heap, position_of(heap, block), 0)


@kernel
def _replace(heap, old, new, size):
    """Put block `new` of `size` bytes in the list's place of `old`, which it overlaps."""
    if heap.fields[ORDER] == ADDRESS_ORDER:
        if old != new:
            _set(heap, (old - BREAK_BASE) >> 4, 0)
        _set(heap, (new - BREAK_BASE) >> 4, size)
        return
    position = load(heap.machine, old + HEAD_BYTES)
    heap.block[unsigned(position)] = new
    store(heap.machine, new + HEAD_BYTES, position)
    _set(heap, position, size)


@kernel
def _renumber(heap):
    """Number the listed blocks anew, without gaps, leaving at least as many serials again free."""
    fields = heap.fields
    old_past, live = fields[SERIALS], ranked_tree.total(heap.tree)
    while live * 4 > fields[SERIALS]:
        fields[SERIALS] *= 2
    rover = -1
    lifo = fields[ORDER] == LIFO_ORDER
    target = fields[SERIALS] - 1 if lifo else 0
    for i in range(old_past):
        position = old_past - 1 - i if lifo else i
        if lifo and position < fields[ROVER] and rover < 0:
            rover = target + 1  # the first block at or after the old rover
        if not lifo and position >= fields[ROVER] and rover < 0:
            rover = target
        size = ranked_tree.size_at(heap.tree, position) << 4
        if size:
            block = heap.block[unsigned(position)]
            _set(heap, position, 0)
            heap.block[unsigned(target)] = block
            store(heap.machine, block + HEAD_BYTES, target)
            _set(heap, target, size)
            target += -1 if lifo else 1
    fields[ROVER] = rover if rover >= 0 else target + 1 if lifo else target
    fields[SERIAL] = target


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
        boundary_tags.touch(machine, used, HEAD_BYTES)
        store(machine, used, need)  # below it lies a free block
        cut(machine, used, need, tail)
        set_free(machine, block, lead, load(machine, block) & PREVIOUS_IN_USE)
        _replace(heap, block, block, lead)
        if tail:
            _enter(heap, used + need, tail)
        return user
    cut(machine, block, need, tail)
    if tail:
        _replace(heap, block, block + need, tail)
    else:
        _leave(heap, block)
    return user


@kernel
def release(heap, block, size):
    """Make a used block free: merge it with free neighbours unless deferred, and list it."""
    machine, fields = heap.machine, heap.fields
    flag = load(machine, block) & PREVIOUS_IN_USE
    if fields[COALESCING] == DEFERRED:
        set_free(machine, block, size, flag)
        _enter(heap, block, size)
        fields[UNMERGED] += 1
        return
    _merge(heap, block, size)
    _trim(heap)


@kernel
def _trim(heap):
    """Give the end of the heap back if the setting says so."""
    if heap.fields[TRIM_BYTES]:
        last, kept = boundary_tags.trim(heap.tags, heap.fields[TRIM_BYTES])
        if last:
            heap.paths[TRIM] += 1
            _replace(heap, last, last, kept)


@kernel
def _merge(heap, block, size):
    """Make the unlisted `block` free, one with its free neighbours, and list the whole."""
    machine, fields = heap.machine, heap.fields
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
    in_order = fields[ORDER] == ADDRESS_ORDER
    flag = load(machine, start) & PREVIOUS_IN_USE
    if above and (below or not in_order):
        _leave(heap, above)
    if below and not in_order:
        _leave(heap, below)
    set_free(machine, start, end - start, flag)
    if not in_order or (not below and not above):
        _enter(heap, start, end - start)
    else:
        _replace(heap, below if below else above, start, end - start)
    if in_order:  # a rover inside the merged block moves to its start
        low, high = (start - BREAK_BASE) >> 4, (end - BREAK_BASE) >> 4
        if low < fields[ROVER] < high:
            fields[ROVER] = low


@kernel
def sweep(heap):
    """Merge all adjacent free blocks, lowest first; False when none was freed since the last."""
    if heap.fields[UNMERGED] == 0:
        return False
    machine = heap.machine
    heap.fields[UNMERGED] = 0
    heap.paths[SWEEP] += 1
    block = first_block(heap.tags)
    while block < fence(heap.tags):
        end = block + size_of(machine, block)
        if is_free(machine, block) and is_free(machine, end):
            flag = load(machine, block) & PREVIOUS_IN_USE
            in_order = heap.fields[ORDER] == ADDRESS_ORDER
            if not in_order:
                _leave(heap, block)
            while is_free(machine, end):
                heap.paths[MERGE] += 1
                _leave(heap, end)
                end += size_of(machine, end)
            set_free(machine, block, end - block, flag)
            if in_order:
                _replace(heap, block, block, end - block)
                low, high = (block - BREAK_BASE) >> 4, (end - BREAK_BASE) >> 4
                if low < heap.fields[ROVER] < high:
                    heap.fields[ROVER] = low
            else:
                _enter(heap, block, end - block)
        block = end
    _trim(heap)
    return True


@kernel
def grow(heap, need):
    """Move the break so that a free block of `need` bytes exists; whether it could."""
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
            boundary_tags.touch(machine, block + need, HEAD_BYTES)
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
        _leave(heap, after)
        cut(machine, block, need, tail)
        return True
    place_in_list = position_of(heap, after)
    cut(machine, block, need, tail)
    if heap.fields[ORDER] == ADDRESS_ORDER:
        _set(heap, place_in_list, 0)
        _set(heap, (block + need - BREAK_BASE) >> 4, tail)
    else:
        heap.block[unsigned(place_in_list)] = block + need
        store(machine, block + need + HEAD_BYTES, place_in_list)
        _set(heap, place_in_list, tail)
    return True


@kernel
def usable(heap, address, size):
    """User bytes of the block: all but its head."""
    return size_of(heap.machine, address - HEAD_BYTES) - HEAD_BYTES


@kernel
def extent(heap, address, size):
    """The block from its head to the next one's."""
    return address - HEAD_BYTES, size_of(heap.machine, address - HEAD_BYTES)


@kernel
def cached(heap, blocks):
    """No caches: a free block is in the list."""
    return 0


@kernel
def metadata(heap, blocks):
    """The heap's padding and fence."""
    return boundary_tags.own_memory(heap.tags, blocks)


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = boundary_tags.check(heap.tags)
    if broken or heap.tags.fields[boundary_tags.START] == heap.tags.fields[boundary_tags.END]:
        return broken
    machine = heap.machine
    block, listed, below_free = first_block(heap.tags), 0, False
    while block < fence(heap.tags):
        size = size_of(machine, block)
        if is_free(machine, block):
            if below_free and heap.fields[COALESCING] == IMMEDIATE:
                return 5
            position = position_of(heap, block)
            if block_at(heap, position) != block:
                return 6
            if ranked_tree.size_at(heap.tree, position) != size >> 4:
                return 6
            listed += 1
        below_free = is_free(machine, block)
        block += size
    if listed != ranked_tree.total(heap.tree):
        return 7
    past = (fence(heap.tags) - BREAK_BASE) >> 4
    if heap.fields[ORDER] != ADDRESS_ORDER:
        past = heap.fields[SERIALS]
    if ranked_tree.check(heap.tree, past):
        return 8
    sized = heap.fields[SIZED]
    if sized and (sorted_keys.check(heap.keys) or sorted_keys.size(heap.keys) != listed):
        return 9
    return 0
