"""What a trace holds, as facts and as rows of tables; `insight.statistics` counts it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from heapwright.report.rows import BAR, BYTES, COUNT, EXACT, SHARE, Column, Row, Sheet
from heapwright.words import bytes_text, count_text, percent_text

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
TELLING_SHARE = 0.001  # of the stranded bytes; a call site with less is not named


class Fact(NamedTuple):
    """A line that is said of a trace."""

    title: str
    text: str


def _python(known: Mapping[str, Any]) -> dict[str, str]:
    """Whom a Python program asked."""
    if not known.get("domains"):
        return {}
    told = [
        f"{asked['requests']:,} of {name}, {bytes_text(asked['bytes'])}"
        for name, asked in known["domains"].items()
    ]
    return {"Python": f"{known['python']}; requests by domain: {'; '.join(told)}"}


def facts(known: Mapping[str, Any]) -> list[Fact]:
    """What a trace is and holds, in the order in which it is read."""
    events, chains, end = known["events"], known["realloc_chains"], known["live_at_end"]
    died, graph = known["lifetimes"], known["graph"]
    operations = ", ".join(f"{n:,} {name}" for name, n in known["by_operation"].items() if n)
    median = died["median_events_at_most"]
    said = {
        "file": f"{known['path']}, {bytes_text(known['size_bytes_on_disk'])}, "
        f"{known['size_bytes_on_disk'] / max(events, 1):.1f} bytes an event",
        "kind": known["kind"],
        **_origin(known.get("origin", {}), known.get("settings", {})),
        **_process(known.get("process", {})),
        **_python(known),
        "events": f"{events:,}" + (f": {operations}" if operations else ""),
        "requested": f"{bytes_text(known['requested_bytes'])} in all",
        "peak live": f"{bytes_text(known['peak_live_bytes'])} ({known['peak_live_bytes']:,} bytes)",
        "most objects": f"{known['peak_live_objects']:,} at once",
        "never freed": f"{bytes_text(end['bytes'])} in {end['objects']:,} objects",
        "half died after": f"{median:,} events"
        if median is not None
        else "more than half never do",
    }
    if known["reallocations"]:
        said["reallocs"] = (
            f"{known['reallocations']:,} of {chains['objects']:,} objects, "
            f"at most {chains['longest']:,} of one; "
            f"{chains['grew']:,} grew, {chains['shrank']:,} shrank; "
            f"{bytes_text(chains['bytes_copied_at_worst'])} to copy if all moved"
        )
    if graph:
        said["references"] = (
            f"{graph['reference_fields']:,} fields, none in "
            f"{graph['objects_without_fields']:,} objects; written {graph['references_written']:,} "
            f"times, cleared {graph['references_cleared']:,} times"
        )
        said["roots"] = (
            f"at most {graph['peak_roots']:,} locals, frames or globals; "
            f"{graph['frames_entered']:,} frames entered"
        )
    else:
        said["threads"] = (
            f"{known['threads']:,}; {known['frees_by_another_thread']:,} frees by another thread "
            "than the allocating one"
        )
        said["refused"] = f"{known['requests_refused']:,} requests"
        said["unmatched"] = (
            f"{known['unmatched_frees']:,} frees of objects allocated before the trace"
        )
    return [Fact(*one) for one in said.items()]


def _process(process: Mapping[str, Any]) -> dict[str, str]:
    """How much of the process's memory the recording explains."""
    told = [one["sentence"] for one in process.values()]
    return {"process": " ".join(told)} if told else {}


def _origin(origin: Mapping[str, str], settings: Mapping[str, int]) -> dict[str, str]:
    """Where and how it was recorded, as far as that is known."""
    said = {}
    if "command" in origin:
        said["command"] = origin["command"]
    forms = {
        "java": "Java {}", "vm": "{}", "libc": "glibc {}", "kernel": "Linux {}",
        "machine": "{}", "cores": "{} cores",
        "page_bytes": "pages of {} bytes", "host": "{}", "date": "{}",
    }  # fmt: skip
    where = [form.format(origin[name]) for name, form in forms.items() if name in origin]
    if where:
        said["recorded on"] = ", ".join(where)
    if "resident_bytes" in origin and origin["resident_bytes"].isdecimal():
        said["the process itself"] = (
            f"at most {bytes_text(int(origin['resident_bytes']))} resident, "
            f"{origin.get('page_faults', 'unknown')} page faults, with its code and stacks"
        )
    if "preload" in origin:
        said["preloaded"] = origin["preload"]
    if settings:
        said["malloc settings"] = ", ".join(f"{knob}={value}" for knob, value in settings.items())
    return said


