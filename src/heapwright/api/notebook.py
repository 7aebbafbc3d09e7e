"""A comparison as HTML for a notebook's cell."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from heapwright.cells import cell

if TYPE_CHECKING:
    from heapwright.api.comparing import Comparison


def comparison_html(comparison: Comparison) -> str:
    """For each trace its table, what follows from it, and what did not run."""
    from heapwright.insight.verdict import ranked, verdict
    from heapwright.report import figures

    parts = []
    for one in comparison.traces:
        judged = verdict(one.results)
        parts.append(f"<p><b>{escape(judged.headline)}</b></p>")
        table = figures.table(ranked(one.results), judged.winner)
        parts.append(f'<div class="scroll"><table>{table}</table></div>')
        parts += [f"<p>{escape(sentence)}</p>" for sentence in one.failures]
    return cell("".join(parts))
