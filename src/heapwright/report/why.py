"""Why memory is what it is, as a terminal shows it; the page takes the same sheets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from heapwright.report.notes import Note
from heapwright.report.rows import BYTES, COUNT, EXACT, SHARE, Column, Row, Sheet
from heapwright.report.summary import print_notes
from heapwright.report.terminal import print_sheet, printable
from heapwright.words import duration_text

if TYPE_CHECKING:
    from rich.console import Console

    from heapwright.report.answers import Why

TELLING = 0.05  # of the resident bytes; a cause with less has no sentence of its own
TIMES = 8  # rows of the table through time
FRAMES = 12  # of a stack in a terminal: the innermost

SHARES = (
    Column("end.bytes", "at the end", BYTES),
    Column("end.share", "", SHARE),
    Column("peak.bytes", "at the peak", BYTES),
    Column("peak.share", "", SHARE),
)
STACKS = (
    Column("bytes", "bytes", BYTES),
    Column("share", "share", SHARE),
    Column("blocks", "blocks", EXACT, rank=1),
)
TIMELINE = (
    Column("resident_bytes", "resident", BYTES),
    Column("live", "live", BYTES),
    Column("leak", "leak", BYTES, rank=1, sparse=True),
    Column("fragmentation", "frag\u00admented", BYTES, rank=2, sparse=True),
    Column("retention", "re\u00adtained", BYTES, rank=3, sparse=True),
    Column("caches", "cached", BYTES, rank=4, sparse=True),
    Column("rounding", "round\u00ading", BYTES, rank=5, sparse=True),
    Column("garbage", "garbage", BYTES, rank=6, sparse=True),
)
CYCLES = (
    Column("objects", "blocks", COUNT),
    Column("bytes", "bytes", BYTES),
    Column("waited_births", "waited", COUNT, "births of other blocks until it was collected"),
    Column("longest_births", "at most", COUNT, "likewise", rank=1),
)
STACK_LIKE = (
    Column("calls", "calls saved", COUNT),
    Column("bytes", "bytes", BYTES),
)


def shares_sheet(found: Why) -> Sheet:
    """The causes at the end and at the peak, as bytes and shares."""
    judged = found.diagnosis
    order = [finding.cause for finding in judged.findings]
    rows = []
    for cause in order + [c for c in judged.shares["end"] if c not in order]:
        row: dict[str, Any] = {
            moment: {"bytes": judged.bytes[moment][cause], "share": judged.shares[moment][cause]}
            for moment in ("end", "peak")
        }
        if row["end"]["bytes"] or row["peak"]["bytes"]:
            rows.append(Row(row, cause))
    whole = {
        moment: {"bytes": judged.bytes[moment]["resident_bytes"], "share": 1.0}
        for moment in ("end", "peak")
    }
    caption = f"Under the twin of {found.result.manager}"
    caption += ", set as recorded." if found.result.recorded else "."
    return Sheet("cause", SHARES, [*rows, Row(whole, "resident")], "where the bytes are", caption)


def stacks_sheet(found: Why, cause: str, top: int) -> Sheet:
    """The call stacks behind a cause; no row where none is known."""
    (finding,) = [one for one in found.diagnosis.findings if one.cause == cause]
    rows = [
        Row(stack.to_json(), stack.label)
        for stack in finding.stacks[:top]
        if stack.site >= 0 or len(finding.stacks) > 1
    ]
    said = {"leak": "who leaks", "live": "who asked for what is live"}
    title = said.get(cause, f"who is behind the {cause}")
    return Sheet("call site", STACKS, rows, title, names_last=True)


def timeline_sheet(found: Why, times: int = TIMES) -> Sheet:
    """The causes through time, by seconds where the recording has them."""
    rows, last = found.timeline, len(found.timeline) - 1
    kept = sorted({round(last * n / (times - 1)) for n in range(times)}) if rows else []
    timed = bool(rows) and bool(rows[-1]["time_ns"])

    def when(row: dict[str, Any]) -> str:
        return duration_text(row["time_ns"]) if timed else f"{row['event']:,}"

    shown = [Row(rows[n], when(rows[n])) for n in kept]
    return Sheet("after" if timed else "event", TIMELINE, shown, "through time")


def stack_like_sheet(found: Why, top: int) -> Sheet:
    """Call sites that an arena or the stack would serve."""
    rows = [
        Row(one.to_json(), one.label, details=(f"serve them by {one.mend}",))
        for one in found.diagnosis.stack_like[:top]
    ]
    return Sheet("call site", STACK_LIKE, rows, "blocks that live like a stack's", names_last=True)


def cycles_sheet(found: Why, top: int) -> Sheet:
    """Call sites whose objects only the cycle collector could free."""
    rows = (
        [Row(one.to_json(), one.label) for one in found.cycles.sites[:top]] if found.cycles else []
    )
    caption = "Waited in births of other blocks, on average, to within a look of the recorder."
    return Sheet("made by", CYCLES, rows, "what waited for the collector", caption, names_last=True)


def print_why(console: Console, found: Why, top: int) -> None:
    """Print the verdict, what to do, and what it rests on."""
    judged = found.diagnosis
    first, *others = judged.findings
    console.print(Text(printable(first.sentence), "bold"), soft_wrap=True)
    console.print(Text(printable(first.mend)), soft_wrap=True)
    for finding in others:
        if finding.share >= TELLING:
            console.print(Text("  " + printable(finding.sentence)), soft_wrap=True)
    if found.cycles:
        console.print(Text("  " + printable(found.cycles.sentence)), soft_wrap=True)
    console.print()
    print_sheet(console, shares_sheet(found))
    sheets = [stacks_sheet(found, judged.kind, top)]
    sheets += [
        stacks_sheet(found, finding.cause, min(top, 3))
        for finding in others
        if finding.share >= 2 * TELLING
    ]
    for number, sheet in enumerate(sheets):
        if sheet.rows:
            console.print()
            print_sheet(console, sheet)
            if number == 0 and found.stacked:
                _print_stack(console, first.stacks[0].frames)
    for sheet in (
        cycles_sheet(found, top),
        timeline_sheet(found),
        stack_like_sheet(found, top),
    ):
        if sheet.rows:
            console.print()
            print_sheet(console, sheet)
    if not first.stacks or first.stacks[0].site < 0:
        console.print("\nNo call sites are known: record the program to have them.")
    print_notes(console, [Note("The trace", text) for text in found.trace["notes"]])
    print_notes(console, [Note("The twin", text) for text in found.result.notes])


def _print_stack(console: Console, frames: list[str]) -> None:
    """The first stack, innermost frame first."""
    console.print(Text("the first of them, from the inside:", "italic dim"))
    for frame in frames[::-1][:FRAMES]:
        console.print(Text(f"  {printable(frame)}"), soft_wrap=True)
    if len(frames) > FRAMES:
        left = len(frames) - FRAMES
        console.print(Text(f"  and {left} more: --json has all", "dim"))
