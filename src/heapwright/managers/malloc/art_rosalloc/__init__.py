"""ART 11's RosAlloc: Android's runs of slots in brackets of sizes, exact to the address."""

from heapwright.managers.card import Card

CARD = Card(
    summary="Android 11's RosAlloc: runs of slots by bracket, threads' own up to 128 bytes; exact",
    compared=(),  # a runtime's heap: it is no malloc for a whole program
    versions=("11.0",),
    reference="heapwright.references.android",
    flies=False,
    units={"capacity_bytes": "bytes"},
    variants=({"capacity_bytes": 1 << 20, "page_release_mode": 4},),
)
