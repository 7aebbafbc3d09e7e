"""First fit: the first block of the list that is large enough."""

from heapwright.managers.card import Card

CARD = Card(
    summary="first block of an address-ordered list that is large enough; boundary tags",
    ground=("*",),
    variants=(
        {"order": 1},
        {"order": 2, "coalescing": 1},
        {"coalescing": 1, "trim_bytes": 1},
    ),
)
