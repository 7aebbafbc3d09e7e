"""The page allocator's twin beside a real kernel's record of scripted requests, frame by frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from heapwright.linux.page_alloc import serve
from heapwright.linux.recorded.dump import Snapshot, different, pages_of, read, requests_of


@dataclass
class Scripted:
    """How one sequence of requests went."""

    command: str
    allocations: int = 0
    exact: int = 0  # of them, whose frame, or refusal, is the kernel's
    refused: int = 0  # by the kernel
    first: str = ""  # the first that was not
    states: int = 0  # snapshots compared
    different: list[str] = field(default_factory=list)  # lists and counters that were not the same


def scripted(lines: Iterable[str]) -> Iterator[Scripted]:
    """Replay every sequence of page requests in a dump on the twin.

    After a miss it goes on with the kernel's own frame where that is free, else it ends there.
    """
    pages = None
    command, told, waiting = "", Scripted(""), []
    for item in read(lines):
        if isinstance(item, Snapshot):
            if item.label == "pages-before":
                pages, told, waiting = pages_of(item), Scripted(command), []
            elif pages is not None and item.label.startswith("pages-"):
                _serve(pages, told, waiting)
                waiting = []
                told.states += 1
                told.different += [f"{item.label}: {each}" for each in different(pages, item)]
                if item.label == "pages-after":
                    yield told
                    pages = None
        elif item[0] == "CMD":
            command = " ".join(item[1:])
        elif pages is not None and item[0] in ("A", "R"):
            waiting.append(item)


def _serve(pages, told, rows) -> None:  # type: ignore[no-untyped-def]
    """Serve requests and count those answered alike."""
    asked, real = requests_of(rows)
    mine = np.zeros(len(asked), np.int64)
    serve(pages, asked, mine)
    asking = asked[:, 2] == -1
    told.allocations += int(asking.sum())
    told.exact += int((mine == real)[asking].sum())
    told.refused += int((real[asking] == -1).sum())
    wrong = np.flatnonzero(mine != real)
    if len(wrong) and not told.first:
        row = int(wrong[0])
        told.first = f"{' '.join(rows[row])}: {mine[row]}"
