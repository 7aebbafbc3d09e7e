"""A stack: frames as with alloca, one for each thread, growing down from the top of its area."""

from heapwright.managers.card import Card

CARD = Card(
    summary="frames as with alloca: freed when all above are dead; overflow is fatal",
    compared=(),  # made for programs of one kind
    variants=({"limit_bytes": 1 << 20},),
)
