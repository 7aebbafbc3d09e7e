"""What a benchmark says: in JSON, and in tables of pages of docs/ that it makes anew.

A table stands between `<!-- begin: COMMAND -->`, which names what made it, and `<!-- end -->`.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

END = "<!-- end -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; all columns but the first hold figures."""
    columns = list(head)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace(page: Path, command: str, text: str) -> None:
    """Put `text` between the marks of a command; ValueError where the page has none."""
    begin = f"<!-- begin: {command} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page} has no table of {command}")
    page.write_text(f"{before}{begin}\n{text}\n{END}{after}")


def tell(report: Mapping[str, Any], output: Path | None) -> None:
    """Print a report as JSON, and write it where that is wanted."""
    text = json.dumps(report, indent=2)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text + "\n")
    print(text)
