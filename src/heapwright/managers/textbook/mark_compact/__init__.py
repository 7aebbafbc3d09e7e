"""Sliding mark-compact (Lisp2): allocation is a bump, and the living close ranks."""

from heapwright.managers.card import Card

CARD = Card(
    summary="sliding mark-compact (Lisp2) over bump allocation",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192},
        {"minimum_bytes": 8192, "keep_pages": 1},
        {"heap_bytes": 1048576},
    ),
)
