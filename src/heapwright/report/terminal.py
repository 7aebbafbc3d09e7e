"""Tables of a terminal that fit its width.

    too wide ─► the column of the highest rank is left out, and the caption says so; then the next
             ─► only then names are shortened, in the middle: what they end in tells them apart

Numbers are never cut, and their unit stands beside them or on top of their column.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from heapwright.report.rows import ABSENT, BYTES, COUNT, RATE, Column, Row, Sheet
from heapwright.words import digits, setting_text

if TYPE_CHECKING:
    from rich.console import Console

NAME_CLAIM = 40  # characters that names may claim before a column is left out for them
_LEAST_NAME = 8
_SOFT_HYPHEN = "\u00ad"
_STYLES = {"bad": "red"}
_ELLIPSIS = "…"


def print_sheet(console: "Console", sheet: Sheet) -> None:
    """Print its title, the table and its caption."""
    if sheet.title:
        console.print(Text(printable(sheet.title), "bold"), soft_wrap=True)
    lines, left_out = drawn(sheet, console.width)
    for line in lines:
        console.print(line, soft_wrap=True)
    caption = sheet.caption
    if left_out:
        caption += f" Left out at this width: {', '.join(left_out)}; a pipe and --json have all."
    if caption:
        console.print(Text(caption.strip(), "italic dim"))


def drawn(sheet: Sheet, width: int) -> tuple[list[Text], list[str]]:
    """The lines of the table, none wider than `width`, and the headings of what was left out."""
    columns = sheet.shown()
    names = [_name_lines(row, sheet.starred) for row in sheet.rows]
    lines_of_names = [line.plain for each in names for line in each]
    longest = max(map(cell_len, [sheet.naming, *lines_of_names]))
    bodies = {
        column.key: [_cell_lines(sheet, column, row) for row in sheet.rows] for column in columns
    }
    heads = {column.key: _heading(sheet, column, bodies[column.key]) for column in columns}
    widths = {
        column.key: max(
            cell_len(line) for cell in [heads[column.key], *bodies[column.key]] for line in cell
        )
        for column in columns
    }

    def room() -> int:
        return width - sum(widths[column.key] + 1 for column in columns)

    left_out = []
    while room() < min(longest, NAME_CLAIM) and any(column.rank for column in columns):
        least = max(columns, key=lambda column: column.rank)
        columns.remove(least)
        left_out.append(least.title.replace(_SOFT_HYPHEN, ""))
    name_width = max(min(longest, room()), min(longest, _LEAST_NAME))

    def assembled(name: Sequence[Text], cells: Sequence[list[str]], style: str) -> list[Text]:
        lines = []
        for at in range(max([len(name), *map(len, cells)])):
            parts = [
                Text(_beside(cell[at] if at < len(cell) else "", widths[column.key], column), style)
                for column, cell in zip(columns, cells, strict=True)
            ]
            named = name[at] if at < len(name) else Text()
            named = Text(elided(named.plain, name_width), named.style)
            if not sheet.names_last:
                named.append(" " * (name_width - cell_len(named.plain)))
            whole = [*parts, named] if sheet.names_last else [named, *parts]
            line = Text(" ").join(whole)
            line.rstrip()
            lines.append(line)
        return lines

    depth = max([1, *(len(heads[column.key]) for column in columns)])
    top = [[""] * (depth - len(heads[column.key])) + heads[column.key] for column in columns]
    naming = [Text()] * (depth - 1) + [Text(sheet.naming, "bold")]
    lines = assembled(naming, top, "bold") if any(any(head) for head in top) else []
    group = ""
    for number, row in enumerate(sheet.rows):
        if row.group != group:
            group = row.group
            lines.append(Text(elided(group, width), "italic dim"))
        style = "bold green" if any(kind == "best" for kind, _ in row.flags) else ""
        lines += assembled(names[number], [bodies[column.key][number] for column in columns], style)
    return lines, left_out


def printable(text: str) -> str:
    """The text without what moves a cursor or changes colours."""
    return "".join(c if c.isprintable() or c == " " else "\ufffd" for c in text)


def elided(text: str, width: int) -> str:
    """`text` in at most `width` columns, its middle left out if it is longer."""
    if cell_len(text) <= width:
        return text
    head, tail = "", ""
    for n in range(len(text)):
        if cell_len(head) + cell_len(tail) + 1 >= width:
            break
        if n % 2 == 0:
            head += text[len(head)]
        else:
            tail = text[-1 - len(tail)] + tail
    while cell_len(head) + cell_len(tail) + 1 > width and head:
        head = head[:-1]
    return head + _ELLIPSIS + tail


def _name_lines(row: Row, starred: bool) -> list[Text]:
    """The name with the words of its flags, below it what was set; a star for the winner."""
    best = any(kind == "best" for kind, _ in row.flags)
    words = [word for kind, word in row.flags if kind in ("", "now")]
    star = ("★ " if best else "  ") if starred else ""
    style = "bold green" if best else ""
    first = star + printable(row.name) + (f" ({', '.join(words)})" if words else "")
    indent = " " * (len(star) + 2) if star else "  "
    lines = [Text(first, style)]
    lines += [Text(indent + printable(detail), style) for detail in row.details]
    lines += [Text(indent + word, _STYLES["bad"]) for kind, word in row.flags if kind == "bad"]
    return lines


def _cell_lines(sheet: Sheet, column: Column, row: Row) -> list[str]:
    """The value, in the sheet's unit if it has one; what has several parts, one below another."""
    value = column.value(row.values)
    if value is None:
        return [ABSENT]
    if column.quantity is BYTES and sheet.unit:
        return [digits(value / sheet.unit[0])]
    text = column.text(row.values)
    if column.quantity in (COUNT, RATE):
        text = text.removesuffix("/s").replace(" ", "")
    return text.split(", ") if isinstance(value, Mapping) else [printable(text)]


