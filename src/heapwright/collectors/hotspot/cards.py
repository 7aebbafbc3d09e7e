"""Dirty cards of the old generation, in runs, and the object that covers a card's first byte.

Source     OpenJDK 17 src/hotspot/share/gc/shared/cardTable.cpp, cardTableRS.cpp (runs of dirty
           cards from the highest to the lowest), blockOffsetTable.cpp
Omits      that the real tables are memory: 1/512 of the heap each
"""

from heapwright.collectors.hotspot.layout import CARD_BYTES, CARD_SHIFT
from heapwright.compiler import kernel, unsigned


@kernel
def card_of(java, address):
    """The card that the byte at `address` lies in."""
    return (address - java.base) >> CARD_SHIFT


@kernel(inline=True)
def settle(java, block, bytes_):
    """An object begins at `block` of the old generation."""
    offset = block - java.base
    card = (offset + CARD_BYTES - 1) >> CARD_SHIFT
    last = (offset + bytes_ - 1) >> CARD_SHIFT
    while card <= last:
        java.first[unsigned(card)] = block
        card += 1


@kernel
def covering(java, card):
    """The block that covers the first byte of the card, where objects lie."""
    return java.first[unsigned(card)]


@kernel
def highest_dirty(java, lowest, card):
    """The highest dirty card from `lowest` to `card`, or `lowest` - 1."""
    while card >= lowest:
        if card & 7 == 7 and card - 7 >= lowest and not java.card_words[unsigned(card >> 3)]:
            card -= 8
        elif java.cards[unsigned(card)]:
            return card
        else:
            card -= 1
    return lowest - 1


@kernel
def lowest_dirty(java, card, highest):
    """The lowest dirty card from `card` to `highest`, or `highest` + 1."""
    while card <= highest:
        if card & 7 == 0 and card + 7 <= highest and not java.card_words[unsigned(card >> 3)]:
            card += 8
        elif java.cards[unsigned(card)]:
            return card
        else:
            card += 1
    return highest + 1


@kernel
def mark_all(java, start, past, dirty):
    """Let all cards of [start, past) be dirty, 1, or clean, 0."""
    for card in range(card_of(java, start), card_of(java, past - 1) + 1):
        java.cards[unsigned(card)] = dirty
