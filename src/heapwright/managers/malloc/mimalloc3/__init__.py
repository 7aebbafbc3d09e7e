"""mimalloc 3.4.3, whole: its blocks lie where the real one's do, from the first arena on."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="mimalloc 3.4.3: pages in arenas that all threads share, exact to the offset",
    compared=(),  # distributions carry version 2 still; name it where version 3 is deployed
    versions=("3.4.3",),
    reference="heapwright.references.malloc",
    deploy=Deploy(
        environment={
            "purge_delay": "MIMALLOC_PURGE_DELAY",
            "page_full_retain": "MIMALLOC_PAGE_FULL_RETAIN",
            "page_max_candidates": "MIMALLOC_PAGE_MAX_CANDIDATES",
            "page_reclaim_on_free": "MIMALLOC_PAGE_RECLAIM_ON_FREE",
        },
        library="libmimalloc.so.3",
        package="libmimalloc3",
        tries=({"purge_delay": 0},),
        ranges={"purge_delay": (0, 10_000)},
        at_once={"purge_delay": 0},
    ),
    variants=({"purge_delay": 0, "page_reclaim_on_free": 1},),
)
