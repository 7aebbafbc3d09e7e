"""The Fibonacci buddy system, lowest address first, on a heap that grows by brk."""

from heapwright.managers.card import Card

CARD = Card(
    summary="blocks of Fibonacci sizes, split into the two sizes before, lowest address first",
    variants=({"growth_bytes": 4096},),
)
