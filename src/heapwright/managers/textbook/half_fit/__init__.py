"""Half fit: one list a doubling, constant time, and up to half of the heap passed over."""

from heapwright.managers.card import Card

CARD = Card(
    summary="one list a doubling (Ogasawara 1995): every operation in constant time",
    ground=("*",),
    variants=({"growth_bytes": 0, "trim_bytes": 1},),
)
