"""Incremental tri-colour mark-sweep: the program pays for the collection as it allocates."""

from heapwright.managers.card import Card

CARD = Card(
    summary="incremental tri-colour mark-sweep with a choice of write barriers; paid by allocation",
    serves=("graph",),
    limit_knob="heap_bytes",
    variants=(
        {"barrier": 0, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 0},
        {"barrier": 1, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 64},
        {"barrier": 2, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 128},
        {"barrier": 3, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 192},
        {"barrier": 4, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 256},
    ),
    incremental=4,
)
