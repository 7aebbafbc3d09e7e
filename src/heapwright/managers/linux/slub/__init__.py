"""Linux's SLUB: caches of objects over the page allocator, behind kmalloc."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Linux 6.1's SLUB over its page allocator: kmalloc and dedicated caches",
    compared=(),
    doors=True,
    flies=False,
    variants=({"cpu_partial": 0, "min_partial": 1, "freelist_random": 1, "cpus": 3},),
)
