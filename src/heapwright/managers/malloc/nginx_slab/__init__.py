"""nginx's slab allocator 1.22, whole: the shared zone of a limit, a cache or a resolver."""

from heapwright.managers.card import Card

CARD = Card(
    summary="nginx 1.22's slabs: power-of-two slots in a zone of a fixed size, exact to the offset",
    compared=(),  # a zone that is full refuses: it is no malloc for a whole program
    versions=("1.22",),
    reference="heapwright.references.nginx",
    flies=False,
    units={"zone_bytes": "bytes"},
    variants=({"zone_bytes": 1 << 20},),
)
