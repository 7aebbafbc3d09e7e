"""Linux's vmalloc: areas of whole pages in the kernel's virtual range."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 6.1's vmalloc: whole pages in the lowest hole, a guard page behind each",
    compared=(),
    flies=False,
)
