"""What CPython's collector keeps of an object: four words, and the lists that they link.

    heads   │ slot │ fields │ granules │ count │ next │ flags │ previous │ gc_refs │   of `address`:
             31 bit  32 bit   31 bit     32 bit  32 bit 16 bit   32 bit     31 bit      the 4 words
                                                                                       before it
    lists   young ─► ... ─► young     each a ring through a node that is no object

Terms      count: ob_refcnt; next, previous: granules (of 16 bytes) of the neighbours in a ring, 0
           of what is in none: such an object is not tracked; gc_refs: of a collection that runs,
           references from outside what it looks at; table: a block that one object owns, a list's
           items say: it is in no ring, and what it refers to counts as that of its owner
Invariant  rings are linked both ways                                              (check: 3)
Source     CPython 3.11, Include/internal/pycore_gc.h, Modules/gcmodule.c

The real one keeps them before the object and in it (PyGC_Head, PyObject). Here they lie beside the
memory, at the same places: what a recorded object has of them is in its own bytes already.
"""

from heapwright.compiler import kernel, unsigned

HEAD_WORDS = 4
SLOT_MASK, FIELDS_SHIFT = (1 << 31) - 1, 31
GRANULES_MASK, COUNT_SHIFT = (1 << 31) - 1, 31
ONE = 1 << COUNT_SHIFT
LINK_MASK, HIGH_SHIFT = (1 << 32) - 1, 32
GRANULE_SHIFT = 4

# Flags; the low two bits are the form: ATOM, CONTAINER, TUPLE, DICT of the trace's schema
FORM, REVIVING, OLD_FINALISER, COLLECTING, TENTATIVE, FINALISED, SPACE, TABLE = (
    *(3, 4, 8),
    *(1 << bit for bit in range(4, 9)),
)
REFERRED, WEAKLING = 1 << 10, 1 << 11  # something refers to it weakly; it is a weak reference
ATOMS, CONTAINERS, TUPLES, DICTS = range(4)

# Nodes of rings: generations and others; see `node`
YOUNG, MIDDLE, OLD, PERMANENT, UNREACHABLE, STILL, UNCOLLECTABLE, INCREMENT, NODES = range(9)


@kernel(inline=True)
def node(ring):
    """The address that stands for a ring."""
    return (ring + 1) << 6


@kernel(inline=True)
def _word(heads, address, number):
    return heads[unsigned((address >> 3) - HEAD_WORDS + number)]


@kernel(inline=True)
def _put(heads, address, number, value):
    heads[unsigned((address >> 3) - HEAD_WORDS + number)] = value


@kernel
def write_heads(heads, address, shape, granules, flags):
    """Of a new object with shape (slot, fields): nothing refers to it, it is in no ring."""
    slot, fields = shape
    _put(heads, address, 0, slot | fields << FIELDS_SHIFT)
    _put(heads, address, 1, granules)
    _put(heads, address, 2, flags << HIGH_SHIFT)
    _put(heads, address, 3, 0)


@kernel(inline=True)
def slot_of(heads, address):
    """The slot that the object was born in."""
    return _word(heads, address, 0) & SLOT_MASK


@kernel(inline=True)
def fields_of(heads, address):
    """Number of its references."""
    return _word(heads, address, 0) >> FIELDS_SHIFT


@kernel(inline=True)
def granules_of(heads, address):
    """Granules that were asked for."""
    return _word(heads, address, 1) & GRANULES_MASK


@kernel(inline=True)
def count_of(heads, address):
    """References to it."""
    return _word(heads, address, 1) >> COUNT_SHIFT


@kernel(inline=True)
def increment(heads, address):
    """One more reference to the object."""
    _put(heads, address, 1, _word(heads, address, 1) + ONE)


@kernel(inline=True)
def decremented(heads, address):
    """One less; whether it was the last."""
    state = _word(heads, address, 1) - ONE
    _put(heads, address, 1, state)
    return state < ONE


@kernel(inline=True)
def flags_of(heads, address):
    """Its flags."""
    return _word(heads, address, 2) >> HIGH_SHIFT


@kernel(inline=True)
def has(heads, address, flag):
    """Whether one of the flags is set."""
    return flags_of(heads, address) & flag != 0


@kernel(inline=True)
def set_flag(heads, address, flag):
    """Set it."""
    _put(heads, address, 2, _word(heads, address, 2) | flag << HIGH_SHIFT)


@kernel(inline=True)
def clear_flag(heads, address, flag):
    """Clear it."""
    _put(heads, address, 2, _word(heads, address, 2) & ~(flag << HIGH_SHIFT))


@kernel(inline=True)
def refs_of(heads, address):
    """Its gc_refs."""
    return _word(heads, address, 3) >> HIGH_SHIFT


@kernel(inline=True)
def set_refs(heads, address, refs):
    """Write its gc_refs."""
    _put(heads, address, 3, (_word(heads, address, 3) & LINK_MASK) | refs << HIGH_SHIFT)


@kernel(inline=True)
def following(heads, address):
    """The next one of its ring; 0 of what is in none."""
    return (_word(heads, address, 2) & LINK_MASK) << GRANULE_SHIFT


@kernel(inline=True)
def preceding(heads, address):
    """The one before it."""
    return (_word(heads, address, 3) & LINK_MASK) << GRANULE_SHIFT


@kernel(inline=True)
def _follow(heads, address, other):
    _put(heads, address, 2, (_word(heads, address, 2) & ~LINK_MASK) | other >> GRANULE_SHIFT)


@kernel(inline=True)
def _precede(heads, address, other):
    _put(heads, address, 3, (_word(heads, address, 3) & ~LINK_MASK) | other >> GRANULE_SHIFT)


@kernel(inline=True)
def is_tracked(heads, address):
    """Whether the collector follows it."""
    return _word(heads, address, 2) & LINK_MASK != 0


@kernel
def empty_rings(heads):
    """Make every ring an empty one."""
    for ring in range(NODES):
        _follow(heads, node(ring), node(ring))
        _precede(heads, node(ring), node(ring))


@kernel
def append(heads, address, ring):
    """Put what is in no ring at the end of one."""
    end = node(ring)
    last = preceding(heads, end)
    _precede(heads, address, last)
    _follow(heads, address, end)
    _follow(heads, last, address)
    _precede(heads, end, address)


@kernel
def remove(heads, address):
    """Take it out of its ring: it is not tracked now."""
    before, after = preceding(heads, address), following(heads, address)
    _follow(heads, before, after)
    _precede(heads, after, before)
    _follow(heads, address, 0)
    _precede(heads, address, 0)


@kernel
def move(heads, address, ring):
    """To the end of another ring."""
    remove(heads, address)
    append(heads, address, ring)


@kernel
def merge(heads, source, target):
    """All of one ring to the end of another."""
    start, end = node(source), node(target)
    first, last = following(heads, start), preceding(heads, start)
    if first == start:
        return
    tail = preceding(heads, end)
    _follow(heads, tail, first)
    _precede(heads, first, tail)
    _follow(heads, last, end)
    _precede(heads, end, last)
    _follow(heads, start, start)
    _precede(heads, start, start)


@kernel
def is_empty(heads, ring):
    """Whether nothing is in it."""
    return following(heads, node(ring)) == node(ring)


@kernel
def size(heads, ring):
    """Objects of a ring."""
    found, end = 0, node(ring)
    address = following(heads, end)
    while address != end:
        found += 1
        address = following(heads, address)
    return found


@kernel(inline=True)
def chain(heads, address, other):
    """Let a dead object, which is in no ring, lead to another one."""
    _follow(heads, address, other)
