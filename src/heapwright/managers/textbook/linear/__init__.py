"""A linear (bump) allocator over brk."""

from heapwright.managers.card import Card

CARD = Card(
    summary="bump pointer; a freed hole is never used again",
    ground=("*",),
)
