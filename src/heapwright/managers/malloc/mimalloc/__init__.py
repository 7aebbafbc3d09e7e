"""mimalloc 2.0.9, whole: its blocks lie where the real one's do, from the first segment on."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="mimalloc 2.0.9: free lists of pages in a thread's own segments, exact to the offset",
    versions=("2.0.9",),
    reference="heapwright.references.malloc",
    deploy=Deploy(
        environment={
            "decommit_delay": "MIMALLOC_DECOMMIT_DELAY",
            "max_segment_reclaim": "MIMALLOC_MAX_SEGMENT_RECLAIM",
        },
        library="libmimalloc.so.2",
        package="libmimalloc2.0",
        tries=({"decommit_delay": 0},),
        ranges={"decommit_delay": (0, 10_000)},
        at_once={"decommit_delay": 0},
        threaded=("max_segment_reclaim",),
    ),
    variants=({"decommit_delay": 0},),
)
