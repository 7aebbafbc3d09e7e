"""glibc 2.36's malloc (ptmalloc), whole: its addresses are the real one's."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="glibc 2.36: ptmalloc with thread caches, exact to the address",
    compared=("malloc", "graph"),
    versions=("2.36",),
    recorded=True,
    reference="heapwright.references.malloc",
    deploy=Deploy(
        environment={
            "arena_max": "MALLOC_ARENA_MAX",
            "arena_test": "MALLOC_ARENA_TEST",
            "mmap_max": "MALLOC_MMAP_MAX_",
            "mmap_threshold": "MALLOC_MMAP_THRESHOLD_",
            "top_pad": "MALLOC_TOP_PAD_",
            "trim_threshold": "MALLOC_TRIM_THRESHOLD_",
        },
        tunables={
            knob: f"glibc.malloc.{knob}"
            for knob in ("mxfast", "tcache_count", "tcache_max", "tcache_unsorted_limit")
        },
    ),
)
