"""Tables in pages of docs/ that a benchmark makes anew.

The table stands between `<!-- begin: COMMAND -->`, which names what made it, and `<!-- end -->`.
"""

from collections.abc import Iterable
from pathlib import Path

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
