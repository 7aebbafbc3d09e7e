"""Whether an address is pymalloc's: a radix tree from 3.10 on, before that the pool's own word.

    address   47 ... 38 │ 37 ... 28 │ 27 ... 20 │ 19 ... 0
              root       middle      bottom      where in its MiB an arena starts or ends

Terms      bottom: 256 entries of 8 bytes; LOW 32 bits: an arena from the MiB below reaches so far
           into this one (tail_lo); HIGH: one starts here (tail_hi)
Source     CPython 3.10 Objects/obmalloc.c, arena_map_get, arena_map_mark_used, arena_map_is_used;
           3.9 address_in_range

Nodes are calloc's, so they lie in the ground, at the first arena in their part of the space, and
stay. Before 3.10 the word where a pool would have its arena's number is read, whatever it holds:
it counts if that arena spans the address.
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.ground import obtain_clear
from heapwright.managers.runtime.pymalloc.state import OWNER, ROW_MASK, pool_of

ROOT_SHIFT, MIDDLE_SHIFT, BOTTOM_SHIFT = 38, 28, 20
ROOT_ENTRIES = MIDDLE_ENTRIES = 1 << 10
BOTTOM_ENTRIES = 1 << 8
MIDDLE_BYTES, BOTTOM_BYTES = MIDDLE_ENTRIES * 8, BOTTOM_ENTRIES * 8
TAIL_MASK = (1 << BOTTOM_SHIFT) - 1
LOW = (1 << 32) - 1
WHOLE = 1 << BOTTOM_SHIFT  # above every tail: an arena at a multiple of a MiB


@kernel(inline=True)
def _root_index(address):
    return unsigned((address >> ROOT_SHIFT) & (ROOT_ENTRIES - 1))


@kernel(inline=True)
def _slot(node, address, shift, entries):
    """Address of the entry of a node."""
    return node + (((address >> shift) & (entries - 1)) << 3)


@kernel
def is_ours(heap, address):
    """Whether `address` lies in an arena (address_in_range)."""
    if not heap.tree:
        row = load(heap.machine, pool_of(heap, address) + OWNER) & ROW_MASK
        if row < 1 or row > heap.rows:
            return False
        base = heap.arenas.base[unsigned(row)]
        return base != 0 and base <= address < base + heap.arena_bytes
    middle = heap.root[_root_index(address)]
    if not middle:
        return False
    bottom = load(heap.machine, _slot(middle, address, MIDDLE_SHIFT, MIDDLE_ENTRIES))
    if not bottom:
        return False
    entry = load(heap.machine, _slot(bottom, address, BOTTOM_SHIFT, BOTTOM_ENTRIES))
    tail, starts = address & TAIL_MASK, (entry >> 32) & LOW
    return tail < (entry & LOW) or (starts == WHOLE or 0 < starts <= tail)


@kernel(cold=True)
def _node(heap, thread, bytes_):
    """A node of zeros; 0 where refused."""
    node = obtain_clear(heap.machine, thread, bytes_)
    if node:
        for word in range(node, node + bytes_, 8):  # of a mapping the model keeps old words
            if load(heap.machine, word):
                store(heap.machine, word, 0)
    return node


@kernel
def _entry(heap, thread, address):
    """Address of the bottom entry for an address, with the nodes above it; 0 where refused."""
    top = _root_index(address)
    if not heap.root[top]:
        heap.root[top] = _node(heap, thread, MIDDLE_BYTES)
        if not heap.root[top]:
            return 0
    slot = _slot(heap.root[top], address, MIDDLE_SHIFT, MIDDLE_ENTRIES)
    if not load(heap.machine, slot):
        bottom = _node(heap, thread, BOTTOM_BYTES)
        if not bottom:
            return 0
        touch(heap.machine, slot, 8)
        store(heap.machine, slot, bottom)
    return _slot(load(heap.machine, slot), address, BOTTOM_SHIFT, BOTTOM_ENTRIES)


@kernel
def mark(heap, thread, base, used):
    """Enter an arena (used 1) or take it off (used 0); False where a node was refused."""
    if not heap.tree:
        return True
    start = _entry(heap, thread, base)
    if not start:
        return False
    tail = base & TAIL_MASK
    if tail:
        past = _entry(heap, thread, base + heap.arena_bytes)
        if not past:
            return False
        touch(heap.machine, past, 8)
        store(heap.machine, past, (load(heap.machine, past) & ~LOW) | (tail * used))
    starts = (tail if tail else WHOLE) * used
    touch(heap.machine, start, 8)
    store(heap.machine, start, (load(heap.machine, start) & LOW) | (starts << 32))
    return True


@kernel
def write_nodes(heap, blocks, row):
    """Write the nodes as rows of `blocks` from `row` on, as many as fit; the next number."""
    for top in range(ROOT_ENTRIES):
        middle = heap.root[unsigned(top)]
        if not middle:
            continue
        row = _write(blocks, row, middle, MIDDLE_BYTES)
        for slot in range(middle, middle + MIDDLE_BYTES, 8):
            if load(heap.machine, slot):
                row = _write(blocks, row, load(heap.machine, slot), BOTTOM_BYTES)
    return row


@kernel
def _write(blocks, row, start, length):
    if row < len(blocks):
        blocks[row, 0], blocks[row, 1] = start, length
    return row + 1
