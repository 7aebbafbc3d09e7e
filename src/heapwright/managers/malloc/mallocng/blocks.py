"""Where a block begins in its slot, what its head says, and what a slot was left with.

    slot   head│ spare units ... head│ block ........ 0 spare bytes│     next slot's head │
           └ distance, if the block begins later         └ how many, if more than 4

A block begins one unit later in its slot than the one before it, as far as there is room. What was
before stands in the slot's head; a nested group's first slots find there what a program, or another
group, has left. So those bytes are kept here, in the words at 8 past a multiple of 16, and they are
cleared and copied where calloc, realloc and the system clear and copy.

Source     musl 1.2.3 src/malloc/mallocng/meta.h: enframe, set_size, get_meta, get_nominal_size
Omits      what a program itself writes into its blocks; in the tunnel it writes nothing there
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.compiled import AHEAD
from heapwright.machine import PAGE_BYTES, load, read, store, touch
from heapwright.machine.address_space import PAGE_SHIFT, RESIDENT
from heapwright.managers.malloc.mallocng.state import GROUP, IN_BAND, UNIT, stride

# Bits of the word before a block: spare bytes of the slot before, then a byte that tells a large
# distance, the slot's number with 3 bits of spare bytes, the distance in units
FAR_SHIFT, SLOT_SHIFT, DISTANCE_SHIFT = 32, 40, 48
SPARE_MASK = 0xFFFF_FFFF
SLOT_MASK, SPARE_SHIFT, SPARE_MORE = 31, 5, 5
IN_A_GROUP, MOVED_ON = 6, 7  # instead of spare bytes: a nested group; the block begins later
WORD_MASK, WORD_TOP = 0xFFFF, 0x8000


@kernel(inline=True)
def head(machine, block):
    """The word before a block."""
    return load(machine, block - 8)


@kernel(inline=True)
def slot_byte(machine, block):
    """Its byte with the slot's number."""
    return (head(machine, block) >> SLOT_SHIFT) & 255


@kernel(inline=True)
def distance(machine, block):
    """Its last two bytes: from the first slot, or the offset in the slot, in units."""
    return (head(machine, block) >> DISTANCE_SHIFT) & WORD_MASK


@kernel(inline=True)
def write_head(machine, block, slot, units):
    """Write the slot's byte and the distance, and 0 into the byte before them."""
    kept = head(machine, block) & SPARE_MASK
    signed = (units ^ WORD_TOP) - WORD_TOP
    store(machine, block - 8, kept | (slot << SLOT_SHIFT) | (signed << DISTANCE_SHIFT))


@kernel(inline=True)
def write_slot(machine, block, slot):
    """Write the slot's byte alone."""
    kept = head(machine, block) & ~(255 << SLOT_SHIFT)
    store(machine, block - 8, kept | (slot << SLOT_SHIFT))


@kernel
def write_byte(machine, address, value):
    """Write a byte anywhere."""
    word, shift = address & -8, (address & 7) << 3
    touch(machine, address, 1)
    store(machine, word, (load(machine, word) & ~(255 << shift)) | (value << shift))


@kernel(inline=True)
def record_at(machine, block):
    """The record of a block's group (get_meta)."""
    units = distance(machine, block)
    if (head(machine, block) >> FAR_SHIFT) & 255:
        units = head(machine, block) & SPARE_MASK
    return load(machine, block - UNIT * units - UNIT)


@kernel
def slot_start(heap, record, block):
    """Where the slot of a block begins."""
    slot = slot_byte(heap.machine, block) & SLOT_MASK
    group = load(heap.machine, record + GROUP)
    return group + UNIT + stride(heap, record) * slot


@kernel
def nominal(machine, block, end):
    """Bytes of a block that were asked for (get_nominal_size), which looks at the slot's end."""
    spare = slot_byte(machine, block) >> SPARE_SHIFT
    if spare >= SPARE_MORE:
        spare = (load(machine, end - 4)) & SPARE_MASK
    return end - spare - block


@kernel
def set_size(machine, block, end, size):
    """Note what a block of `size` bytes leaves of its slot, which ends at `end`."""
    spare = end - block - size
    if spare:
        write_byte(machine, end - spare, 0)
    if spare >= SPARE_MORE:
        touch(machine, end - SPARE_MORE, SPARE_MORE)
        kept = load(machine, end - 4) & ~SPARE_MASK
        store(machine, end - 4, kept | spare)
        spare = SPARE_MORE
    write_slot(machine, block, (slot_byte(machine, block) & SLOT_MASK) | (spare << SPARE_SHIFT))


@kernel
def enframe(heap, record, slot, size):
    """The address of a block of `size` bytes in a slot; it begins further on than the last one."""
    machine, bytes_ = heap.machine, stride(heap, record)
    slack = (bytes_ - IN_BAND - size) // UNIT
    first = load(machine, record + GROUP) + UNIT
    block = first + bytes_ * slot
    end = block + bytes_ - IN_BAND
    read(machine, block - IN_BAND, IN_BAND)
    units = heap.mappings
    if slot_byte(machine, block):
        units = distance(machine, block) + 1
    units &= 255
    if units > slack:
        mask = slack
        mask |= mask >> 1
        mask |= mask >> 2
        mask |= mask >> 4
        units &= mask
        if units > slack:
            units -= slack + 1
    touch(machine, block - IN_BAND, IN_BAND)
    if units:
        write_head(machine, block, MOVED_ON << SPARE_SHIFT, units)
        block += UNIT * units
        touch(machine, block - IN_BAND, IN_BAND)
    write_head(machine, block, slot, (block - first) // UNIT)
    set_size(machine, block, end, size)
    return block


@kernel
def forget(machine, address, length):
    """What lies in pages that go back to the system is nobody's any more: they come again empty."""
    if AHEAD:
        return
    for page in range(address >> PAGE_SHIFT, (address + length) >> PAGE_SHIFT):
        if machine.pages[unsigned(page)] & RESIDENT:
            _clear_words(machine, page << PAGE_SHIFT, PAGE_BYTES)


@kernel
def _clear_words(machine, address, length):
    """Zeros in the heads within a range that begins at a multiple of 16."""
    for word in range(address + 8, address + length - 7, UNIT):
        if load(machine, word):
            store(machine, word, 0)
    rest = length & (UNIT - 1)
    if rest > 8:  # a part of the last head
        word = address + length - rest + 8
        store(machine, word, load(machine, word) & (-1 << ((rest - 8) << 3)))


@kernel
def clear_heads(machine, address, length):
    """What calloc does to the heads that a block holds."""
    if not AHEAD:
        _clear_words(machine, address, length)


@kernel
def copy_heads(machine, target, source, length):
    """What a copy of a block does to the heads that it holds."""
    if AHEAD:
        return
    for offset in range(8, length - 7, UNIT):
        value = load(machine, source + offset)
        if value != load(machine, target + offset):
            store(machine, target + offset, value)
    rest = length & (UNIT - 1)
    if rest > 8:
        offset, mask = length - rest + 8, -1 << ((rest - 8) << 3)
        kept = load(machine, target + offset) & mask
        store(machine, target + offset, kept | (load(machine, source + offset) & ~mask))


@kernel
def follow(machine, source, target, length):
    """Heads of pages that the system moved; `source` has none any more."""
    if AHEAD:
        return
    for word in range(8, length, UNIT):
        value = load(machine, source + word)
        if value:
            store(machine, target + word, value)
            store(machine, source + word, 0)
