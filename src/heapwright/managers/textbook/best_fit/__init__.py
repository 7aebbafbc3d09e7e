"""Best fit: the smallest block that is large enough."""

from heapwright.managers.card import Card

CARD = Card(
    summary="smallest block that is large enough, of equals the first; boundary tags",
    ground=("*",),
    variants=(
        {"order": 1},
        {"coalescing": 1},
        {"growth_bytes": 0, "trim_bytes": 1},
    ),
)
