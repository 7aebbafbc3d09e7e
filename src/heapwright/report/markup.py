"""Tables of the page. Each cell holds the value of JSON as `data-value` under `data-key`.

Where there is no room for all columns side by side the table scrolls in its box, and its first
column stays: nothing is cut and nothing left out. A heading sorts (tables.js).
"""

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from heapwright.report.rows import Column, Row, Sheet

_BREADTHS = ((4, "few"), (7, "some"), (12, "many"))  # columns at most, and what page.css calls it
_NUMBER_AND_UNIT = re.compile(r"(\d) ((?:[KMGT]i)?B|bytes|[kMG]|%|[nµm]?s)(?!\w)")
LONG_NAME = 44  # characters; a longer one is shown in part until it is opened
_SOFT_HYPHEN = "\u00ad"


def table(sheet: Sheet) -> str:
    """A table, in a box that knows its width; nothing of a sheet without rows."""
    if not sheet.rows:
        return ""
    columns = sheet.shown()
    breadth = next((name for most, name in _BREADTHS if len(columns) <= most), "most")
    head = "".join(_heading(column) for column in columns)
    body = "".join(_row(row, columns) for row in sheet.rows)
    caption = f'<p class="hint">{escape(sheet.caption)}</p>' if sheet.caption else ""
    return (
        f'<div class="sheet"><table class="figures {breadth}"><thead><tr>'
        f'<th scope="col">{escape(sheet.naming)}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{caption}"
    )


def words(text: str) -> str:
    """Text as HTML in which no line ends between a number and its unit."""
    return _NUMBER_AND_UNIT.sub("\\1\u00a0\\2", escape(text))


def _heading(column: Column) -> str:
    meaning = f' title="{escape(column.meaning)}"' if column.meaning else ""
    kind = "" if column.quantity.number else ' class="words"'
    return f'<th scope="col"{kind}{meaning}>{escape(column.title)}</th>'


def _row(row: Row, columns: list[Column]) -> str:
    winner = any(kind == "best" for kind, _ in row.flags)
    data = "".join(f' data-{key}="{escape(value)}"' for key, value in row.attributes.items())
    cells = "".join(_cell(column, row.values) for column in columns)
    style = ' class="winner"' if winner else ""
    return f'<tr{style}{data}><th scope="row">{row_name(row)}</th>{cells}</tr>'


def row_name(row: Row) -> str:
    """The name, what was set, and chips."""
    details = f" <small>{escape(', '.join(row.details))}</small>" if row.details else ""
    chips = "".join(f' <b class="chip {kind}">{escape(word)}</b>' for kind, word in row.flags)
    name = escape(row.name)
    if len(row.name) > LONG_NAME:
        name = f'<span class="clip">{name}</span>'
    if len(row.whole) > 1:
        frames = "".join(f"<li>{escape(frame)}</li>" for frame in row.whole)
        name = f'<details class="stack"><summary>{name}</summary><ol>{frames}</ol></details>'
    return f"{name}{details}{chips}"


def _cell(column: Column, values: Mapping[str, Any]) -> str:
    value, heading = column.value(values), column.title.replace(_SOFT_HYPHEN, "")
    attributes = f'data-key="{column.key}" data-title="{escape(heading)}"'
    if isinstance(value, (int, float)):
        exact = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        attributes += f' data-value="{value}" title="{exact}"'
    text = escape(column.text(values))
    if not column.quantity.number:
        attributes += ' class="words"'
    elif isinstance(value, Mapping):  # several: a line may end between them
        attributes += ' class="several"'
        text = ", ".join(f"<span>{part}</span>" for part in text.split(", "))
    return f"<td {attributes}>{text}</td>"
