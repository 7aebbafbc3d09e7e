"""Two-level segregated fit: good fit in constant time, made for real-time systems."""

from heapwright.managers.card import Card

CARD = Card(
    summary="two-level segregated fit (Masmano et al. 2004): every operation in constant time",
    ground=("*",),
    variants=({"second_level_shift": 2, "growth_bytes": 4096, "trim_bytes": 8192},),
)
