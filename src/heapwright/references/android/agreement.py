"""One of Android's allocators beside its twin: offsets, usable sizes, refusals, pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PAGE_SHIFT, RESIDENT
from heapwright.references import no_graph
from heapwright.references.android import build
from heapwright.references.android.driver import Drive, Space
from heapwright.references.tally import Tally, difference
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.versions import version_text
from heapwright.words import bytes_text, counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "align", "thread")


@dataclass
class Agreement:
    """What the twin and the real one agree on."""

    manager: str
    events: int
    versions: tuple[str, str]  # of the twin and of the real one
    offsets: Tally = field(default_factory=Tally)  # of blocks of either
    usable_sizes: Tally = field(default_factory=Tally)
    refused: tuple[int, int] = (0, 0)  # twin, real
    resident: tuple[int, int] = (0, 0)  # bytes of the space at the end
    footprint: tuple[int, int] | None = None  # most bytes taken of the system, where it grows
    first_difference: dict[str, int] | None = None
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every offset, usable size and refusal is equal."""
        equal = all(each.equal == each.compared for each in (self.offsets, self.usable_sizes))
        pairs = [self.refused, *([self.footprint] if self.footprint else [])]
        return equal and all(twin == real for twin, real in pairs)

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.manager} on {counted(self.events, 'event')}, beside {self.versions[1]}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        found = [self.offsets.row("offsets in its space"), self.usable_sizes.row("usable sizes")]
        figures = [
            ("refused", self.refused, "{:,}".format),
            ("resident at the end", self.resident, bytes_text),
        ]
        if self.footprint:
            figures.append(("footprint at most", self.footprint, bytes_text))
        for label, (twin, real), text in figures:
            found.append((label, text(twin), text(real), difference(twin, real)))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        said = [
            "The real one is the library's own code in a fresh process, without a runtime; offsets "
            "count from the start of its space, and a refused request has none in either."
        ]
        if self.first_difference:
            at = self.first_difference
            said.append(
                f"First difference at event {at['event']:,}: {at['twin']:,} (twin) and "
                f"{at['real']:,} (real); -1 is refused."
            )
        if not self.versions[1].startswith(self.versions[0]):
            said.append(
                f"The twin is of version {self.versions[0]} and the real one here is "
                f"{self.versions[1]}."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": self.manager,
            "events": self.events,
            "versions": both(self.versions),
            "offsets": vars(self.offsets),
            "usable_sizes": vars(self.usable_sizes),
            "refused": both(self.refused),
            "resident_bytes_end": both(self.resident),
            "footprint_bytes_peak": both(self.footprint) if self.footprint else None,
            "first_difference": self.first_difference,
            "settings": self.settings,
        }

    def enter(self, ours: np.ndarray, real: np.ndarray, first: int) -> None:
        """Enter (offset, usable) of a batch whose first event is `first`; offset -1: no block."""
        held = (ours[:, 0] >= 0) | (real[:, 0] >= 0)
        equal = ours == real
        self.offsets.add(equal[held, 0])
        self.usable_sizes.add(equal[held, 1])
        if self.first_difference is None and not equal[:, 0].all():
            row = int((~equal[:, 0]).argmax())
            self.first_difference = {
                "event": first + row,
                "twin": int(ours[row, 0]),
                "real": int(real[row, 0]),
            }


def offsets(heap: Any, placed: np.ndarray) -> np.ndarray:
    """(offset in the space, usable bytes) of (address, usable bytes); -1: there is no block."""
    held = placed[:, 0] != 0
    return np.column_stack(
        [np.where(held, placed[:, 0] - int(heap.base), -1), np.where(held, placed[:, 1], 0)]
    )


def resident_pages(heap: Any, zone_bytes: int) -> int:
    """Pages of the twin's space that hold memory."""
    first = int(heap.base) >> PAGE_SHIFT
    pages = heap.machine.pages[first : first + (zone_bytes >> PAGE_SHIFT)]
    return int(np.count_nonzero(pages & RESIDENT)) if heap.base else 0


def validate(
    name: str,
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and the real one and compare.

    `progress` is told the events compared so far. HeapwrightError for an object graph, and without
    the real one or a compiler.
    """
    no_graph(trace, name)
    twin = Replay(name, trace, dict(settings or {}), Conditions())
    versions = version_text(twin.version), build.version(name)
    found = Agreement(name, trace.events, versions, settings=dict(settings or {}))
    heap, ledger, seen = twin.heap, twin.ledger(), 0
    space = Space(*twin.module.space(heap))
    grows = name == "dlmalloc"
    with Drive(name, trace.slots, space) as drive:
        for batch in trace.batches(columns=COLUMNS):
            placed = np.zeros((len(batch.op), 2), np.int64)
            twin.loop.survey(heap, twin.run, batch, ledger, placed)
            found.enter(offsets(heap, placed), drive.replay(batch), seen)
            seen += len(batch.op)
            if progress:
                progress(seen)
        told = drive.finish()
    found.refused = int(twin.run.progress[twin.loop.REFUSED]), told.refused
    pages = resident_pages(heap, space.zone_bytes)
    found.resident = pages * PAGE_BYTES, told.resident_pages * PAGE_BYTES
    if grows:
        found.footprint = int(heap.space.peak), told.peak_bytes
    return found
