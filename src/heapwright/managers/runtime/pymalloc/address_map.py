"""Whether an address is pymalloc's: a radix tree from 3.10 on, before that the pool's own word.

    address   63 ... 49 │ 48 ... 34 │ 33 ... 20 │ 19 ... 0
              root       middle      bottom      where in its MiB an arena starts or ends

Terms      bottom: an entry of 8 bytes per MiB; LOW 32 bits: an arena from the MiB below reaches so
           far into this one (tail_lo); HIGH: one starts here (tail_hi)
Source     CPython 3.10 Objects/obmalloc.c, arena_map_get, arena_map_mark_used, arena_map_is_used;
           3.9 address_in_range

Nodes are calloc's, so they lie in the ground, at the first arena in their part of the space, and
stay. Before 3.10 the word where a pool would have its arena's number is read, whatever it holds:
it counts if that arena spans the address.
"""

from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.machine.ground import obtain_clear
from heapwright.managers.runtime.pymalloc.state import OWNER, ROW_MASK, pool_of

ROOT_SHIFT, MIDDLE_SHIFT, BOTTOM_SHIFT = 49, 34, 20
ROOT_ENTRIES = MIDDLE_ENTRIES = 1 << 15
BOTTOM_ENTRIES = 1 << 14
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


@kernel
def _entry(heap, thread, address):
    """Address of the bottom entry for an address, with the nodes above it; 0 where refused."""
    top = _root_index(address)
    if not heap.root[top]:
        heap.root[top] = obtain_clear(heap.machine, thread, MIDDLE_BYTES)
        if not heap.root[top]:
            return 0
    slot = _slot(heap.root[top], address, MIDDLE_SHIFT, MIDDLE_ENTRIES)
    if not load(heap.machine, slot):
        bottom = obtain_clear(heap.machine, thread, BOTTOM_BYTES)
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
    for top in range(0, SPACE_BYTES, 1 << ROOT_SHIFT):
        middle = heap.root[_root_index(top)]
        if not middle:
            continue
        row = _write(blocks, row, middle, MIDDLE_BYTES)
        for part in range(top, min(top + (1 << ROOT_SHIFT), SPACE_BYTES), 1 << MIDDLE_SHIFT):
            bottom = load(heap.machine, _slot(middle, part, MIDDLE_SHIFT, MIDDLE_ENTRIES))
            if bottom:
                row = _write(blocks, row, bottom, BOTTOM_BYTES)
    return row


@kernel
def _write(blocks, row, start, length):
    if row < len(blocks):
        blocks[row, 0], blocks[row, 1] = start, length
    return row + 1
