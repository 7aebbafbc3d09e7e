"""HotSpot's garbage-first collector (G1) with one thread, of JDK 17 and 21."""

from heapwright.managers.card import Card

CARD = Card(
    summary="HotSpot's G1, one thread: regions, young and mixed collections, a pause goal",
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
        "G1HeapRegionSize": "bytes",
        "MaxGCPauseMillis": "ms",
        "MaxTenuringThreshold": "collections",
        "TargetSurvivorRatio": "%",
        "InitiatingHeapOccupancyPercent": "%",
        "G1NewSizePercent": "%",
        "G1MaxNewSizePercent": "%",
        "G1HeapWastePercent": "%",
        "G1MixedGCLiveThresholdPercent": "%",
        "G1OldCSetRegionThresholdPercent": "%",
        "UseCompressedOops": "choice",
        "pause_base_us": "us",
        "copied_bytes_per_us": "bytes",
    },
    variants=(
        {
            "Xmx": 12 << 20,
            "Xmn": 2 << 20,
            "InitiatingHeapOccupancyPercent": 0,
            "marking_work": 1000,
            "G1HeapWastePercent": 0,
        },
    ),
)
