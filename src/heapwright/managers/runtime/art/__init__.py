"""ART's heap of Android 11 by its published rules: regions copied out of, large objects apart."""

from heapwright.managers.card import Card

UNITS = dict.fromkeys(
    ("heapsize", "heapgrowthlimit", "heapstartsize", "heapmaxfree", "heapminfree"), "bytes"
) | {"heaptargetutilization": "%", "multiplier": "%", "native_pixels_bytes": "bytes"}

CARD = Card(
    summary="Android 11's ART by its rules: regions evacuated below 75 % live, large objects apart",
    serves=("graph",),
    compared=(),
    versions=("11.0",),
    unproven=("11.0",),
    limit_knob="heapsize",
    units=UNITS,
    variants=({"heapstartsize": 1 << 19, "heapmaxfree": 1 << 19, "native_pixels_bytes": 12288},),
)
