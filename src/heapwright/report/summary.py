"""A comparison as a terminal shows it: tables, the verdict, the distance to the optimum, notes."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from heapwright.insight.lower_bound import distance_line, least_bytes
from heapwright.insight.space_time import space_time
from heapwright.insight.verdict import ranked, verdict
from heapwright.report.comparison import collectors_sheet, comparison_sheet, space_time_sheet
from heapwright.report.document import Compared
from heapwright.report.limits import limits_sheet
from heapwright.report.notes import Note, notes
from heapwright.report.standing import collectors_asked, grouped
from heapwright.report.terminal import print_sheet, printable
from heapwright.trace.reconciled import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console


def print_comparison(console: "Console", one: Compared, page: Path | None = None) -> None:
    """Print what came of one trace, and where its `page` is; nothing without results."""
    if not one.results:
        return
    if one.points:
        print_sheet(console, space_time_sheet(space_time(one.points, one.results).to_json()))
    else:
        wanted = {"graph": one.trace.graph, "named": one.named}
        print_sheet(console, grouped(comparison_sheet(one.results), one.results, **wanted))
        collectors = collectors_sheet(one.results)
        if collectors.rows and collectors_asked(one.results, **wanted):
            console.print()
            print_sheet(console, collectors)
    if (limits := limits_sheet(one.results)).rows:
        console.print()
        print_sheet(console, limits)
    judged, least = verdict(one.results), least_bytes(one.trace, one.results)
    console.print()
    console.print(judged.headline, style="bold", markup=False, soft_wrap=True)
    for reason in [*judged.reasons, distance_line(one.results, least)]:
        console.print(f"  {reason}", markup=False, soft_wrap=True)
    for sentence in lines(one.trace):
        console.print(f"  {sentence}", markup=False, soft_wrap=True)
    print_notes(console, notes("The trace", one.trace.notes, ranked(one.results)))
    if page is not None:
        console.print(f"\nThe report: {page.resolve()}", markup=False, soft_wrap=True)


def print_notes(console: "Console", told: "Sequence[Note]") -> None:
    """Print each note with whom it is about, as the page does."""
    if told:
        console.print()
    for about, sentence in told:
        line = Text("note: ", "dim").append(f"{printable(about)}. {printable(sentence)}")
        console.print(line, soft_wrap=True)
