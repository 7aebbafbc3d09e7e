"""A JVM's run-time areas against what real ones, 17 and 25, said when each was full."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.insight.areas import areas, direct_limit, options

K, M = 1 << 10, 1 << 20
MEASURED = [  # options, area, after so many pieces: by java 17.0.15 and 25.0.3
    ({"Xss": 512 * K}, "Java stack, a thread", (4772, 4772)),
    ({"Xss": M}, "Java stack, a thread", (10730, 10729)),
    ({"Xss": 2 * M}, "Java stack, a thread", (22646, 22645)),
    ({"MaxMetaspaceSize": 16 * M}, "metaspace", (2655, 2656)),
    ({"MaxMetaspaceSize": 24 * M}, "metaspace", (4028, 4029)),
    ({"MaxMetaspaceSize": 32 * M}, "metaspace", (5388, 5389)),
    ({"CompressedClassSpaceSize": M}, "class space", (8063, 8064)),
    ({"CompressedClassSpaceSize": 32 * M}, "class space", (16255, 16256)),
    ({"Xmx": 64 * M, "piece_bytes": 10_000}, "heap", (6013, 5715)),
    ({"Xmx": 64 * M, "gc": "parallel", "piece_bytes": 10_000}, "heap", (5712, 5635)),
    ({"Xmx": 64 * M, "gc": "g1", "piece_bytes": 10_000}, "heap", (5900, 5974)),
    ({"Xmx": 64 * M, "Xmn": 16 * M}, "heap", (606, 583)),
    ({"Xmx": 64 * M}, "direct memory", (648, 648)),
    ({"Xmx": 64 * M, "gc": "parallel"}, "direct memory", (644, 644)),
    ({"Xmx": 64 * M, "gc": "g1"}, "direct memory", (671, 671)),
    ({"MaxDirectMemorySize": 16 * M}, "direct memory", (167, 167)),
]


@pytest.mark.parametrize(("given", "name", "told"), MEASURED)
def test_an_area_is_full_after_what_real_jvms_said(given, name, told):
    (area,) = (one for one in areas(options(given)) if one.area == name)
    assert area.least <= min(told) <= max(told) <= area.most
    assert area.most - area.least <= 0.1 * area.most, "a range that says something"


def test_the_limits_that_jvms_print():
    limits = {gc: direct_limit(options({"gc": gc, "Xmx": 64 * M})) for gc in ("serial", "parallel")}
    assert limits == {"serial": 64880640, "parallel": 64487424}
    (direct,) = (one for one in areas(options({"xmx": 64 * M})) if one.area == "direct memory")
    assert direct.error == (
        "java.lang.OutOfMemoryError: Cannot reserve 100000 bytes of direct buffer memory "
        "(allocated: 64800000, limit: 64880640)"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"Xmx": 4 * M, "Xmn": 8 * M}, "Xmn is 8,388,608 bytes of a heap, Xmx, of 4,194,304"),
        ({"Xmz": 1}, "no option Xmz; it has gc, Xmx"),
        ({"gc": "zgc"}, "gc is one of serial, parallel, g1, not zgc"),
        ({"Xmx": M}, "Xmx is from 2,097,152"),
        ({"Xss": K}, "Xss is from"),
        ({"piece_bytes": 8}, "piece_bytes is from 24"),
        ({"MaxMetaspaceSize": -1}, "MaxMetaspaceSize is from"),
        # what a real java refuses, or starts with and has no room at all
        ({"MaxMetaspaceSize": 0}, "MaxMetaspaceSize is from"),
        ({"MaxDirectMemorySize": 0}, "MaxDirectMemorySize is from"),
        ({"CompressedClassSpaceSize": 0}, "CompressedClassSpaceSize is from"),
        ({"ReservedCodeCacheSize": 4 << 30}, "ReservedCodeCacheSize is from"),
        ({"Xss": 2 << 30}, "Xss is from"),
        ({"NewRatio": 0}, "NewRatio is from"),
        ({"version": 99_000_000}, "of releases 17 to 25, not 99"),
    ],
)
def test_options_that_are_refused(given, said):
    with pytest.raises(HeapwrightError, match=said):
        options(given)
