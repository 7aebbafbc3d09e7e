"""Free extents of an arena, of one state: by size and age, and in the order in which they came.

    kept   by page class, in each the one of the oldest mapping and lowest address first
    fit    over classes that hold enough, upward: the oldest of their first ones; of dirty extents
           none beyond 64 times the request

Source     jemalloc 5.3.0 src/eset.c
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import PAGE_BYTES, load, store
from heapwright.managers.malloc.jemalloc.size_classes import (
    PAGE_CLASSES,
    kept_class,
    wanted_class,
)
from heapwright.managers.malloc.jemalloc.state import (
    ARENA_SHIFT,
    BYTES,
    DIRTY,
    FIRSTS,
    KEPT,
    KEPT_SHIFT,
    KEY_MASK,
    NEWEST,
    NEXT,
    OLDEST,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGES,
    PREVIOUS,
    SET_KEY_SHIFT,
    SET_SHIFT,
    SETS,
    START,
    STATE,
    extent_at,
    key_of,
    owner_of,
)
from heapwright.structures.sorted_keys import at_least, insert, remove

FIT_SHIFT = 6  # opt_lg_extent_max_active_fit


@kernel(inline=True)
def set_of(arena, state):
    """Where the words of a set of free extents begin."""
    return (arena << ARENA_SHIFT) + SETS + ((state - 1) << SET_SHIFT)


@kernel(inline=True)
def _prefix(arena, state, class_):
    """The upper bits of the keys of a class of a set."""
    return (arena * 3 + state - 1) << SET_KEY_SHIFT | class_ << KEPT_SHIFT


@kernel
def enter(heap, extent, state):
    """A free extent, the newest of its set (eset_insert)."""
    machine, arena = heap.machine, owner_of(heap, extent)
    words, bytes_ = set_of(arena, state), load(machine, extent + BYTES)
    class_, key = kept_class(heap.classes, bytes_), key_of(heap, extent)
    store(machine, extent + STATE, state)
    insert(heap.extents, _prefix(arena, state, class_) | key)
    bits = unsigned(words + KEPT + (class_ >> 5))
    first = unsigned(words + FIRSTS + class_)
    if not heap.arenas[bits] >> (class_ & 31) & 1:
        heap.arenas[bits] |= 1 << (class_ & 31)
        heap.arenas[first] = key
    elif key < heap.arenas[first]:
        heap.arenas[first] = key
    newest = heap.arenas[unsigned(words + NEWEST)]
    store(machine, extent + PREVIOUS, newest)
    store(machine, extent + NEXT, 0)
    if newest:
        store(machine, newest + NEXT, extent)
    else:
        heap.arenas[unsigned(words + OLDEST)] = extent
    heap.arenas[unsigned(words + NEWEST)] = extent
    heap.arenas[unsigned(words + PAGES)] += bytes_ >> PAGE_SHIFT


@kernel
def take_out(heap, extent, state):
    """Take a free extent out of its set (eset_remove)."""
    machine, arena = heap.machine, owner_of(heap, extent)
    words, bytes_ = set_of(arena, state), load(machine, extent + BYTES)
    class_, key = kept_class(heap.classes, bytes_), key_of(heap, extent)
    prefix = _prefix(arena, state, class_)
    remove(heap.extents, prefix | key)
    first = unsigned(words + FIRSTS + class_)
    if heap.arenas[first] == key:
        after = at_least(heap.extents, prefix | key)
        if after >= 0 and after >> KEPT_SHIFT == prefix >> KEPT_SHIFT:
            heap.arenas[first] = after & KEY_MASK
        else:
            heap.arenas[unsigned(words + KEPT + (class_ >> 5))] &= ~(1 << (class_ & 31))
    before, behind = load(machine, extent + PREVIOUS), load(machine, extent + NEXT)
    if before:
        store(machine, before + NEXT, behind)
    else:
        heap.arenas[unsigned(words + OLDEST)] = behind
    if behind:
        store(machine, behind + PREVIOUS, before)
    else:
        heap.arenas[unsigned(words + NEWEST)] = before
    heap.arenas[unsigned(words + PAGES)] -= bytes_ >> PAGE_SHIFT


@kernel
def _following(heap, words, class_):
    """The first class from this one on that has an extent; PAGE_CLASSES if none has."""
    while class_ < PAGE_CLASSES:
        bits = heap.arenas[unsigned(words + KEPT + (class_ >> 5))] >> (class_ & 31)
        if bits:
            return class_ + trailing_zeros(bits)
        class_ = (class_ | 31) + 1
    return PAGE_CLASSES


@kernel
def fit(heap, arena, state, bytes_, align):
    """The extent to take pages from, which it stays in; 0 if there is none (eset_fit)."""
    words, want = set_of(arena, state), bytes_ + align - PAGE_BYTES
    best = -1
    class_ = _following(heap, words, wanted_class(heap.classes, want))
    while class_ < PAGE_CLASSES:
        if state == DIRTY and heap.classes.page_bytes[unsigned(class_)] >> FIT_SHIFT > want:
            break
        key = heap.arenas[unsigned(words + FIRSTS + class_)]
        if best < 0 or key < best:
            best = key
        class_ = _following(heap, words, class_ + 1)
    if best >= 0:
        return extent_at(heap, best & PAGE_MASK)
    return _fit_aligned(heap, words, bytes_, align) if align > PAGE_BYTES else 0


@kernel
def _fit_aligned(heap, words, bytes_, align):
    """The first extent of a smaller class that has such pages by chance (eset_fit_alignment)."""
    past = wanted_class(heap.classes, bytes_ + align - PAGE_BYTES)
    class_ = _following(heap, words, wanted_class(heap.classes, bytes_))
    while class_ < past:
        key = heap.arenas[unsigned(words + FIRSTS + class_)]
        extent = extent_at(heap, key & PAGE_MASK)
        lead = -load(heap.machine, extent + START) & (align - 1)
        have = load(heap.machine, extent + BYTES)
        if lead < have and have - lead >= bytes_:
            return extent
        class_ = _following(heap, words, class_ + 1)
    return 0
