"""Quantities and the parts of resident memory, in the words a person reads."""

from collections.abc import Mapping

from heapwright.result import Result
from heapwright.versions import VERSION_KNOBS, version_text

OF_JAVA = ("Xmx", "Xmn", "Xms")
OF_JAVA_UNITS = (("G", 30), ("M", 20), ("K", 10), ("", 0))
# What each part of resident memory is; the keys are `result.PARTS`.
PART_NAMES = {
    "live": "live",
    "rounding": "rounding",
    "header": "headers",
    "cached": "cached",
    "partial": "partial",
    "retained": "retained",
    "garbage": "garbage",
}
PART_MEANINGS = {
    "live": "asked for by the program and still held",
    "rounding": "given beyond what was asked for: size classes, alignment",
    "header": "the manager's own bookkeeping: headers, tables, padding between blocks",
    "cached": "free blocks kept at hand in caches",
    "partial": "free bytes on pages that also hold live ones: holes, or fragmentation",
    "retained": "pages with nothing live on them that were not given back to the system",
    "garbage": "dead objects that were not yet collected",
}


def bytes_text(count: int) -> str:
    """`count` bytes with three significant digits and a binary unit."""
    if abs(count) < 1000:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1000:
            return f"{digits(size)} {unit}"
    return f"{digits(size / 1024)} TiB"


def digits(value: float) -> str:
    """Three significant digits, thousands apart: 0.12, 1.23, 12.3, 123, 12,345."""
    if value == 0:
        return "0"
    places = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:,.{places}f}"


def counted(count: int, thing: str) -> str:
    """A count and what is counted: 1 event, 2 events, 12,345 events."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def count_text(count: float) -> str:
    """A count with three significant digits: 999, 12.3 k, 4.20 M."""
    if abs(count) < 999.5:
        return f"{count:.0f}"
    for unit in ("k", "M"):
        count /= 1000
        if abs(count) < 999.5:
            return f"{digits(count)} {unit}"
    return f"{digits(count / 1000)} G"


def duration_text(nanoseconds: float) -> str:
    """A time with three significant digits: 85 ns, 12.3 µs, 4.20 ms, 1.25 s."""
    if nanoseconds < 999.5:
        return f"{nanoseconds:.0f} ns"
    for unit in ("µs", "ms"):
        nanoseconds /= 1000
        if nanoseconds < 999.5:
            return f"{digits(nanoseconds)} {unit}"
    return f"{digits(nanoseconds / 1000)} s"


def percent_text(share: float) -> str:
    """A share of 1 in per cent: 0.4 %, 12 %."""
    value = 100 * share
    return f"{value:.1f} %" if abs(value) < 9.95 and round(value, 1) % 1 else f"{value:.0f} %"


def change_text(share: float) -> str:
    """A change, as a share of what it is compared with: +3.1 %, −17 %, or 0 %."""
    size = percent_text(abs(share))
    return size if size == "0 %" else f"{'+' if share > 0 else '−'}{size}"


def title(result: Result) -> str:
    """The manager's name and the knobs that were set: `glibc (arena_max=2)`; `as recorded` where
    the recording's own settings hold."""
    return knobs_text(result.manager, result.settings, as_recorded=bool(result.recorded))


def knobs_text(manager: str, settings: Mapping[str, int], *, as_recorded: bool = False) -> str:
    """A manager's name and knobs, in the same form."""
    told = ["as recorded"] * as_recorded
    told += [f"{knob}={setting_text(knob, value)}" for knob, value in settings.items()]
    knobs = ", ".join(told)
    return f"{manager} ({knobs})" if knobs else manager


def setting_text(knob: str, value: int, *, grouped: bool = False) -> str:
    """A knob's value as people write it: a version as 2.36, a table's number in hexadecimal, the
    sizes of a JVM's heap as `java` takes them."""
    if knob == "classes" and value:
        return f"{value:#x}"
    if knob in VERSION_KNOBS:
        return version_text(value)
    if knob in OF_JAVA and value:
        return next(
            (f"{value >> n}{unit}" for unit, n in OF_JAVA_UNITS if not value & (1 << n) - 1)
        )
    return f"{value:,}" if grouped else str(value)


def full_title(result: Result) -> str:
    """The same, and of a real system that it is one: `real glibc`."""
    return title(result) if result.kind == "twin" else f"real {title(result)}"


def room_text(result: Result) -> str:
    """What the machine must have room for: the most it held, or of its range where time decides."""
    if result.spread is None:
        return bytes_text(result.held_bytes)
    least, most = bytes_text(result.spread.held_bytes[0]), bytes_text(result.room_bytes)
    return f"up to {most} (as time decides, from {least})" if least != most else most


def held_text(result: Result) -> str:
    """The most it held, and the range of that where time decides."""
    text = bytes_text(result.held_bytes)
    if result.spread is None:
        return text
    least, most = map(bytes_text, result.spread.held_bytes)
    return f"{text} (as time decides, {least} to {most})" if least != most else text
