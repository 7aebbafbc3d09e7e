"""Java's direct memory on any malloc: what is reserved, refused and freed is what a JVM says."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Java's direct buffers on malloc: a limit, and a cleaner once the owner is found dead",
    compared=(),  # of a C program's requests it is a what-if
    ground=("*",),
    stands_on="glibc",
    flies=False,
    units={"page_align": "0 or 1", "collect_every": "buffers"},
    limit_knob="max_direct_memory",
    variants=({"collect_every": 7, "page_align": 1},),
)
