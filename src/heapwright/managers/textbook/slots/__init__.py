"""A fixed-size pool: slots of one size, handed out and taken back in a few instructions."""

from heapwright.managers.card import Card

CARD = Card(
    summary="a pool of slots of one size; what does not fit passes to a heap beneath",
    ground=("*",),
    compared=(),  # made for programs of one kind
    variants=(
        {"slot_bytes": 16},
        {"slot_bytes": 2048, "chunk_bytes": 8192},
    ),
)
