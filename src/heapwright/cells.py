"""Facts and tables as HTML for a notebook's cell: nothing that needs a script or the network."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
.heapwright { font: 14px/1.45 system-ui, sans-serif; max-width: 100%; }
.heapwright .scroll { overflow-x: auto; }
.heapwright table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.heapwright th, .heapwright td { padding: .2em .6em; text-align: right; white-space: nowrap; }
.heapwright th[scope="row"], .heapwright th:first-child { text-align: left; font-weight: 600; }
.heapwright tr + tr > * { border-top: 1px solid #8884; }
.heapwright tr.winner > * { font-weight: 700; }
.heapwright .chip { font-size: .75em; font-weight: 400; padding: 0 .5em; margin-left: .3em; }
.heapwright .chip { border: 1px solid #8888; border-radius: 1em; }
""".strip()


def cell(inner: str) -> str:
    """`inner`, HTML, in the house's look and in no other's way."""
    return f'<div class="heapwright"><style>{STYLE}</style>{inner}</div>'


def facts(title: str, rows: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """A table of names and values, and sentences below it."""
    body = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(_text(value))}</td>'
        "</tr>"
        for name, value in rows.items()
    )
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return cell(
        f"<p><b>{escape(title)}</b></p><table>{body}</table>"
        + (f"<ul>{listed}</ul>" if listed else "")
    )


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
