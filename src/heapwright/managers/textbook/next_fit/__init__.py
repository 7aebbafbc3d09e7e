"""Next fit: first fit that goes on where the last search ended."""

from heapwright.managers.card import Card

CARD = Card(
    summary="first fit that goes on where the last search ended; boundary tags",
    ground=("*",),
    variants=(
        {"order": 1, "trim_bytes": 65536},
        {"order": 2},
        {"coalescing": 1},
    ),
)
