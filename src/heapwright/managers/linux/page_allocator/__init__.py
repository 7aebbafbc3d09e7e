"""Linux's page allocator: frames in powers of two, by zone and kind."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 6.1's page allocator alone: every request a block of 2^n frames",
    compared=(),
    doors=True,
    flies=False,
    variants=({"cpus": 3},),
)
