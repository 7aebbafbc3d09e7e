"""HotSpot's serial collector, of JDK 11, 17, 21 and 25."""

from heapwright.managers.card import Card

CARD = Card(
    summary="HotSpot's serial collector: copied eden and survivors, old that slides",
    serves=("graph",),
    compared=(),
    reference="heapwright.references.hotspot",
    versions=("11.0", "17.0", "21.0", "25.0"),
    version_of="java",
    limit_knob="Xmx",
    names_slots=False,
    units={
        "Xmx": "bytes",
        "Xms": "bytes",
        "Xmn": "bytes",
        "MaxTenuringThreshold": "collections",
        "TargetSurvivorRatio": "%",
        "PretenureSizeThreshold": "bytes",
        "UseTLAB": "choice",
        "TLABSize": "bytes",
        "UseCompressedOops": "choice",
        "MarkSweepDeadRatio": "%",
    },
    variants=({"Xmx": 4 << 20, "UseTLAB": 0, "UseCompressedOops": 0},),
)
