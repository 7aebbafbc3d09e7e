"""Go 1.27's heap, whole: size-segregated spans under a concurrent mark-sweep collector."""

from heapwright.managers.card import Card, Deploy

CARD = Card(
    summary="Go 1.27: spans of size classes, concurrent mark-sweep, paced by GOGC and GOMEMLIMIT",
    serves=("graph",),
    compared=("malloc", "graph"),
    reference="heapwright.references.go",
    units={
        "gogc": "%",
        "gomemlimit": "bytes",
        "gomaxprocs": "processors",
        "gcstoptheworld": "choice",
    },
    deploy=Deploy(
        environment={"gogc": "GOGC", "gomemlimit": "GOMEMLIMIT"},
        tries=({"gogc": 25}, {"gogc": 50}, {"gogc": 75}, {"gogc": 150}, {"gogc": 200}),
        ranges={"gogc": (10, 400)},
    ),
    shares_below=16,
    names_slots=False,
    variants=(
        {"gcstoptheworld": 2, "gomaxprocs": 1},
        {"gogc": 0, "gomaxprocs": 1, "workers_work": 0},
    ),
    incremental=1,
)
