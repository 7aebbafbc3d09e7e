"""Objects as the textbook collectors lay them out: a header of two words, then the references.

    address - 16     address - 8                   address         address + 8
    │ slot │ fields │ granules │ note    │ mark │ │ reference 0 │ reference 1 │ ... other bytes
     31 bit  31 bit   31 bit     32 bit    1 bit

Terms      granule: 16 bytes; block: header, user bytes and padding, a whole number of granules;
           reference: address of an object, 0 null; note: 0, an age or a count, or, from
           FORWARDED on, the granule where the object lies now: no heap begins so low
Invariant  granules >= 1; fields x 8 <= user bytes; mark is the sign, so a test is one comparison

Header and first references of a small object share a cache line three times in four or better.
A word is read and written by the accessors below only. A free block is told from an object by its
word 0, which is negative, and holds its granules in the same place (allocators/holes.py): so a heap
can be walked from block to block.
"""

from heapwright.allocators.holes import GRANULE_BYTES, GRANULES_MASK
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store, touch
from heapwright.machine.address_space import BREAK_BASE

HEADER_BYTES = 16
WORD_BYTES = 8

MARK = -1 << 63
NOTE_SHIFT, NOTE_MASK = 31, (1 << 32) - 1
FIELDS_SHIFT, SLOT_MASK = 32, (1 << 31) - 1
FORWARDED = BREAK_BASE >> 4  # the least note that is a forwarding address
MOST_BYTES = GRANULES_MASK << 4  # largest block


@kernel(inline=True)
def block_bytes(size):
    """Bytes of the block for an object of `size` bytes."""
    return (size + HEADER_BYTES + GRANULE_BYTES - 1) & ~(GRANULE_BYTES - 1)


@kernel(inline=True)
def initialise(machine, block, size_bytes, slot, fields):
    """Write a new object into `block` of `size_bytes`; its address. It is white, its note 0."""
    address = block + HEADER_BYTES
    touch(machine, block, HEADER_BYTES + fields * WORD_BYTES)
    store(machine, block, slot | fields << FIELDS_SHIFT)
    store(machine, block + WORD_BYTES, size_bytes >> 4)
    for field in range(fields):
        store(machine, address + field * WORD_BYTES, 0)
    return address


@kernel(inline=True)
def slot_of(machine, address):
    """The slot that the object was born in; another object may have it by now."""
    return load(machine, address - 16) & SLOT_MASK


@kernel(inline=True)
def fields_of(machine, address):
    """Number of its references."""
    return load(machine, address - 16) >> FIELDS_SHIFT


@kernel(inline=True)
def bytes_of(machine, address):
    """Bytes of its block."""
    return (load(machine, address - 8) & GRANULES_MASK) << 4


@kernel(inline=True)
def reference(machine, address, field):
    """Address that reference `field` holds, 0 null."""
    return load(machine, address + field * WORD_BYTES)


@kernel(inline=True)
def refer(machine, address, field, target):
    """Let reference `field` hold the address `target`."""
    store(machine, address + field * WORD_BYTES, target)


@kernel(inline=True)
def is_marked(machine, address):
    """Whether the object's mark is set."""
    return load(machine, address - 8) < 0


@kernel(inline=True)
def mark(machine, address):
    """Set its mark."""
    store(machine, address - 8, load(machine, address - 8) | MARK)


@kernel(inline=True)
def unmark(machine, address):
    """Clear its mark."""
    store(machine, address - 8, load(machine, address - 8) & ~MARK)


@kernel(inline=True)
def note(machine, address):
    """Its note, 0 at birth: an age, a count, or from FORWARDED on a granule."""
    return (load(machine, address - 8) >> NOTE_SHIFT) & NOTE_MASK


@kernel(inline=True)
def set_note(machine, address, value):
    """Write its note, 0 <= value <= NOTE_MASK."""
    word = load(machine, address - 8) & (MARK | GRANULES_MASK)
    store(machine, address - 8, word | value << NOTE_SHIFT)


@kernel(inline=True)
def forward(machine, address, target):
    """Say in the object at `address` that it lies, or will lie, at `target`."""
    set_note(machine, address, target >> 4)


@kernel(inline=True)
def forwarded(machine, address):
    """Where the object lies or will lie, 0 if it has not been moved."""
    granule = note(machine, address)
    return granule << 4 if granule >= FORWARDED else 0


@kernel
def move(machine, source, target, size_bytes):
    """Copy a block word by word, upwards; the two may overlap when `target` is the lower."""
    first, to = unsigned(source) >> unsigned(3), unsigned(target) >> unsigned(3)
    for word in range(size_bytes >> 3):
        machine.words[to + unsigned(word)] = machine.words[first + unsigned(word)]
