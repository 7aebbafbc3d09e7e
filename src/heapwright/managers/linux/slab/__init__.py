"""The classic slab allocator, as Bonwick had it and Linux 2.6."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 2.6's slab allocator: full, partial, free slabs, a processor's array, colours",
    compared=(),
    doors=True,
    flies=False,
)
