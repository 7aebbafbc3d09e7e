"""Linux's memblock: the boot allocator, ranges from the top of memory down."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 6.1's boot allocator: two lists of ranges, from the top of memory down",
    compared=(),
    flies=False,
)
