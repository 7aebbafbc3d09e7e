"""What the old generation remembers: where its references to young objects may be.

    OBJECTS   write ─► the object's header says "remembered", once ─► a list of objects
    CARDS     write ─► cards[address >> 9] = 1 ─► at a collection the dirty cards are looked for,
                       and the objects whose header lies in one

Terms      card: CARD_BYTES of the heap; dirty: an object whose header it holds was written to;
           starts: a bit for each granule, set where an object of the old generation begins
Invariant  an old object that refers to a young one is remembered, or its card is dirty   (tests,
           and the manager's check)
Source     Ungar, "Generation scavenging", 1984 (the set of objects); Wilson and Moher, "A card-
           marking scheme for controlling intergenerational references", OOPSLA Workshop 1989;
           Hoelzle, "A fast write barrier for generational garbage collectors", 1993
Omits      slots as entries; the memory of cards and starts, 1/512 and 1/128 of the heap: they lie
           beside the machine

The set costs a test at each write and nothing for what is not written; cards cost a store at each
write, and a look at every card of the old generation at each collection.
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.mark import MarkStack, mark_stack, pop, push
from heapwright.collectors.objects import HEADER_BYTES, note, set_note
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT

OBJECTS, CARDS = range(2)  # kinds
CARD_SHIFT = 9
CARD_BYTES = 1 << CARD_SHIFT
STARTS_SHIFT = 10  # log2 of the bytes of heap under one word of `starts`: two cards


@record(
    "kind",
    "listed",  # entries of `objects`
)
class Remembered(NamedTuple):
    """Of the kind that is not used, the arrays are empty."""

    objects: MarkStack  # addresses of remembered objects
    cards: np.ndarray  # uint8[address >> CARD_SHIFT]  1: dirty
    starts: np.ndarray  # int64[address >> STARTS_SHIFT]  bit i: an object begins at granule i
    fields: np.ndarray  # int64[word]


def remembered(kind):
    """Nothing remembered."""
    cards = kind == CARDS
    return Remembered(
        mark_stack(),
        reserve(BREAK_LIMIT >> CARD_SHIFT if cards else 1, np.uint8),
        reserve(BREAK_LIMIT >> STARTS_SHIFT if cards else 1, np.int64),
        words(Remembered, kind=kind),
    )


@kernel(inline=True)
def remember(machine, remembered, address):
    """The old object at `address` refers to a young one now."""
    if remembered.kind == CARDS:
        remembered.cards[unsigned(address - HEADER_BYTES) >> unsigned(CARD_SHIFT)] = 1
    elif not note(machine, address):
        set_note(machine, address, 1)
        push(machine, remembered.objects, address)
        remembered.listed += 1


@kernel(inline=True)
def is_remembered(machine, remembered, address):
    """Whether a collection would look at the old object."""
    if remembered.kind == CARDS:
        card = remembered.cards[unsigned(address - HEADER_BYTES) >> unsigned(CARD_SHIFT)]
        return card != 0 and _begins(remembered, address - HEADER_BYTES)
    return note(machine, address) != 0


@kernel
def _begins(remembered, block):
    """Whether `starts` knows of an object there."""
    return (remembered.starts[unsigned(block >> STARTS_SHIFT)] >> ((block >> 4) & 63)) & 1 != 0


@kernel(inline=True)
def settle(remembered, block):
    """An object begins at `block` of the old generation."""
    if remembered.kind == CARDS:
        word = unsigned(block >> STARTS_SHIFT)
        remembered.starts[word] |= np.int64(1) << ((block >> 4) & 63)


@kernel
def recall(machine, remembered, end, grey):
    """Push every object that is remembered on the stack `grey` and forget it; `end` is that of the
    old generation. Returns how many objects, or cards, there were."""
    count = 0
    if remembered.kind == OBJECTS:
        count = remembered.listed
        for _ in range(count):
            address = pop(machine, remembered.objects)
            set_note(machine, address, 0)
            push(machine, grey, address)
        remembered.listed = 0
        return count
    for card in range(BREAK_BASE >> CARD_SHIFT, (end + CARD_BYTES - 1) >> CARD_SHIFT):
        if remembered.cards[unsigned(card)]:
            remembered.cards[unsigned(card)] = 0
            _push_card(machine, remembered, card, grey)
            count += 1
    return count


@kernel
def _push_card(machine, remembered, card, grey):
    """Push the objects whose header lies in the card."""
    half = (card & 1) << 5  # a word of `starts` is two cards
    bits = (remembered.starts[unsigned(card >> 1)] >> half) & 0xFFFFFFFF
    while bits:
        granule = trailing_zeros(bits)
        push(machine, grey, (card << CARD_SHIFT) + (granule << 4) + HEADER_BYTES)
        bits &= bits - 1


@kernel
def forget_starts(remembered, end):
    """Before the old generation, which ends at `end`, is settled anew."""
    if remembered.kind == CARDS:
        for word in range(BREAK_BASE >> STARTS_SHIFT, (end >> STARTS_SHIFT) + 1):
            remembered.starts[unsigned(word)] = 0
