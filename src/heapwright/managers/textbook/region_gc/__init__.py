"""Region-based collection: mark everything, then empty the regions in which least lives."""

from heapwright.managers.card import Card

CARD = Card(
    summary="region-based: marks the heap, evacuates the emptiest regions (garbage first)",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192, "region_bytes": 16384, "evacuate_percent": 65, "keep_pages": 0},
        {"minimum_bytes": 8192, "region_bytes": 16384, "evacuate_percent": 100, "keep_pages": 1},
        {"minimum_bytes": 8192, "region_bytes": 16384, "evacuate_percent": 0, "keep_pages": 0},
        {"heap_bytes": 1048576, "region_bytes": 16384},
    ),
)
