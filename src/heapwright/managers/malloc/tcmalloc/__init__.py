"""gperftools' tcmalloc 2.10, whole: its addresses are the real one's."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="gperftools 2.10: thread and central caches over a page heap, exact to the address",
    versions=("2.10", "2.16", "2.18.1"),
    reference="heapwright.references.malloc",
    deploy=Deploy(
        environment={
            "aggressive_decommit": "TCMALLOC_AGGRESSIVE_DECOMMIT",
            "max_total_thread_cache_bytes": "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES",
            "release_rate": "TCMALLOC_RELEASE_RATE",
            "transfer_num_obj": "TCMALLOC_TRANSFER_NUM_OBJ",
        },
        library="libtcmalloc_minimal.so.4",
        package="libtcmalloc-minimal4",
        tries=({"release_rate": 10}, {"aggressive_decommit": 1}),
        ranges={"release_rate": (1, 10), "transfer_num_obj": (2, 512)},
        threaded=("max_total_thread_cache_bytes",),
    ),
    variants=({"aggressive_decommit": 1, "transfer_num_obj": 4},),
)
