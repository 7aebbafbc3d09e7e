"""A Java object in memory, and the array that holds what the program refers to.

    address - 16   address - 8             address
    │ mark word   │ shape  │ bytes / 8   │ │ reference 0 │ reference 1 │ ... other bytes
      64 bit        32 bit   32 bit          4 bytes each, or 8

Terms      mark word: age << 3, or with MARKED in its low bits "found live", and with an address
           above them where the object lies, or will lie, instead, the age in the highest byte;
           shape: the number of fields, and whether it is an instance: an object of a class, where
           all others are arrays. Of those that are reference objects `entry` tells which
           table: an array in the old generation whose element s refers to the object of slot s,
           null when it is dead
Invariant  a block is a multiple of 8 bytes, 16 at least; its first `fields` elements refer to
           objects or are 0                                          (checks of the managers)
Source     OpenJDK 17 src/hotspot/share/oops/markWord.hpp, arrayOop.hpp, compressedOops.hpp
Omits      classes and their pointers: an object is an array, Object[] where it has references and
           byte[] where it has none, as the driver of the real one makes it; locks and hash codes

An object of n bytes is byte[n], or with references Object[n / 4], rounded up, or Object[n / 8]
without compressed references. Both have 16 bytes of header. A compressed reference counts granules
of 8 bytes from the heap's base; 0 is null, as no object's first element lies there.

What the program holds lies in the table and not in frames: a slot that dies is nulled there. So a
driver of the real JVM can hold exactly the same, and stacks cost nothing to scan. The table's
elements are the mutator's handles; here only their addresses matter, for cards.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.mutator import REFERENCES, SLOTS, Mutator
from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine, load, store, touch

HEADER_BYTES = 16
MARKED = 3  # low bits of a mark word
AGE_SHIFT, MOST_AGE = 3, 15
KEPT_AGE_SHIFT = 56  # of the age in a mark word that holds an address
ADDRESS_MASK = (1 << KEPT_AGE_SHIFT) - 1 & ~MARKED
BYTES_SHIFT, FIELDS_MASK = 32, (1 << 31) - 1
INSTANCE = 1 << 31  # of a shape
CARD_SHIFT = 9
CARD_BYTES = 1 << CARD_SHIFT
MOST_BYTES = 1 << 34  # of an object: 2^31 elements of 8 bytes


@record(
    "base",  # address where the reserved heap begins; 0 before it is mapped
    "reserved_bytes",
    "shift",  # log2 of the bytes of a reference: 2 or 3
    "table",  # address of the table's first element
    "slots",  # of the table
    "finalizers",  # address where the JVM keeps the list of Finalizers: see referring.py
)
class Java(NamedTuple):
    """What an object's words are read with, and the card table."""

    narrow: np.ndarray  # uint32[address / 4]  the machine's words, in halves
    cards: np.ndarray  # uint8[(address - base) >> CARD_SHIFT]  1: dirty
    card_words: np.ndarray  # int64[...]  the same, eight at a time
    first: np.ndarray  # int64[card]  of the old generation: the block that covers its first byte
    entry: np.ndarray  # int32[(address - base) / 8]  of an instance: 1 + its entry among the
    # declared references, 0 none; of all else stale
    fields: np.ndarray  # int64[word]


def java(machine: Machine, reserved_bytes: int, mutator: Mutator, *, compressed: bool) -> Java:
    """A heap that is not mapped yet."""
    slots, declares = int(mutator.counts[SLOTS]), int(mutator.counts[REFERENCES]) > 0
    cards = reserve((reserved_bytes >> CARD_SHIFT) + 64 & -8, np.uint8)
    return Java(
        narrow=machine.words.view(np.uint32),
        cards=cards,
        card_words=cards.view(np.int64),
        first=reserve((reserved_bytes >> CARD_SHIFT) + 2, np.int64),
        entry=reserve(reserved_bytes >> 3 if declares else 0, np.int32),
        fields=words(
            Java, reserved_bytes=reserved_bytes, shift=2 if compressed else 3, slots=slots
        ),
    )


def table_bytes(slots: int, *, compressed: bool) -> int:
    """Bytes of the table."""
    return HEADER_BYTES + (slots << (2 if compressed else 3)) + 7 & -8


@kernel(inline=True)
def object_bytes(size):
    """Bytes of the block for an object of `size` bytes."""
    return (size + HEADER_BYTES + 7) & ~7


@kernel(inline=True)
def reference(java, machine, address, field):
    """Address that reference `field` holds, 0 null."""
    if java.shift == 3:
        return load(machine, address + (field << 3))
    narrow = np.int64(java.narrow[unsigned(address + (field << 2)) >> unsigned(2)])
    return java.base + (narrow << 3) if narrow else 0


