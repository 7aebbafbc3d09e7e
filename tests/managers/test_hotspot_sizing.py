"""Sizes of HotSpot's generations, as JVMs 17, 21 and 25 print them, and contradictory options."""

import pytest

from heapwright.collectors.hotspot.sizing import Generations, generations
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.versions import version_number
from trial import CollectedTrial

K, M = 1 << 10, 1 << 20
NEWEST = version_number("25")
PRINTED = {  # (release, -Xmx, -Xmn in MiB): KiB of eden, a survivor space, old
    (17, 6, 2): (1408, 128, 4480),
    (17, 6, 3): (1856, 192, 3904),
    (21, 8, 2): (1664, 192, 6144),
    (21, 16, 4): (3328, 384, 12288),
    (17, 64, 20): (16384, 2048, 45056),
    (17, 7, 0): (2176, 256, 5504),
    (21, 100, 0): (27328, 3392, 68288),
    (17, 1000, 0): (273088, 34112, 682688),
    (17, 4, 1): (512, 64, 3456),
    (21, 12, 5): (4096, 512, 7168),
    (17, 2, 0): (512, 64, 1408),
    (17, 3, 1): (512, 64, 3456),
    (25, 6, 2): (1664, 192, 4096),
}


@pytest.mark.parametrize(("release", "heap", "young"), PRINTED)
def test_spaces_are_as_large_as_the_jvm_prints(release, heap, young):
    config = named("hotspot-serial").configured(
        {"version": version_number(str(release)), "Xmx": heap * M, "Xmn": young * M}
    )
    printed = (size * K for size in PRINTED[release, heap, young])
    assert generations(config) == Generations(*printed)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"Xmx": 4 * M, "Xmn": 8 * M}, "Xmn is 8,388,608 bytes of a heap, Xmx, of 4,194,304"),
        ({"Xmx": 4 * M, "Xms": 8 * M}, "Xms is 8,388,608 and Xmx 4,194,304"),
        ({"Xmx": 8 * M, "Xms": 4 * M}, "this twin's heap grows where Xmn is given"),
        (
            {"version": NEWEST, "Xmx": 8 * M, "Xms": 4 * M, "Xmn": 2 * M},
            "in versions 17 to 23",
        ),
        (
            {"version": version_number("11"), "UseCompressedOops": 0},
            "before version 15 headers grow with it",
        ),
        ({"Xmx": M}, "Xmx is at least 2,097,152 bytes"),
        ({"Xmx": 31 << 30}, "30 with compressed references"),
        ({"SurvivorRatio": 0}, "NewRatio and SurvivorRatio are at least 1"),
        ({"MaxTenuringThreshold": 17}, "MaxTenuringThreshold is between 0 and 16, not 17"),
        ({"UseTLAB": 3}, "UseTLAB is between 0 and 1, not 3"),
        ({"TargetSurvivorRatio": 101}, "TargetSurvivorRatio is between 0 and 100"),
        ({"NewRatio": -1}, "NewRatio is not negative"),
        ({"TLABSize": 8}, "TLABSize is at least 2048"),
        ({"Xmx": 4 * M, "own_bytes": 4 * M}, "Xmx leaves"),
    ],
)
def test_contradictory_options_are_one_sentence(settings, said):
    with pytest.raises(HeapwrightError, match=said) as raised:
        CollectedTrial("hotspot-serial", settings)
    assert str(raised.value).count("\n") == 0
