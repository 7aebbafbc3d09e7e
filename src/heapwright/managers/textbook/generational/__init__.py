"""Generational: a nursery that is copied often, and an old generation that is collected seldom."""

from heapwright.managers.card import Card

CARD = Card(
    summary="generational: a copied nursery over mark-sweep or mark-compact",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"minimum_bytes": 8192, "remembering": 0, "old": 0, "tenure": 1, "nursery_bytes": 16384},
        {"minimum_bytes": 8192, "remembering": 0, "old": 1, "tenure": 2, "nursery_bytes": 16384},
        {"minimum_bytes": 8192, "remembering": 1, "old": 0, "tenure": 3, "nursery_bytes": 16384},
        {"minimum_bytes": 8192, "remembering": 1, "old": 1, "tenure": 1, "nursery_bytes": 16384},
        {"minimum_bytes": 8192, "remembering": 1, "old": 1, "tenure": 0, "nursery_bytes": 16384},
        {"heap_bytes": 1048576, "nursery_bytes": 16384, "remembering": 1},
    ),
)
