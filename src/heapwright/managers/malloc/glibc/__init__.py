"""glibc's malloc (ptmalloc) from 2.31 to 2.43, whole: its addresses are the real one's."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="glibc 2.31 to 2.43: ptmalloc with thread caches, exact to the address",
    compared=("malloc", "graph"),
    versions=("2.31", "2.34", "2.35", "2.36", "2.39", "2.41", "2.43"),
    unproven=("2.34", "2.35", "2.39"),
    version_of="libc",
    recorded=True,
    units={
        **dict.fromkeys(("top_pad", "trim_threshold", "mmap_threshold"), "bytes"),
        **dict.fromkeys(("mxfast", "tcache_max"), "bytes"),
        **dict.fromkeys(("arena_max", "arena_test"), "arenas"),
        "mmap_max": "areas",
        "tcache_unsorted_limit": "chunks",
        "cores": "processors",
    },
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
        tries=(
            {"arena_max": 1},
            {"arena_max": 2},
            {"arena_max": 4},
            {"trim_threshold": 64 << 10},
            {"trim_threshold": 128 << 10},  # the default, which set so no longer grows
            {"trim_threshold": 1 << 20},
            {"mmap_threshold": 64 << 10},
            {"mmap_threshold": 1 << 20},
            {"mmap_threshold": 64 << 10, "trim_threshold": 64 << 10},
            {"tcache_count": 0},
            {"tcache_count": 0, "trim_threshold": 64 << 10},
            {"arena_max": 1, "trim_threshold": 64 << 10},
            {"arena_max": 2, "trim_threshold": 64 << 10},
            {"arena_max": 2, "mmap_threshold": 64 << 10, "trim_threshold": 64 << 10},
        ),
        ranges={
            "arena_max": (1, 16),
            "mmap_threshold": (16 << 10, 32 << 20),
            "trim_threshold": (16 << 10, 64 << 20),
            "top_pad": (4 << 10, 1 << 20),
            "tcache_count": (0, 127),
        },
        threaded=("arena_max", "arena_test"),
    ),
)
