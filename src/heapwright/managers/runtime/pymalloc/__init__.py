"""CPython's small-object allocator: its addresses are the real one's, given the arenas' bases."""

from heapwright.managers.card import Card

CARD = Card(
    summary="CPython's obmalloc: size-classed pools in arenas; over 512 bytes malloc's business",
    compared=(),  # of a C program's requests it is a what-if
    ground=("*",),
    stands_on="glibc",
    versions=("3.9", "3.11", "3.12", "3.13", "3.14", "3.15"),
    version_of="python",
    reference="heapwright.references.cpython",
    flies=False,
    variants=({"version": 3_009_000},),
)
