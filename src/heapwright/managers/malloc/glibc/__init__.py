"""glibc 2.36's malloc (ptmalloc), whole: its addresses are the real one's."""

from heapwright.managers.card import Card

CARD = Card(
    summary="glibc 2.36: ptmalloc with thread caches, exact to the address",
    compared=("malloc", "graph"),
    reference="heapwright.references.malloc",
)
