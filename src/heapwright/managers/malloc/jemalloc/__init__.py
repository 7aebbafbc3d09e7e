"""jemalloc 5.3.0, whole: its addresses are the real one's."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="jemalloc 5.3.0: thread caches over arenas of slabs, decay, exact to the address",
    versions=("5.3",),
    reference="heapwright.references.malloc",
    deploy=Deploy(
        tunables={
            "narenas": "narenas",
            "dirty_decay_ms": "dirty_decay_ms",
            "muzzy_decay_ms": "muzzy_decay_ms",
            "tcache": "tcache",
            "lg_tcache_max": "lg_tcache_max",
            "oversize_threshold": "oversize_threshold",
        },
        variable="MALLOC_CONF",
        equals=":",
        between=",",
        flags=("tcache",),
        library="libjemalloc.so.2",
        package="libjemalloc2",
        tries=(
            {"dirty_decay_ms": 0, "muzzy_decay_ms": 0},
            {"dirty_decay_ms": 1000, "muzzy_decay_ms": 0},
            {"narenas": 1},
            {"narenas": 2, "dirty_decay_ms": 0, "muzzy_decay_ms": 0},
        ),
        ranges={"dirty_decay_ms": (0, 60_000), "narenas": (1, 16)},
        threaded=("narenas",),
        at_once={"dirty_decay_ms": 0, "muzzy_decay_ms": 0},
    ),
    variants=({"dirty_decay_ms": 0, "narenas": 1, "lg_tcache_max": 12},),
)
