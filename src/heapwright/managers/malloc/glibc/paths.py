"""Which ways a request can take through ptmalloc; `heap.paths` counts them."""

# heap.paths: how often each path was taken
PATHS = (
    "tcache hit",
    "fastbin hit",
    "small bin hit",
    "unsorted exact fit",
    "last remainder",
    "large bin",
    "next bin",
    "top",
    "system",
    "tcache put",
    "fastbin put",
    "coalesce",
    "consolidate",
)
(
    TCACHE_HIT,
    FASTBIN_HIT,
    SMALL_BIN_HIT,
    UNSORTED_FIT,
    REMAINDER_FIT,
    LARGE_BIN_FIT,
    NEXT_BIN_FIT,
    TOP_FIT,
    SYSTEM_CALL,
    TCACHE_PUT,
    FASTBIN_PUT,
    COALESCE,
    CONSOLIDATE,
) = range(len(PATHS))
