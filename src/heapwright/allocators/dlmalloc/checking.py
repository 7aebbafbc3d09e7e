"""What must hold of a space: walked from its first chunk to its top, segment by segment."""

from heapwright.allocators.dlmalloc.bins import (
    BACK,
    CHILD,
    NEXT,
    PARENT,
    ROOT,
    field,
    is_small,
    tree_of,
)
from heapwright.allocators.dlmalloc.chunk import (
    BEFORE,
    SMALL_BINS,
    SMALL_SHIFT,
    TREES,
    USED,
    block_of,
    bytes_of,
    chunk_of,
    get,
    head,
)
from heapwright.allocators.frame import write_row
from heapwright.compiler import kernel, unsigned

FEW = 1 << 24  # links that a list, ring or tree may have before it is taken for endless


@kernel
def check(space):
    """Number of the broken invariant, 0 if none: 1 chunks tile each segment, and no two that are
    free touch; 2 a head says whether the chunk before is in use, a foot how long that is; 3 lists,
    trees, dv and top hold the free chunks and no other; 4 lists and trees are linked both ways."""
    if not space.base:
        return 0
    free = 0
    begin, end, older, newest = space.segment, space.end, space.older, True
    while True:
        found = _segment(space, begin, end, older, newest)
        if found < 0:
            return -found
        free += found
        if not older:
            break
        begin, end = get(space, older), get(space, older) + get(space, older + space.word)
        older, newest = get(space, older + 2 * space.word), False
    binned = 1 if space.dv else 0
    for number in range(SMALL_BINS):
        count = _list(space, number)
        if count < 0:
            return -count
        binned += count
    for tree in range(TREES):
        root = space.root[unsigned(tree)]
        if (space.large >> tree & 1) != (root != 0):
            return 3
        if root:
            if field(space, root, PARENT) != ROOT:
                return 4
            count = _tree(space, tree, root)
            if count < 0:
                return -count
            binned += count
    return 0 if binned == free else 3


@kernel
def _segment(space, begin, end, older, newest):
    """Free chunks of a segment; less than 0: the number of what is broken."""
    chunk = begin + (-block_of(space, begin) & space.mask)
    free, last_used = 0, True
    fence = space.word | BEFORE | USED
    while True:
        if newest and chunk == space.top:
            if head(space, chunk) != space.top_bytes | BEFORE or not last_used:
                return -2
            return free if chunk + space.top_bytes + space.foot == end else -1
        if not newest and head(space, chunk) == fence:
            return free if last_used and chunk < end else -1
        size = bytes_of(space, chunk)
        if size < space.least or size & space.mask or chunk + size > end:
            return -1
        if (head(space, chunk) & BEFORE != 0) != last_used:
            return -2
        used = head(space, chunk) & USED != 0
        if not used:
            if not last_used:
                return -1
            if get(space, chunk + size) != size:
                return -2
            free += 1
        last_used = used
        chunk += size


@kernel
def _list(space, number):
    """Chunks of a list; less than 0: the number of what is broken."""
    chunk, before, count = space.first[unsigned(number)], 0, 0
    if (space.small >> number & 1) != (chunk != 0):
        return -3
    while chunk:
        if bytes_of(space, chunk) != number << SMALL_SHIFT or head(space, chunk) & USED:
            return -3
        if field(space, chunk, BACK) != before or count > FEW:
            return -4
        before, chunk = chunk, field(space, chunk, NEXT)
        count += 1
    return count


@kernel
def _tree(space, tree, root):
    """Chunks of a tree, walked by parents; less than 0: the number of what is broken."""
    node, came, count = root, 0, 0
    while True:
        left, right = field(space, node, CHILD), field(space, node, CHILD + 1)
        if not came:
            chunk = node
            while True:
                size = bytes_of(space, chunk)
                if is_small(size) or tree_of(size) != tree or size != bytes_of(space, node):
                    return -3
                if head(space, chunk) & USED or (chunk != node and field(space, chunk, PARENT)):
                    return -4
                following = field(space, chunk, NEXT)
                if field(space, following, BACK) != chunk or count > FEW:
                    return -4
                count += 1
                chunk = following
                if chunk == node:
                    break
            if left and field(space, left, PARENT) != node:
                return -4
            if right and field(space, right, PARENT) != node:
                return -4
        if not came and left:
            node = left
        elif right and came != right:
            node, came = right, 0
        elif node == root:
            return count
        else:
            node, came = field(space, node, PARENT), node


@kernel
def own_memory(space, blocks):
    """Rows (start, bytes) of what is no chunk for a request: feet and records of segments, the
    state of a space that was given memory."""
    if not space.base:
        return 0
    word = space.word
    first = space.top + space.top_bytes + word
    rows = write_row(blocks, 0, first, space.end - first)
    begin, end, older, given = space.segment, space.end, space.older, space.given
    while older:
        rows = write_row(blocks, rows, begin, (-block_of(space, begin) & space.mask) + word)
        record_ = older
        begin = get(space, record_)
        end = begin + get(space, record_ + word)
        older, given = get(space, record_ + 2 * word), get(space, record_ + 3 * word)
        start = chunk_of(space, record_) + word
        rows = write_row(blocks, rows, start, end - start)
    start = begin + (-block_of(space, begin) & space.mask) + word
    if given:
        start += bytes_of(space, start - word)
    return write_row(blocks, rows, begin, start - begin)


@kernel
def list_free(space, blocks):
    """Rows (start, bytes) of free chunks: what lies between heads; the top to its foot."""
    if not space.base:
        return 0
    rows, word = write_row(blocks, 0, space.top + space.word, space.top_bytes), space.word
    fence = word | BEFORE | USED
    begin, older, newest = space.segment, space.older, True
    while True:
        chunk = begin + (-block_of(space, begin) & space.mask)
        while not (newest and chunk == space.top) and head(space, chunk) != fence:
            size = bytes_of(space, chunk)
            if not head(space, chunk) & USED:
                rows = write_row(blocks, rows, chunk + word, size)
            chunk += size
        if not older:
            return rows
        begin, older, newest = get(space, older), get(space, older + 2 * word), False
