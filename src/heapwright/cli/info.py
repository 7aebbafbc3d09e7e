"""`heapwright info`: the statistics of a trace, as tables with bars or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from heapwright.cli.options import Json, TracePath

if TYPE_CHECKING:
    from rich.table import Table

BAR_COLUMNS = 24  # characters of a full bar
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
EIGHTHS = " ▏▎▍▌▋▊▉█"


def info(
    trace: TracePath,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many call sites to show.")] = 10,
    json: Json = False,
) -> None:
    """Say what a trace holds: sizes, lifetimes, who allocates.

    The trace is streamed once. Lifetimes are counted in events, the only clock every trace has.

    Example:

        heapwright info sqlite.heap.parquet
        heapwright info sqlite.heap.parquet --json | jq .realloc_chains
    """
    from rich.text import Text

    from heapwright.api.traces import info as told
    from heapwright.cli import screen
    from heapwright.trace.store import Trace

    opened = Trace.open(trace)
    with screen.progress("reading", opened.events) as advance:
        figures = told(opened, top, progress=advance)
    if json:
        screen.print_json(figures)
        return
    out = screen.console()
    for table in (_facts(figures), _sizes(figures), _lifetimes(figures), *_sites(figures, top)):
        # apart: a table breaks its title to its width
        out.print(Text(str(table.title), style="bold"))
        table.title = None
        out.print(table)
    for note in figures["notes"]:
        out.print(f"note: {note}", markup=False)


def bar(part: float, whole: float) -> str:
    """A bar of up to BAR_COLUMNS characters; what is not nothing shows at least a sliver."""
    eighths = round(8 * BAR_COLUMNS * part / whole) if whole else 0
    if part > 0:
        eighths = max(eighths, 1)
    return EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip("<"), justify="left" if column.startswith("<") else "right")
    return table


def _facts(figures: dict[str, Any]) -> Table:
    from heapwright.words import bytes_text

    table = _table(f"{figures['program']} ({figures['kind']})", "<", "<")
    table.show_header = False
    chains, end = figures["realloc_chains"], figures["live_at_end"]
    operations = figures["by_operation"].items()
    rows = {
        "events": f"{figures['events']:,}: "
        + ", ".join(f"{count:,} {operation}" for operation, count in operations if count),
        "requested": f"{bytes_text(figures['requested_bytes'])} in all",
        "peak live": f"{bytes_text(figures['peak_live_bytes'])}; "
        f"most objects at once {figures['peak_live_objects']:,}",
        "live at the end": f"{bytes_text(end['bytes'])} in {end['objects']:,} objects",
        "threads": f"{figures['threads']:,}; "
        f"{figures['frees_by_another_thread']:,} frees by another thread than the allocating one",
        "reallocs": f"{figures['reallocations']:,} of {chains['objects']:,} objects, "
        f"at most {chains['longest']:,} of one; "
        f"{chains['grew']:,} grew, {chains['shrank']:,} shrank; "
        f"{bytes_text(chains['bytes_copied_at_worst'])} to copy if all moved",
        "refused": f"{figures['requests_refused']:,} requests",
        "unmatched": f"{figures['unmatched_frees']:,} frees of objects allocated before the trace",
        "on disk": f"{bytes_text(figures['size_bytes_on_disk'])}, "
        f"{figures['size_bytes_on_disk'] / max(figures['events'], 1):.1f} bytes an event",
    }
    if not figures["reallocations"]:
        del rows["reallocs"]
    if graph := figures["graph"]:
        for row in ("threads", "refused", "unmatched"):
            del rows[row]
        rows["references"] = (
            f"{graph['reference_fields']:,} fields, none in "
            f"{graph['objects_without_fields']:,} objects; written {graph['references_written']:,} "
            f"times, cleared {graph['references_cleared']:,} times"
        )
        rows["roots"] = (
            f"at most {graph['peak_roots']:,} locals, frames or globals; "
            f"{graph['frames_entered']:,} frames entered"
        )
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _sizes(figures: dict[str, Any]) -> Table:
    from heapwright.words import bytes_text

    table = _table("requests by size", "up to", "requests", "<", "bytes", "<")
    rows = figures["size_histogram"]
    most = {column: max((row[column] for row in rows), default=0) for column in ("count", "bytes")}
    for row in rows:
        table.add_row(
            _bound(row["to_bytes"]),
            f"{row['count']:,}",
            bar(row["count"], most["count"]),
            bytes_text(row["bytes"]),
            bar(row["bytes"], most["bytes"]),
        )
    return table


def _bound(size: int) -> str:
    """A power of two bytes: 64 B, 1 KiB, 128 MiB."""
    power = (size.bit_length() - 1) // 10
    return f"{size >> 10 * power:,} {UNITS[power]}"


def _lifetimes(figures: dict[str, Any]) -> Table:
    lifetimes = figures["lifetimes"]
    median = lifetimes["median_events_at_most"]
    half = (
        f"half die within {median:,} events" if median is not None else "more than half never die"
    )
    table = _table(f"objects by lifetime in events ({half})", "up to", "objects", "<")
    rows = lifetimes["histogram"]
    most = max([row["count"] for row in rows] + [lifetimes["immortal"]])
    for row in rows:
        table.add_row(f"{row['to_events']:,}", f"{row['count']:,}", bar(row["count"], most))
    share = f"{lifetimes['immortal_share']:.1%}" if lifetimes["immortal"] else "none"
    table.add_row(
        "never freed", f"{lifetimes['immortal']:,}", f"{bar(lifetimes['immortal'], most)} {share}"
    )
    return table


def _sites(figures: dict[str, Any], top: int) -> list[Table]:
    from rich.text import Text

    from heapwright.words import bytes_text

    tables: list[Table] = []
    for key, title in (("by_bytes", "call sites by bytes"), ("by_count", "call sites by requests")):
        rows = figures["top_sites"][key]
        if [row["site"] for row in rows] in ([], ["unknown"]):
            continue
        if tables and len(rows) == tables[0].row_count and len(rows) < top:
            continue  # the same sites in another order
        table = _table(title, "bytes", "requests", "<call site")
        table.columns[-1].no_wrap = True  # cut at the edge: the innermost frames come first
        for row in rows:
            table.add_row(bytes_text(row["bytes"]), f"{row['count']:,}", Text(row["site"]))
        tables.append(table)
    return tables
