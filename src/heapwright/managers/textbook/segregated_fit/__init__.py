"""Segregated fit: quick lists of equal blocks over bins of mergeable ones."""

from heapwright.managers.card import Card

CARD = Card(
    summary="quick lists by size class over bins of mergeable blocks; boundary tags",
    ground=("*",),
    variants=(
        {"quick_blocks": 0},
        {"quick_blocks": 2, "refill_bytes": 0, "growth_bytes": 0},
    ),
)
