"""Linux's kmalloc alone: every request by its size, no cache of its own for anything."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 6.1's kmalloc alone: a general cache by size and flags, larger ones as frames",
    compared=(),
    doors=True,
    flies=False,
)