@kernel(inline=True)
def refer(java, machine, address, field, target):
    """Let reference `field` hold the address `target`, 0 null."""
    if java.shift == 3:
        store(machine, address + (field << 3), target)
        return
    narrow = (target - java.base) >> 3 if target else 0
    java.narrow[unsigned(address + (field << 2)) >> unsigned(2)] = np.uint32(narrow)


@kernel(inline=True)
def initialise(java, machine, block, bytes_, fields):
    """Write a new object into the block; its address. HotSpot clears all of its bytes."""
    touch(machine, block, bytes_)
    store(machine, block, 0)
    store(machine, block + 8, bytes_ >> 3 << BYTES_SHIFT | fields)
    for word in range(((fields << java.shift) + 7) >> 3):
        store(machine, block + HEADER_BYTES + (word << 3), 0)
    return block + HEADER_BYTES


@kernel
def fill(machine, block, bytes_):
    """An object nobody refers to, so that the heap can be walked over the bytes."""
    if bytes_:
        touch(machine, block, HEADER_BYTES)
        store(machine, block, 0)
        store(machine, block + 8, bytes_ >> 3 << BYTES_SHIFT)


@kernel(inline=True)
def block_bytes(machine, block):
    """Bytes of the block."""
    return load(machine, block + 8) >> BYTES_SHIFT << 3


@kernel
def usable(heap, address, size):
    """What the object's block has after its header."""
    return block_bytes(heap.machine, address - HEADER_BYTES) - HEADER_BYTES


@kernel
def extent(heap, address, size):
    """The object's block from its header on."""
    return address - HEADER_BYTES, block_bytes(heap.machine, address - HEADER_BYTES)


@kernel(inline=True)
def fields_of(machine, address):
    """Number of the object's references."""
    return load(machine, address - 8) & FIELDS_MASK


@kernel(inline=True)
def is_marked(machine, block):
    """Whether the block's object was found live."""
    return load(machine, block) & MARKED == MARKED


@kernel(inline=True)
def reference_at(java, machine, place):
    """Address that the reference at `place` holds, 0 null."""
    return reference(java, machine, place, 0)


@kernel(inline=True)
def refer_at(java, machine, place, target):
    """Let the reference at `place` hold the address `target`, 0 null."""
    refer(java, machine, place, 0, target)


@kernel(inline=True)
def forward(machine, block, address, age):
    """Say in a marked block where its object will lie, and of what age."""
    store(machine, block, age << KEPT_AGE_SHIFT | address | MARKED)


@kernel(inline=True)
def moved_to(machine, address):
    """Where the object that was forwarded lies, or will lie."""
    return load(machine, address - HEADER_BYTES) & ADDRESS_MASK


@kernel(inline=True)
def moved_if_reached(machine, address):
    """Where the object was copied to; 0 if it was not reached."""
    word = load(machine, address - HEADER_BYTES)
    return word & ~MARKED if word & MARKED == MARKED else 0


@kernel
def copy_object(java, machine, source, target, bytes_):
    """Copy a block: what a replay knows of its content, header and references, word by word."""
    touch(machine, target, bytes_)
    shape = load(machine, source + 8)
    if unlikely(shape & INSTANCE):
        tell_entry(java, target + HEADER_BYTES, entry_of(java, source + HEADER_BYTES))
    for word in range((HEADER_BYTES + ((shape & FIELDS_MASK) << java.shift) + 7) >> 3):
        store(machine, target + (word << 3), load(machine, source + (word << 3)))


@kernel(inline=True)
def entry_of(java, address):
    """1 + the instance's entry among the declared references, 0 none."""
    return np.int64(java.entry[unsigned(address - java.base) >> unsigned(3)])


@kernel(inline=True)
def tell_entry(java, address, entry):
    """Let `entry_of` the instance be this."""
    java.entry[unsigned(address - java.base) >> unsigned(3)] = np.int32(entry)


@kernel(inline=True)
def first_place(java, instance):
    """Where a reference object has its target: with compressed class pointers the header has 12
    bytes, and we count fields from 16 on."""
    return instance - 4 if java.shift == 2 else instance


@kernel(inline=True)
def dirty(java, place):
    """The card of the reference at the address `place` is dirty."""
    java.cards[unsigned(place - java.base) >> unsigned(CARD_SHIFT)] = 1


@kernel(inline=True)
def entered(java, slot):
    """The program holds a new object in `slot`: the table was written there."""
    dirty(java, java.table + (slot << java.shift))


@kernel(inline=True)
def write(java, machine, address, field, target):
    """The program's store: the reference, and unless it is null its card, wherever it lies; of an
    instance its header's. A field for which the array has no element is left out: see
    recorded.py."""
    shape = load(machine, address - 8)
    if field >= shape & FIELDS_MASK:
        return
    refer(java, machine, address, field, target)
    if shape & INSTANCE:
        dirty(java, address - HEADER_BYTES)
    elif target:
        dirty(java, address + (field << java.shift))
