"""A comparison as HTML for a notebook's cell."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from heapwright.cells import cell

if TYPE_CHECKING:
    from heapwright.api.comparing import Comparison
    from heapwright.report.notes import Note

FEW = 4  # notes that are shown at once


def comparison_html(comparison: Comparison) -> str:
    """For each trace its table, what follows from it, and notes."""
    from heapwright.insight.verdict import ranked, verdict
    from heapwright.report.comparison import comparison_sheet
    from heapwright.report.markup import table
    from heapwright.report.notes import notes

    parts = []
    for one in comparison.traces:
        judged = verdict(one.results)
        parts.append(f"<p><b>{escape(judged.headline)}</b></p>")
        parts.append(f'<div class="scroll">{table(comparison_sheet(one.results))}</div>')
        told = notes("The trace", one.trace.notes, ranked(one.results), one.failures)
        parts.append(_folded(told, all_open=len(told) <= FEW))
    return cell("".join(parts))


def _folded(told: Sequence[Note], *, all_open: bool) -> str:
    """Notes as a list that is shown on a click where there are many."""
    from heapwright.report.figures import notes_list

    opened = " open" if all_open else ""
    listed = "".join(notes_list(told))
    return f"<details{opened}><summary>{len(told)} notes</summary><ul>{listed}</ul></details>"
