"""A region: one pool in nginx's manner that serves the whole program."""

from heapwright.managers.card import Card

CARD = Card(
    summary="nginx's pool: bumped blocks, a list of large ones; small objects die together",
    ground=("*",),
    compared=(),  # made for programs of one kind
    variants=(
        {"pool_bytes": 160, "growth_bytes": 0},
        {"destroy": 1},
    ),
)
