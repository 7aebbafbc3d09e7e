"""musl's mallocng 1.2.3, whole: its blocks lie where the real one's do."""

from heapwright.managers.card import Card

CARD = Card(
    summary="musl 1.2.3: groups of equal slots, in pages or in larger slots; exact to the address",
    versions=("1.2.3",),
    reference="heapwright.references.malloc",
    flies=False,
)
