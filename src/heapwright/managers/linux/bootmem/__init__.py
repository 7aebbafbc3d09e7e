"""Linux's bootmem: the boot allocator until 4.19, a bit for each frame."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux's boot allocator until 4.19: a bit a frame, first fit, the last page shared",
    compared=(),
    flies=False,
)
