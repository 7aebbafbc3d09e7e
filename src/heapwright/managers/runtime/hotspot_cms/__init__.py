"""HotSpot's concurrent mark-sweep collector, of JDK 11, with one thread that copies."""

from heapwright.managers.card import Card

CARD = Card(
    summary="HotSpot's CMS, one thread: young is copied into free lists that a cycle sweeps",
    serves=("graph",),
    compared=(),
    reference="heapwright.references.hotspot",
    versions=("11.0",),
    version_of="java",
    limit_knob="Xmx",
    names_slots=False,
    units={
        "Xmx": "bytes",
        "Xms": "bytes",
        "Xmn": "bytes",
        "MaxTenuringThreshold": "collections",
        "TargetSurvivorRatio": "%",
        "CMSInitiatingOccupancyFraction": "%",
        "UseTLAB": "choice",
        "TLABSize": "bytes",
    },
    variants=(
        {
            "Xmx": 4 << 20,
            "Xmn": 1 << 20,
            "UseTLAB": 0,
            "CMSInitiatingOccupancyFraction": 1,
            "marking_work": 1000,
        },
    ),
)