SIZES = (
    Column("count", "requests", EXACT),
    Column("count_share", "", BAR, rank=2),
    Column("bytes", "bytes", BYTES),
    Column("bytes_share", "", BAR, rank=1),
)
LIFETIMES = (
    Column("count", "objects", EXACT),
    Column("share", "share", SHARE),
    Column("count_share", "", BAR, rank=1),
)
SITES = (
    Column("bytes", "bytes", BYTES, "requested in all"),
    Column("count", "requests", EXACT),
)
STRANDED = (
    Column("bytes", "bytes stranded", BYTES, "free bytes charged to its objects"),
    Column("share", "share", SHARE, rank=1),
    Column("objects", "objects", COUNT, rank=2),
    Column("pages", "pages", COUNT, rank=2),
    Column("median_age_events", "median age, events", COUNT, rank=3),
)
HOLDING = (
    Column("pages", "pages it alone holds", COUNT),
    Column("bytes", "free bytes on them", BYTES),
)
TOPS = (
    Column("retained_bytes", "empty below", BYTES, "pages of its heap that nothing lives on"),
    Column("freed_bytes", "goes with it", BYTES, "of these, directly below the block"),
    Column("bytes", "its size", EXACT, "of the block that keeps them, bytes"),
    Column("age_events", "age, events", COUNT, rank=1),
)


def _with_shares(rows: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    """The rows with each key's share of its greatest value, which a bar draws."""
    most = {key: max((row[key] for row in rows), default=0) or 1 for key in keys}
    return [row | {f"{key}_share": row[key] / most[key] for key in keys} for row in rows]


def sizes_sheet(known: Mapping[str, Any]) -> Sheet:
    """Requests by size."""
    rows = _with_shares(known["size_histogram"], "count", "bytes")
    named = [Row(row, power_text(row["to_bytes"])) for row in rows]
    return Sheet("up to", SIZES, named, "requests by size")


def power_text(size: int) -> str:
    """A power of two bytes: 64 B, 1 KiB, 128 MiB."""
    power = (size.bit_length() - 1) // 10
    return f"{size >> 10 * power:,} {_UNITS[power]}"


def lifetimes_sheet(known: Mapping[str, Any]) -> Sheet:
    """Objects by lifetime, those that never died in the last row."""
    died = known["lifetimes"]
    median = died["median_events_at_most"]
    half = (
        f"half die within {median:,} events" if median is not None else "more than half never die"
    )
    named = [(f"up to {row['to_events']:,}", row["count"]) for row in died["histogram"]]
    named.append(("never freed", died["immortal"]))
    born = sum(count for _, count in named) or 1
    rows = _with_shares([{"count": n, "share": n / born} for _, n in named], "count")
    return Sheet(
        "events",
        LIFETIMES,
        [Row(row, name) for (name, _), row in zip(named, rows, strict=True)],
        f"objects by lifetime in events ({half})",
    )


def sites_sheet(known: Mapping[str, Any], key: str = "by_bytes") -> Sheet:
    """Call sites that ask for most bytes, or `by_count` most often; no row if none is known."""
    rows = known["top_sites"][key]
    if [row["site"] for row in rows] == ["unknown"]:
        rows = []
    title = "call sites by bytes" if key == "by_bytes" else "call sites by requests"
    named = [Row(row, row["site"]) for row in rows]
    return Sheet("call site", SITES, named, title, names_last=True)


def sites_sheets(known: Mapping[str, Any], top: int) -> list[Sheet]:
    """Both, where call sites are known; one, where the other has the same in another order."""
    first, second = (sites_sheet(known, key) for key in ("by_bytes", "by_count"))
    sheets = [first] if len(first.rows) < top else [first, second]
    return [sheet for sheet in sheets if sheet.rows]


def stranded_sheet(pinned: Mapping[str, Any]) -> Sheet:
    """Who pins free bytes; sites that hold next to nothing are only counted."""
    telling = [row for row in pinned["by_bytes"] if row["share"] >= TELLING_SHARE]
    left = len(pinned["by_bytes"]) - len(telling)
    caption = ""
    if left:
        less = percent_text(TELLING_SHARE)
        caption = f"{count_text(left)} more call sites, less than {less} each."
    return Sheet("call site", STRANDED, [Row(row, row["site"]) for row in telling], caption=caption)


def tops_sheet(kept: Mapping[str, Any]) -> Sheet:
    """The block that keeps each heap's top, named by its call site or its address."""
    rows = [
        Row(
            row,
            row["site"] if row["site"] != "unknown" else f"block at {row['address']:#x}",
            (f"heap at {row['heap_address']:#x}",),
            whole=tuple(reversed(row.get("stack", ()))),
        )
        for row in kept["heaps"]
    ]
    return Sheet("the highest block of a heap", TOPS, rows)


def holding_sheet(pinned: Mapping[str, Any]) -> Sheet:
    """Pages that only the long-lived objects of one call site hold."""
    return Sheet("call site", HOLDING, [Row(row, row["site"]) for row in pinned["by_pages"]])
