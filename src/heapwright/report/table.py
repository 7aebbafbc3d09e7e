"""The comparison as a table of at most 100 columns, least memory first."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from heapwright.insight.space_time import SpaceTime, collections
from heapwright.insight.verdict import ranked, resident, verdict
from heapwright.result import Collecting, Result
from heapwright.words import bytes_text, count_text, digits, duration_text, percent_text

_PARTS = ("rounding", "header", "cached", "partial", "retained")
_HEADINGS = ("round-\ning", "head-\ners", "cached", "partial", "re-\ntained")


def comparison_table(results: Sequence[Result]) -> Table:
    """A row per result; the winner is bold with a star. Bytes in one unit, named in the caption."""
    unit, unit_name = _unit(results)
    winner = verdict(results).winner if len(results) > 1 else None
    with_garbage = any(result.peak["garbage_bytes"] for result in results)
    parts = (*_PARTS, "garbage") if with_garbage else _PARTS
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        caption=_caption(results, unit_name),
        caption_justify="left",
    )
    table.add_column("manager", vertical="bottom", max_width=24, overflow="fold")
    table.add_column("kind", vertical="bottom", no_wrap=True)
    table.add_column("peak", justify="right", vertical="bottom", no_wrap=True)
    table.add_column("live\n%", justify="right", vertical="bottom", no_wrap=True)
    for heading in (*_HEADINGS, *(["gar-\nbage"] if with_garbage else [])):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    table.add_column("mapped\npeak", justify="right", vertical="bottom", no_wrap=True)
    table.add_column("faults", justify="right", vertical="bottom", no_wrap=True)
    table.add_column("events\n/s", justify="right", vertical="bottom", no_wrap=True)
    for result in ranked(results):
        name = Text(("★ " if result is winner else "  ") + result.manager)
        for knob, value in result.settings.items():
            name.append(f"\n  {knob}={value}")
        if result.refused:
            name.append("\n  ran out of memory", "red")
        table.add_row(
            name,
            Text(result.kind, "cyan" if result.kind == "measured" else ""),
            Text(digits(resident(result) / unit), "bold"),
            f"{100 * result.peak['live_bytes'] / max(1, resident(result)):.0f}",
            *(digits(result.peak[f"{part}_bytes"] / unit) for part in parts),
            digits(result.mapped_bytes_peak / unit),
            _count(result.page_faults),
            count_text(result.events_per_second).replace(" ", ""),
            style="bold green" if result is winner else "",
        )
    return table


def _caption(results: Sequence[Result], unit_name: str) -> str:
    text = f"Memory in {unit_name} at each manager's own peak."
    if any(result.kind == "measured" for result in results):
        text += " Of a measured system the rest beyond live and rounding stands under partial."
    return text


def _unit(results: Sequence[Result]) -> tuple[int, str]:
    """The unit that the smallest peak is at least ten of: GiB, MiB or KiB.

    Not the largest: a manager that frees nothing would leave the others no digits.
    """
    smallest = min((resident(result) for result in results), default=0)
    for shift, name in ((30, "GiB"), (20, "MiB")):
        if smallest >= 10 << shift:
            return 1 << shift, name
    return 1 << 10, "KiB"


def _count(count: int) -> str:
    return f"{count:,}" if count < 1_000_000 else count_text(count).replace(" ", "")


def collectors_table(results: Sequence[Result]) -> Table | None:
    """A row per manager with a collector: what it did; None when there is none."""
    collected = [(result, result.collecting) for result in ranked(results) if result.collecting]
    if not collected:
        return None
    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        caption="Pauses in time of the replay, in which the program itself takes none; survived: "
        "of the bytes that collections looked at.",
        caption_justify="left",
    )
    table.add_column("collector", vertical="bottom", min_width=12, max_width=24, overflow="fold")
    for heading in (
        *("col-\nlections", "pauses", "median\npause", "99 %", "longest", "of the\ntime"),
        *("marked", "copied", "swept", "sur-\nvived", "barriers"),
    ):
        table.add_column(heading, justify="right", vertical="bottom", no_wrap=True)
    for result, did in collected:
        name = Text(result.manager)
        for knob, value in result.settings.items():
            name.append(f"\n{knob}={value}")
        table.add_row(
            name,
            "\n".join(_by_kind(did)) or "0",
            _count(did.pauses),
            *(duration_text(did.pause_ns[key]) for key in ("median", "p99", "longest")),
            percent_text(1 - did.utilisation),
            *(bytes_text(did.totals[f"{work}_bytes"]) for work in ("marked", "copied", "swept")),
            "\n".join(_survival(did)) or "-",
            _count(did.totals["barriers"]),
        )
    return table


def _by_kind(did: Collecting) -> list[str]:
    """How many collections, by kind unless all are full."""
    kinds = {kind: count for kind, count in did.collections.items() if count}
    return [
        _count(count) + (f" {k}" if set(kinds) != {"full"} else "") for k, count in kinds.items()
    ]


def _survival(did: Collecting) -> list[str]:
    """The share that survived, by kind where there are several."""
    named = len(did.survival) > 1
    return [percent_text(s) + (f" {kind}" if named else "") for kind, s in did.survival.items()]


def space_time_table(found: SpaceTime) -> Table:
    """A row per collector, a column per heap size: time against explicit freeing, collections."""
    against = f"explicit freeing by {found.baseline.manager}" if found.baseline else "nothing"
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        caption="Heaps as multiples of the most bytes ever live. In bold the time of the replay, "
        f"below its most resident memory, each over that of {against}.",
        caption_justify="left",
    )
    table.add_column("collector", max_width=26, overflow="fold")
    for multiple in found.multiples:
        table.add_column(f"{multiple:g}x", justify="right", no_wrap=True)
    for name, results in found.curves.items():
        cells = []
        for result in results:
            if result is None:
                cells.append(Text("no room", "red"))
                continue
            cells.append(
                Text(f"{digits(found.time(result))}", "bold").append(
                    f"\n{digits(found.space(result))} memory\n"
                    f"{_count(collections(result))} collections",
                    "not bold",
                )
            )
        table.add_row(Text(name), *cells)
    return table


def paths_table(paths: Mapping[str, int]) -> Table:
    """How often each path of a manager was taken."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("path", no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    for name, times in paths.items():
        table.add_row(name, f"{times:,}")
    return table