def _heading(sheet: Sheet, column: Column, cells: Sequence[list[str]]) -> list[str]:
    """The heading in lines about as wide as what stands below; the unit in the last one."""
    wide = max((cell_len(line) for cell in cells for line in cell), default=0)
    lines = [""]
    for word in column.title.split(" "):
        pieces = word.split(_SOFT_HYPHEN)
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len("".join(pieces)) <= wide:
            lines[-1] += " " + "".join(pieces)
            continue
        if cell_len("".join(pieces)) <= wide:
            pieces = ["".join(pieces)]
        for number, piece in enumerate(pieces):
            lines.append(piece + ("-" if number < len(pieces) - 1 else ""))
    lines = [line for line in lines if line]
    if column.quantity is BYTES and sheet.unit:
        lines.append(sheet.unit[1])
    elif column.quantity is RATE:
        lines[-1] += "/s" if lines else ""
    return lines or [""]


def _beside(text: str, width: int, column: Column) -> str:
    """Numbers to the right, words to the left."""
    space = " " * (width - cell_len(text))
    return space + text if column.quantity.number else text + space


def plain(sheet: Sheet, width: int) -> list[str]:
    """The lines without styles, for tests and logs."""
    return [line.plain for line in drawn(sheet, width)[0]]


def print_descriptions(
    console: "Console", headings: Sequence[str], rows: Sequence[tuple[str, str, Mapping[str, int]]]
) -> None:
    """Print a row of name, description and knobs each: the description is what gives way."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, no_wrap=number != 1, overflow="fold")
    for name, description, knobs in rows:
        told = (
            "\n".join(
                f"{knob} = {setting_text(knob, value, grouped=True)}"
                for knob, value in knobs.items()
            )
            or "none"
        )
        table.add_row(Text(printable(name), "bold"), Text(printable(description)), Text(told))
    console.print(table)
