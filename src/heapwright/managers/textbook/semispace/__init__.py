"""Semispace copying: the live move to the other half, the dead are never looked at."""

from heapwright.managers.card import Card

CARD = Card(
    summary="semispace copying (Cheney 1970) over bump allocation",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192},
        {"minimum_bytes": 8192, "keep_pages": 1},
        {"heap_bytes": 1048576, "keep_pages": 1},
    ),
)
