"""Mark-sweep: trace what lives, then free the rest where it lies."""

from heapwright.managers.card import Card

CARD = Card(
    summary="mark-sweep, eager or lazy, over size classes or a free list",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192, "sweeping": 0, "layout": 0, "growth_percent": 30},
        {"minimum_bytes": 8192, "sweeping": 0, "layout": 1, "growth_percent": 30},
        {"minimum_bytes": 8192, "sweeping": 1, "layout": 0, "growth_percent": 30},
        {"minimum_bytes": 8192, "sweeping": 1, "layout": 1, "growth_percent": 30},
        {"heap_bytes": 1048576, "layout": 1},
        {"heap_bytes": 1048576, "layout": 0},
    ),
)
