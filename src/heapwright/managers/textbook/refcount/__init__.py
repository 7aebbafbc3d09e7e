"""Reference counting over size classes, with a trace behind it for what cycles keep."""

from heapwright.managers.card import Card

CARD = Card(
    summary="reference counting with a backup trace, over size classes",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192},
        {"backup": 0, "storm_objects": 2},
        {"heap_bytes": 2097152},
    ),
)
