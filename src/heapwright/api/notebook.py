"""A comparison as HTML for a notebook's cell."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from heapwright.cells import cell

if TYPE_CHECKING:
    from heapwright.api.comparing import Comparison


def comparison_html(comparison: Comparison) -> str:
    """For each trace its table, what follows from it, and notes."""
    from heapwright.insight.verdict import ranked, verdict
    from heapwright.report.comparison import comparison_sheet
    from heapwright.report.figures import notes_list
    from heapwright.report.markup import table
    from heapwright.report.notes import notes

    parts = []
    for one in comparison.traces:
        judged = verdict(one.results)
        parts.append(f"<p><b>{escape(judged.headline)}</b></p>")
        parts.append(f'<div class="scroll">{table(comparison_sheet(one.results))}</div>')
        told = notes("The trace", one.trace.notes, ranked(one.results), one.failures)
        parts.append(f"<ul>{''.join(notes_list(told))}</ul>")
    return cell("".join(parts))
