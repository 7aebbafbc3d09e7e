"""Worst fit: the largest block, so that what remains of it stays useful."""

from heapwright.managers.card import Card

CARD = Card(
    summary="largest block, of equals the first; boundary tags",
    ground=("*",),
    variants=({"order": 2, "coalescing": 1},),
)
