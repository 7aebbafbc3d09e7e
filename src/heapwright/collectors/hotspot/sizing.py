"""How large the generations are, as `java` makes it of its options, and which it refuses.

    -Xmx ──► heap, whole 2 MiB ──┬─ young: -Xmn, or heap / (NewRatio + 1), whole 64 KiB
                                 └─ old: the rest
    young ─► survivor = young / (SurvivorRatio + 2), whole 64 KiB, twice; eden: the rest

Where young and the default old generation (OldSize, 5.2 MiB) exceed the heap together, JDKs up to
21 shrink young by the same factor. Old begins with what
-Xms leaves of it.

Source     OpenJDK 17 src/hotspot/share/gc/shared/genArguments.cpp; 25 has no OldSize there
"""

from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.versions import version_number

K, M = 1 << 10, 1 << 20
SPACE_BYTES = 64 * K  # SpaceAlignment
HEAP_BYTES = 2 * M  # HeapAlignment
OLD_BYTES = 4 * M * 13 // 10  # OldSize, scaled for 64-bit words
WITHOUT_OLD_SIZE = version_number("25")
LEAST_XMX = 2 * M
_SHARE = (0, 100)  # percent
RANGES = {  # of options, as gc_globals.hpp and g1_globals.hpp have them
    "UseTLAB": (0, 1),
    "UseCompressedOops": (0, 1),
    "MaxTenuringThreshold": (0, 16),
    "MaxGCPauseMillis": (1, (1 << 31) - 1),
    **dict.fromkeys(
        (
            "TargetSurvivorRatio",
            "InitiatingHeapOccupancyPercent",
            "CMSInitiatingOccupancyFraction",
            "G1NewSizePercent",
            "G1MaxNewSizePercent",
            "G1HeapWastePercent",
            "G1MixedGCLiveThresholdPercent",
            "G1OldCSetRegionThresholdPercent",
        ),
        _SHARE,
    ),
}


class Generations(NamedTuple):
    """Bytes of the spaces."""

    eden: int
    survivor: int  # each
    old: int

    @property
    def young(self) -> int:
        """Eden and both survivor spaces."""
        return self.eden + 2 * self.survivor


def down(bytes_: int, unit: int) -> int:
    """Whole units."""
    return bytes_ // unit * unit


def refuse_contradictions(name: str, config: object, *, grows: bool = False) -> None:
    """HeapwrightError for options that contradict each other, or that no JVM takes; Xms may be
    below Xmx where the heap `grows`."""
    given = config._asdict()  # type: ignore[attr-defined]
    negative = [knob for knob, value in given.items() if value < 0]
    if negative:
        raise HeapwrightError(f"{name}.{negative[0]} is not negative.")
    for knob, (least, most) in RANGES.items():
        if not least <= given.get(knob, least) <= most:
            raise HeapwrightError(
                f"{name}.{knob} is between {least:,} and {most:,}, not {given[knob]:,}."
            )
    xmx, xmn, xms = given["Xmx"], given["Xmn"], given.get("Xms", 0)
    if xmx < LEAST_XMX:
        raise HeapwrightError(f"{name}.Xmx is at least {LEAST_XMX:,} bytes, not {xmx:,}.")
    if xmn >= xmx:
        raise HeapwrightError(
            f"{name}.Xmn is {xmn:,} bytes of a heap, Xmx, of {xmx:,}: an old generation needs room "
            "as well."
        )
    if xms > xmx:
        raise HeapwrightError(
            f"{name}.Xms is {xms:,} and Xmx {xmx:,}: a heap begins no larger than it may be."
        )
    if xms not in (0, xmx) and not grows:
        raise HeapwrightError(
            f"{name}.Xms is {xms:,} and Xmx {xmx:,}: this twin's heap does not grow; let them be "
            "equal."
        )
    if given.get("NewRatio", 1) < 1 or given.get("SurvivorRatio", 1) < 1:
        raise HeapwrightError(f"{name}.NewRatio and SurvivorRatio are at least 1.")
    if xmx > 32 << 30 or (xmx > 30 << 30 and given.get("UseCompressedOops", 1)):
        raise HeapwrightError(f"{name}.Xmx is at most 32 GiB, 30 with compressed references.")


def first_old(config: object, sizes: Generations) -> int:
    """Bytes of old when the heap is made: all, or what Xms leaves beside young."""
    xms = config._asdict()["Xms"]  # type: ignore[attr-defined]
    heap = -(-xms // HEAP_BYTES) * HEAP_BYTES if xms else sizes.young + sizes.old
    return max(SPACE_BYTES, min(sizes.old, heap - sizes.young))


def generations(config: object, unit: int = SPACE_BYTES, parts: int = 0) -> Generations:
    """Of these options, which do not contradict each other; spaces are whole `unit`s. A survivor
    space is one of `parts` of young; 0 as SurvivorRatio has it."""
    given = config._asdict()  # type: ignore[attr-defined]
    heap = -(-max(given["Xmx"], 4 * unit) // HEAP_BYTES) * HEAP_BYTES
    least = 3 * unit
    young = given["Xmn"]
    if young:
        young = max(least, down(min(young, heap - unit), unit))
        old = down(OLD_BYTES, unit)
        if given["version"] < WITHOUT_OLD_SIZE and young + old > heap:
            young = max(least, down(int(young * (heap / (young + old))), unit))
    else:
        young = max(least, down(heap // (given["NewRatio"] + 1), unit))
    survivor = max(unit, down(young // (parts or given["SurvivorRatio"] + 2), unit))
    return Generations(young - 2 * survivor, survivor, heap - young)
