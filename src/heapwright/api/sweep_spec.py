"""What a sweep replays, read from TOML: traces, times managers, times settings, times conditions.

    traces = ["web.heap.parquet", "more/*.heap.parquet", "s3://runs/batch.heap.parquet", "bursts"]
    managers = ["glibc", "wright"]    # or "all"; by default the usual ones
    references = ["jemalloc"]         # real systems, measured; true: all that are installed
    defaults = true                   # each manager without settings too
    touch = ["all", "none"]           # conditions, as of `compare`; one or several
    output = "rows.parquet"

    [settings.glibc]                  # every combination; [[settings.glibc]] for several tables
    arena_max = [1, 2, 4]
    trim_threshold = ["64k", "1M"]

Paths are relative to the file's folder. What is wrong is one sentence with the file, the line where
it is known, and the key.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from heapwright.errors import HeapwrightError
from heapwright.quantities import parse_knob

MOST_ROWS = 1_000_000
Settings = dict[str, int]


class SpecFault(HeapwrightError):
    """What is wrong under a key of the file; the sentence gets its place in `Read.told`."""

    def __init__(self, sentence: str, keys: Sequence[str]) -> None:
        super().__init__(sentence)
        self.keys = keys


@contextmanager
def under(*keys: str) -> Iterator[None]:
    """What is wrong in the block stands under this key."""
    try:
        yield
    except SpecFault:
        raise
    except HeapwrightError as error:
        raise SpecFault(str(error), keys) from None


class _KnobFault(ValueError):
    def __init__(self, sentence: str, manager: str, knob: str) -> None:
        super().__init__(sentence)
        self.keys = ("settings", manager, knob)


def _several(value: Any) -> Any:
    """One value where a list may stand."""
    return value if isinstance(value, list) else [value]


def _grids(value: Any) -> Any:
    """Each manager's tables, each knob's values as integers."""
    if not isinstance(value, dict):
        raise ValueError("is not a table of managers, as [settings.glibc]")
    for manager, tables in value.items():
        for table in _several(tables):
            if not isinstance(table, dict):
                raise ValueError(f"of {manager} is not a table of knobs")
    return {
        manager: [
            {
                knob: [_number(manager, knob, one) for one in _several(values)]
                for knob, values in table.items()
            }
            for table in _several(tables)
        ]
        for manager, tables in value.items()
    }


def _number(manager: str, knob: str, value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    try:
        return parse_knob(knob, str(value))
    except HeapwrightError as error:
        raise _KnobFault(str(error).rstrip("."), manager, knob) from None


Several = Annotated[list[str], BeforeValidator(_several), Field(min_length=1)]
Grids = Annotated[dict[str, list[dict[str, list[int]]]], BeforeValidator(_grids)]


class SweepSpec(BaseModel):
    """A sweep as it is asked for."""

    model_config = ConfigDict(extra="forbid")

    traces: Several
    managers: Several | None = None
    references: bool | list[str] = False
    defaults: bool = True
    settings: Grids = {}
    touch: Several = ["known"]  # as recorded where a trace tells it, else all
    huge_pages: Several = ["never"]
    samples: Annotated[int, Field(ge=1, le=100_000)] = 200
    output: str | None = None

    def variants(self, manager: str) -> Iterator[Settings]:
        """The settings of a manager, none of them twice."""
        found: list[Settings] = [{}] if self.defaults or manager not in self.settings else []
        for grid in self.settings.get(manager, []):
            found += [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        seen = set()
        for knobs in found:
            if (key := tuple(sorted(knobs.items()))) not in seen:
                seen.add(key)
                yield knobs

    def conditions(self) -> Iterator[tuple[str, str]]:
        """Each pair of touch and huge_pages."""
        yield from product(dict.fromkeys(self.touch), dict.fromkeys(self.huge_pages))


@dataclass(frozen=True)
class Read:
    """A sweep that was read, and its file."""

    spec: SweepSpec
    name: str  # of the file, for sentences
    text: str
    base: Path  # folder that its paths start from

    def told(self, fault: SpecFault) -> HeapwrightError:
        """The sentence with its place."""
        return HeapwrightError(f"{place(self.name, self.text, fault.keys)}: {fault}")


def read_spec(source: str | os.PathLike[str] | Mapping[str, Any]) -> Read:
    """The sweep of a TOML file, or of a dictionary.

    HeapwrightError for a file that is not there, not TOML, or has a key or value too many.
    """
    if isinstance(source, Mapping):
        return Read(_checked(source, "the sweep", ""), "the sweep", "", Path())
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise HeapwrightError(f"cannot read {path}: {reason}") from None
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise HeapwrightError(f"{path} is not TOML: {error}") from None
    return Read(_checked(found, str(path), text), str(path), text, path.parent)


def _checked(found: Mapping[str, Any], name: str, text: str) -> SweepSpec:
    try:
        return SweepSpec.model_validate(dict(found))
    except ValidationError as error:
        first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    keys = getattr(cause, "keys", None) or [str(part) for part in first["loc"][:1]]
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"is no key of a sweep; its keys: {', '.join(SweepSpec.model_fields)}"
    elif first["type"] == "missing":
        message = "is missing: a sweep names its traces"
    raise HeapwrightError(f"{place(name, text, keys)}: {message}")


def place(name: str, text: str, keys: Sequence[str]) -> str:
    """Where in the file a key stands: `sweep.toml, line 3, traces`."""
    whole = ".".join(keys)
    table = ".".join(keys[:-1])
    line = section = 0
    here = ""
    for number, row in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", row):
            here = header[1].replace('"', "")
            section = section or number * (here == whole)
        elif here == table and re.match(rf'\s*"?{re.escape(keys[-1])}"?\s*=', row):
            line = line or number
    found = line or section
    return f"{name}, line {found}, {whole}" if found else f"{name}, {whole}"
