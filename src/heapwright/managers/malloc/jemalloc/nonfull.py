"""A bin's slabs with free regions, but for the current one: the real one's pairing heap.

    root ─next─► slab ─next─► slab     entered since they were last merged, the newest first
     │child
     ▼
    slab ─next─► slab                  older ones below the one they are merged with

A heap and no sorted set, for it is not always in order. A root with nothing below it is removed
without a look at the others: the newest of them is the root then, and may not be the least. If the
next slab that enters is less than it, they all come below, lesser ones too, which leave later.

Invariant  each slab is reached once, has a free region and is not current  (check: 5)
Source     jemalloc 5.3.0 include/jemalloc/internal/ph.h
"""

from heapwright.compiler import kernel
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import load, store
from heapwright.managers.malloc.jemalloc.state import (
    ADDRESS,
    CURRENT,
    FREE,
    IN_USE,
    PREVIOUS,
    ROOT,
    STATE,
    WAITING,
    add,
    class_at,
    get,
    key_of,
    owner_of,
    put,
)

CHILD, BESIDE = ADDRESS, PREVIOUS  # words that a slab's record has no other use for
RECORD_SHIFT = 7  # BESIDE: number of the record before, of the one after
BEFORE_SHIFT, AFTER_MASK = 32, (1 << 32) - 1


@kernel(inline=True)
def _child(heap, slab):
    """The first slab below; 0: none."""
    return load(heap.machine, slab + CHILD)


@kernel(inline=True)
def _after(heap, slab):
    """The next slab beside it; 0: none."""
    return (load(heap.machine, slab + BESIDE) & AFTER_MASK) << RECORD_SHIFT


@kernel(inline=True)
def _before(heap, slab):
    """The slab beside it that it is the next of, or that it is the first below; 0: none."""
    return load(heap.machine, slab + BESIDE) >> BEFORE_SHIFT << RECORD_SHIFT


@kernel(inline=True)
def _place(heap, slab, before, after):
    """Say what is beside a slab."""
    both = before >> RECORD_SHIFT << BEFORE_SHIFT | after >> RECORD_SHIFT
    store(heap.machine, slab + BESIDE, both)


@kernel
def _merge(heap, one, other):
    """The lesser of two, the other now the first below it; what was beside that is forgotten."""
    if key_of(heap, other) < key_of(heap, one):
        one, other = other, one
    below = _child(heap, one)
    _place(heap, other, one, below)
    if below:
        _place(heap, below, other, _after(heap, below))
    store(heap.machine, one + CHILD, other)
    return one


@kernel
def _merge_beside(heap, slab):
    """The least of a row of slabs, with the others below: first in pairs, then the first two of
    what there is, put last, until one is left (phn_merge_siblings); 0 of none."""
    first = last = 0
    if not slab:  # there is no record at 0: in flight nothing is mapped there
        return 0
    while slab:
        other, rest = _after(heap, slab), 0
        if other:
            rest = _after(heap, other)
            slab = _merge(heap, slab, other)
        _place(heap, slab, 0, 0)
        if last:
            _place(heap, last, 0, slab)
        else:
            first = slab
        last, slab = slab, rest
    while _after(heap, first):
        other = _after(heap, first)
        rest = _after(heap, other)
        slab = _merge(heap, first, other)
        _place(heap, slab, 0, 0)
        if not rest:
            return slab
        _place(heap, last, 0, slab)
        first, last = rest, slab
    return first


@kernel
def _merge_waiting(heap, arena, class_):
    """Merge those that wait with the root (ph_merge_aux)."""
    root = get(heap, arena, ROOT + class_)
    put(heap, arena, WAITING + class_, 0)
    waiting = _after(heap, root)
    if waiting:
        _place(heap, root, 0, 0)
        root = _merge(heap, root, _merge_beside(heap, waiting))
        put(heap, arena, ROOT + class_, root)
    return root


@kernel
def enter(heap, slab):
    """Enter a slab (ph_insert)."""
    arena, class_ = owner_of(heap, slab), class_at(heap, slab)
    root = get(heap, arena, ROOT + class_)
    _place(heap, slab, 0, 0)
    store(heap.machine, slab + CHILD, 0)
    if not root:
        put(heap, arena, ROOT + class_, slab)
        return
    if key_of(heap, slab) < key_of(heap, root):
        store(heap.machine, slab + CHILD, root)
        _place(heap, root, slab, _after(heap, root))
        put(heap, arena, ROOT + class_, slab)
        put(heap, arena, WAITING + class_, 0)
        return
    after = _after(heap, root)
    if after:
        _place(heap, after, slab, _after(heap, after))
    _place(heap, slab, root, after)
    _place(heap, root, 0, slab)
    add(heap, arena, WAITING + class_, 1)
    waiting = get(heap, arena, WAITING + class_)
    if waiting > 1:
        _merge_newest(heap, root, trailing_zeros(waiting - 1))


@kernel
def _merge_newest(heap, root, times):
    """Merge the two newest of those that wait, and the outcome with the next
    (ph_try_aux_merge_pair)."""
    for _ in range(times):
        one = _after(heap, root)
        other = _after(heap, one) if one else 0
        if not other:
            break
        rest = _after(heap, other)
        one = _merge(heap, one, other)
        _place(heap, one, root, rest)
        if rest:
            _place(heap, rest, one, _after(heap, rest))
        _place(heap, root, 0, one)


@kernel
def take_first(heap, arena, class_):
    """Take the root out, once what waits is merged; 0 of an empty heap (ph_remove_first)."""
    if not get(heap, arena, ROOT + class_):
        return 0
    slab = _merge_waiting(heap, arena, class_)
    put(heap, arena, ROOT + class_, _merge_beside(heap, _child(heap, slab)))
    return slab


@kernel
def take_out(heap, slab):
    """Take a slab out (ph_remove)."""
    arena, class_ = owner_of(heap, slab), class_at(heap, slab)
    if get(heap, arena, ROOT + class_) == slab:
        if not _child(heap, slab):
            root = _after(heap, slab)
            if root:
                _place(heap, root, 0, _after(heap, root))
            put(heap, arena, ROOT + class_, root)
            return
        if _merge_waiting(heap, arena, class_) == slab:
            put(heap, arena, ROOT + class_, _merge_beside(heap, _child(heap, slab)))
            return
    before, after = _before(heap, slab), _after(heap, slab)
    is_first = _child(heap, before) == slab
    heir = _merge_beside(heap, _child(heap, slab))
    if heir:
        _place(heap, heir, before, after)
    if after:
        _place(heap, after, heir or before, _after(heap, after))
    heir = heir or after
    if is_first:
        store(heap.machine, before + CHILD, heir)
    else:
        _place(heap, before, _before(heap, before), heir)


@kernel
def entered(heap, arena, class_):
    """How many slabs there are; -1 where one does not belong there."""
    slab, count = get(heap, arena, ROOT + class_), 0
    while slab:
        where, free = load(heap.machine, slab + STATE), load(heap.machine, slab + FREE)
        belongs = owner_of(heap, slab) == arena and class_at(heap, slab) == class_
        if not belongs or where != IN_USE or not free or get(heap, arena, CURRENT + class_) == slab:
            return -1
        count += 1
        ahead = _child(heap, slab)
        while not ahead and slab:
            ahead = _after(heap, slab)
            if not ahead:  # up to the slab that this row is below
                while _before(heap, slab) and _child(heap, _before(heap, slab)) != slab:
                    slab = _before(heap, slab)
                slab = _before(heap, slab)
        if ahead and _before(heap, ahead) != slab:
            return -1
        slab = ahead
    return count
