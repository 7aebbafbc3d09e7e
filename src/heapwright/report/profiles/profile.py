"""What all formats of heap profiles are written from: stacks with values of several kinds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.stacks import Stacks

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

UNKNOWN = "unknown"  # the frame of requests without a call site
DEFAULT = "inuse_space"
_PLACED = re.compile(r"(?P<name>.*) \((?P<file>[^()]*?)(?::(?P<line>\d+))?\)", re.DOTALL)


class Kind(NamedTuple):
    """A kind of value, under the name that pprof has for it where it has one."""

    name: str
    unit: str  # bytes or count
    meaning: str


class Place(NamedTuple):
    """A function, and where it stands as far as that is known."""

    function: str
    file: str
    line: int


@dataclass
class Profile:
    """Stacks and what each has on its own."""

    program: str
    frames: list[list[str]]  # functions of each frame, the outermost first
    stacks: Stacks
    kinds: list[Kind]
    values: np.ndarray  # int64[row, kind]; row 0 of unknown sites, else 1 + node

    @classmethod
    def of(cls, trace: "Trace", stacks: Stacks, kinds: Mapping[Kind, np.ndarray]) -> "Profile":
        """The profile of a trace."""
        return cls(
            trace.program or trace.path.name,
            [name.split("\n") for name in trace.frames()],
            stacks,
            list(kinds),
            np.stack(list(kinds.values()), axis=1),
        )

    def column(self, kind: str | None) -> int:
        """The column of a kind; HeapwrightError for one that there is not."""
        names = [one.name for one in self.kinds]
        wanted = kind or DEFAULT
        if wanted not in names:
            raise HeapwrightError(f"--kind {wanted!r} is none: choose one of {', '.join(names)}")
        return names.index(wanted)

    def rows(self) -> Iterator[int]:
        """The rows with any value."""
        yield from np.flatnonzero(self.values.any(axis=1)).tolist()

    def nodes(self, row: int) -> list[int]:
        """The nodes of a row's stack, innermost first; none of row 0."""
        found, node = [], row - 1
        while node >= 0:
            found.append(node)
            node = int(self.stacks.parent[node])
        return found

    def functions(self, row: int) -> list[str]:
        """The functions of a row's stack, outermost first."""
        if row == 0:
            return [UNKNOWN]
        return [
            name for node in self.nodes(row)[::-1] for name in self.frames[self.stacks.frame[node]]
        ]


def placed(label: str) -> Place:
    """A frame's label `parse (json.c:12)` in its parts."""
    match = _PLACED.fullmatch(label)
    if not match or not match["file"]:
        return Place(label, "", 0)
    return Place(match["name"], match["file"], int(match["line"] or 0))
