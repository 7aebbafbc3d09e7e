"""HotSpot's parallel collector with one thread, of JDK 17 and 21."""

from heapwright.managers.card import Card

CARD = Card(
    summary="HotSpot's parallel collector, one thread: copied eden and survivors, old that slides",
    serves=("graph",),
    compared=(),
    reference="heapwright.references.hotspot",
    versions=("17.0", "21.0"),
    version_of="java",
    limit_knob="Xmx",
    names_slots=False,
    units={
        "Xmx": "bytes",
        "Xms": "bytes",
        "Xmn": "bytes",
        "MaxTenuringThreshold": "collections",
        "HeapMaximumCompactionInterval": "collections",
        "UseTLAB": "choice",
        "TLABSize": "bytes",
        "UseCompressedOops": "choice",
    },
    variants=({"Xmx": 6 << 20, "UseTLAB": 0, "UseCompressedOops": 0},),
)
