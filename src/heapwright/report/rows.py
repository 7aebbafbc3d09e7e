"""What a table shows, said once: the terminal, the page and JSON take it from the same rows.

    rows of JSON ─► Sheet: columns that find a value in a row and know its unit
                      ├─► terminal.py   a table that fits its width
                      └─► markup.py     a table of the page, each cell with the value of JSON

A row is a dictionary as `--json` prints it; a column's key says where in it the value stands. So
the three can differ only where a column names another key, which the tests hold for every column.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from heapwright.words import (
    bytes_text,
    change_text,
    count_text,
    digits,
    duration_text,
    percent_text,
)

_BYTE_UNITS = ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))
_TELLING_UNITS = 10  # of a column's unit its smallest telling value has at least so many
_EXACT_COUNT = 1_000_000  # counts below are written out
BAR_COLUMNS = 24  # characters of a full bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Quantity(NamedTuple):
    """A kind of value: how it is written with its unit, and whether it stands to the right."""

    text: Callable[[Any], str]
    number: bool = True


def _counted(value: float) -> str:
    return f"{value:,.0f}" if value < _EXACT_COUNT else count_text(value)


def _by_kind(shown: Callable[[Any], str], sole: str | None) -> Callable[[Mapping[str, Any]], str]:
    """Values by kind, `123 full, 4 minor`; without the word where only `sole` (None: any) is."""

    def text(values: Mapping[str, Any]) -> str:
        told = {kind: value for kind, value in values.items() if value or sole is None}
        alone = len(told) < 2 if sole is None else set(told) <= {sole}
        return ", ".join(
            shown(value) + ("" if alone else f" {kind}") for kind, value in told.items()
        )

    return text


def _range(shown: Callable[[Any], str]) -> Callable[[Mapping[str, Any]], str]:
    """The least, and the most where that is written otherwise."""

    def text(values: Mapping[str, Any]) -> str:
        least, most = shown(values["least"]), shown(values["most"])
        return least if least == most else f"{least}, to {most}"

    return text


def _bar(share: float) -> str:
    """A bar of up to BAR_COLUMNS characters; what is not nothing shows at least a sliver."""
    eighths = round(8 * BAR_COLUMNS * share)
    if share > 0:
        eighths = max(eighths, 1)
    return _EIGHTHS[8] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


TEXT = Quantity(str, number=False)
FIGURE = Quantity(str)  # that was written with its unit before
BYTES = Quantity(lambda value: bytes_text(value) if value else "0")
COUNT = Quantity(_counted)
RATE = Quantity(lambda value: f"{count_text(value)}/s")
SHARE = Quantity(percent_text)
CHANGE = Quantity(change_text)
RATIO = Quantity(lambda value: f"{digits(value)}×")
DURATION = Quantity(duration_text)
EXACT = Quantity(lambda value: f"{value:,}")
BAR = Quantity(_bar, number=False)
BYTES_RANGE = Quantity(_range(bytes_text))
COUNT_RANGE = Quantity(_range(_counted))
COUNT_BY_KIND = Quantity(_by_kind(_counted, "full"))
SHARE_BY_KIND = Quantity(_by_kind(percent_text, None))

ABSENT = "-"  # shown for a value that is not known


@dataclass(frozen=True)
class Column:
    """One figure of every row."""

    key: str  # where it stands in a row of JSON, as in peak.live_bytes
    title: str  # the heading; a soft hyphen says where it may be broken
    quantity: Quantity = COUNT
    meaning: str = ""  # a sentence, for those who point at the heading
    rank: int = 0  # 0: always shown; of the others the highest is left out first where it is narrow
    sparse: bool = False  # left out where no row has anything in it

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value in a row of JSON; None where there is none."""
        found: Any = row
        for name in self.key.split("."):
            if not isinstance(found, Mapping):
                return None
            found = found.get(name)
        return found

    def text(self, row: Mapping[str, Any]) -> str:
        """The value with its unit."""
        value = self.value(row)
        return ABSENT if value is None or value == {} else self.quantity.text(value)


@dataclass(frozen=True)
class Row:
    """A row of JSON and what its name says beside it."""

    values: Mapping[str, Any]
    name: str
    details: tuple[str, ...] = ()  # below the name: knobs that were set
    flags: tuple[tuple[str, str], ...] = ()  # class and word, as ("bad", "ran out of memory")
    attributes: Mapping[str, str] = field(default_factory=dict)  # data-... of the page's row
    whole: tuple[str, ...] = ()  # what the page opens the name to: a call stack, outermost last
    group: str = ""  # in a terminal a line above the first row of a group says what they are


@dataclass(frozen=True)
class Sheet:
    """A table: its rows, what names them, and the columns that are shown of them."""

    naming: str  # heading of the names
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    title: str = ""
    caption: str = ""  # what a reader must know of the figures
    names_last: bool = False  # in a terminal, where names are long
    starred: bool = False  # the winner has a star in a terminal
    unit: tuple[int, str] | None = None  # bytes of a terminal's columns in this one, named on top

    def shown(self) -> list[Column]:
        """The columns but for the sparse ones in which no row has anything."""
        return [
            column
            for column in self.columns
            if not column.sparse or any(column.value(row.values) for row in self.rows)
        ]


def bytes_unit(values: Sequence[int]) -> tuple[int, str]:
    """The unit that the smallest value is at least ten of, and its name.

    Not the largest: a manager that frees nothing would leave the others no digits.
    """
    smallest = min((value for value in values if value), default=0)
    for shift, name in _BYTE_UNITS:
        if smallest >= _TELLING_UNITS << shift:
            return 1 << shift, name
    return 1 << 10, "KiB"
