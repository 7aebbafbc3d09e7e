"""The binary buddy system, lowest address first, on a heap that grows by brk."""

from heapwright.managers.card import Card

CARD = Card(
    summary="power-of-two blocks, split and merged in halves, lowest address first",
    ground=("*",),
    variants=({"growth_bytes": 4096},),
)
