"""Dalvik's heap of Android 4.4: spaces of dlmalloc, marked and swept, grown after collections."""

from heapwright.managers.card import Card

UNITS = dict.fromkeys(
    ("heapsize", "heapgrowthlimit", "heapstartsize", "heapmaxfree", "heapminfree"), "bytes"
) | {"heaptargetutilization": "%"}

CARD = Card(
    summary="Android 4.4's Dalvik: mark-sweep over dlmalloc; starts small, grows after collections",
    serves=("graph",),
    compared=(),
    versions=("4.4",),
    reference="heapwright.references.android",
    limit_knob="heapsize",
    units=UNITS,
    variants=({"heapstartsize": 1 << 18, "heapminfree": 1 << 17, "heapmaxfree": 1 << 18},),
)
