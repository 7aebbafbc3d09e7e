"""Free chunks of dlmalloc: a list for each size below 256 bytes, above that trees by bits of sizes.

    list   first ─► newest ─► ... ─► oldest
    tree   root: any size of the tree's range; child 0 or 1 by the next bit; equal sizes in a ring

Terms      parent: 1 of a root, 0 of a chunk that is in a ring and no node
Source     dlmalloc 2.8.6 malloc.c: insert_small_chunk ... unlink_large_chunk, tmalloc_large,
           tmalloc_small
"""

from heapwright.allocators.dlmalloc.chunk import (
    SMALL_BINS,
    SMALL_SHIFT,
    TREE_SHIFT,
    TREES,
    bytes_of,
    get,
    put,
)
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length, trailing_zeros

ROOT = 1
NEXT, BACK, CHILD, PARENT, INDEX = 2, 3, 4, 6, 7  # words of a chunk


@kernel(inline=True)
def field(space, chunk, name):
    """A word of a free chunk."""
    return get(space, chunk + name * space.word)


@kernel(inline=True)
def set_field(space, chunk, name, value):
    """Write it."""
    put(space, chunk + name * space.word, value)


@kernel(inline=True)
def is_small(size):
    """Whether a chunk of so many bytes lies in a list."""
    return size >> SMALL_SHIFT < SMALL_BINS


@kernel
def tree_of(size):
    """The tree of a size."""
    scale = size >> TREE_SHIFT
    if not scale:
        return 0
    if scale > 0xFFFF:
        return TREES - 1
    highest = bit_length(scale) - 1
    return 2 * highest + ((size >> (highest + TREE_SHIFT - 1)) & 1)


@kernel(inline=True)
def _first_bit(space, tree):
    """The bit of a size that the root's children are told apart by."""
    return 8 * space.word - 1 if tree == TREES - 1 else (tree >> 1) + TREE_SHIFT - 2


@kernel(inline=True)
def _side(size, bit):
    """Which child a size lies below."""
    return (size >> bit) & 1 if bit >= 0 else 0


@kernel
def enter(space, chunk, size):
    """A free chunk joins its list or tree."""
    if is_small(size):
        number = size >> SMALL_SHIFT
        newest = space.first[unsigned(number)]
        space.first[unsigned(number)] = chunk
        space.small |= 1 << number
        set_field(space, chunk, NEXT, newest)
        set_field(space, chunk, BACK, 0)
        if newest:
            set_field(space, newest, BACK, chunk)
        return
    tree = tree_of(size)
    set_field(space, chunk, INDEX, tree)
    set_field(space, chunk, CHILD, 0)
    set_field(space, chunk, CHILD + 1, 0)
    set_field(space, chunk, NEXT, chunk)
    set_field(space, chunk, BACK, chunk)
    node = space.root[unsigned(tree)]
    if not node:
        space.root[unsigned(tree)] = chunk
        space.large |= 1 << tree
        set_field(space, chunk, PARENT, ROOT)
        return
    bit = _first_bit(space, tree)
    while bytes_of(space, node) != size:
        side = CHILD + _side(size, bit)
        bit -= 1
        child = field(space, node, side)
        if not child:
            set_field(space, node, side, chunk)
            set_field(space, chunk, PARENT, node)
            return
        node = child
    following = field(space, node, NEXT)
    set_field(space, node, NEXT, chunk)
    set_field(space, following, BACK, chunk)
    set_field(space, chunk, NEXT, following)
    set_field(space, chunk, BACK, node)
    set_field(space, chunk, PARENT, 0)


@kernel
def leave(space, chunk, size):
    """A free chunk leaves its list or tree."""
    if not is_small(size):
        _leave_tree(space, chunk)
        return
    following, before = field(space, chunk, NEXT), field(space, chunk, BACK)
    if following:
        set_field(space, following, BACK, before)
    if before:
        set_field(space, before, NEXT, following)
        return
    number = size >> SMALL_SHIFT
    space.first[unsigned(number)] = following
    if not following:
        space.small &= ~(1 << number)


@kernel
def _leave_tree(space, chunk):
    """One of its size takes its place, else the lowest node on the right below it."""
    parent, before = field(space, chunk, PARENT), field(space, chunk, BACK)
    if before != chunk:
        following = field(space, chunk, NEXT)
        set_field(space, following, BACK, before)
        set_field(space, before, NEXT, following)
        heir = before
    else:
        heir = _leaf_below(space, chunk)
    if not parent:
        return
    tree = field(space, chunk, INDEX)
    if space.root[unsigned(tree)] == chunk:
        space.root[unsigned(tree)] = heir
        if not heir:
            space.large &= ~(1 << tree)
    elif field(space, parent, CHILD) == chunk:
        set_field(space, parent, CHILD, heir)
    else:
        set_field(space, parent, CHILD + 1, heir)
    if heir:
        set_field(space, heir, PARENT, parent)
        for side in range(CHILD, CHILD + 2):
            child = field(space, chunk, side)
            if child:
                set_field(space, heir, side, child)
                set_field(space, child, PARENT, heir)


@kernel
def _leaf_below(space, chunk):
    """The leaf that is reached on the right where there is a right, cut off; 0 of a leaf."""
    place, leaf, node = 0, 0, chunk
    while node:
        side = CHILD + 1 if field(space, node, CHILD + 1) else CHILD
        child = field(space, node, side)
        if child:
            place, leaf = node + side * space.word, child
        node = child
    if leaf:
        put(space, place, 0)
    return leaf


@kernel
def _least(space, node, need, best):
    """The best fit among `best`, 0 none, and the nodes on the left below `node`."""
    room = bytes_of(space, best) if best else 0
    while node:
        size = bytes_of(space, node)
        if size >= need and (not best or size < room):
            best, room = node, size
        child = field(space, node, CHILD)
        node = child if child else field(space, node, CHILD + 1)
    return best


@kernel
def fit_large(space, need):
    """The chunk of a tree that fits `need` bytes best, and no worse than dv; 0 if there is none."""
    tree, best, room = tree_of(need), 0, 0
    node, right = space.root[unsigned(tree)], 0
    bit = _first_bit(space, tree)
    while node:
        size = bytes_of(space, node)
        if size >= need and (not best or size < room):
            best, room = node, size
            if size == need:
                node = right = 0
                break
        larger = field(space, node, CHILD + 1)
        node = field(space, node, CHILD + _side(need, bit))
        bit -= 1
        if larger and larger != node:
            right = larger
    node = right
    if not node and not best:
        rest = space.large >> (tree + 1) << (tree + 1)
        if rest:
            node = space.root[unsigned(trailing_zeros(rest))]
    best = _least(space, node, need, best)
    if best and space.dv_bytes >= need and bytes_of(space, best) >= space.dv_bytes:
        return 0
    return best


@kernel
def fit_small(space, need):
    """The smallest chunk of any tree, of which there are some."""
    return _least(space, space.root[unsigned(trailing_zeros(space.large))], need, 0)
