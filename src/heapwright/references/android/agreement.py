"""One of Android's allocators beside its twin: offsets, usable sizes, refusals, pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import PAGE_SHIFT, RESIDENT
from heapwright.references import no_graph
from heapwright.references.android import build
from heapwright.references.android.driver import Drive, Space
from heapwright.references.tally import Tally, difference, first_difference, other_version
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.versions import version_text
from heapwright.words import bytes_text, counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

COLUMNS, GRAPH = ("op", "slot", "size", "align", "thread"), ("field", "target")


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
    # Of Dalvik: collections for an allocation, beside the program, and before it is out of memory;
    # and a digest of what each freed, left, had taken and aims at
    collections: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    digests: tuple[int, int] = (0, 0)
    first_difference: dict[str, int] | None = None
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every offset, usable size and refusal is equal."""
        equal = all(each.equal == each.compared for each in (self.offsets, self.usable_sizes))
        pairs: list[tuple[Any, Any]] = [self.refused, self.digests]
        pairs += [each for each in (self.footprint, self.collections) if each]
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
        if self.collections:
            kinds = ("GC_FOR_ALLOC", "GC_CONCURRENT", "GC_BEFORE_OOM")
            for kind, *counts in zip(kinds, *self.collections, strict=True):
                figures.append((kind, (counts[0], counts[1]), "{:,}".format))
            same = "equal" if self.digests[0] == self.digests[1] else "differs"
            found.append(("freed, left, taken, aimed at", "by", "collection", same))
        for label, (twin, real), text in figures:
            found.append((label, text(twin), text(real), difference(twin, real)))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        said = [
            "The real one is the library's own code in a fresh process, without a runtime; offsets "
            "count from the start of its space, and a refused request has none in either."
        ]
        if self.collections:
            said.append(
                "Of Dalvik the spaces are real, dlmalloc's own in a process of 32 bits; what "
                "decides over them is written from its rules a second time, and no Dalvik ran."
            )
        return said + first_difference(self.first_difference) + other_version(self.versions)

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
            "collections": both(self.collections) if self.collections else None,
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
    held, header = placed[:, 0] != 0, 8 if hasattr(heap, "active") else 0  # of an object
    start = int(heap.base) + header
    return np.column_stack(
        [np.where(held, placed[:, 0] - start, -1), np.where(held, placed[:, 1] + header, 0)]
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

    `progress` is told the events compared so far. HeapwrightError for the wrong kind of trace,
    without the real one or a compiler, and for a program that is out of memory.
    """
    if name == "dalvik":
        if not trace.graph:
            raise HeapwrightError(
                f"{trace.path} is no object graph, whose deaths dalvik is held to; make one: "
                "heapwright synthesise bitmap-cache."
            )
        if trace.references:
            raise HeapwrightError(
                f"{trace.path} declares references, of which the rules beside the real spaces know "
                "nothing: validate dalvik with a trace that declares none."
            )
    else:
        no_graph(trace, name)
    twin = Replay(name, trace, dict(settings or {}), Conditions())
    versions = version_text(twin.version), build.version(name)
    found = Agreement(name, trace.events, versions, settings=dict(settings or {}))
    heap, ledger, seen = twin.heap, twin.ledger(), 0
    space = Space(*twin.module.space(heap))
    with Drive(name, trace.slots, space) as drive:
        for batch in trace.batches(columns=(*COLUMNS, *(GRAPH if trace.graph else ()))):
            placed = np.zeros((len(batch.op), 2), np.int64)
            twin.loop.survey(heap, twin.run, batch, ledger, placed)
            found.enter(offsets(heap, placed), drive.replay(batch), seen)
            seen += len(batch.op)
            if trace.graph:
                twin.end_if_fatal()
            if progress:
                progress(seen)
        told = drive.finish()
    found.refused = int(twin.run.progress[twin.loop.REFUSED]), told.refused
    pages = resident_pages(heap, space.zone_bytes)
    found.resident = pages * PAGE_BYTES, told.resident_pages * PAGE_BYTES
    if name == "dlmalloc":
        found.footprint = int(heap.space.peak), told.peak_bytes
    if name == "dalvik":
        found.footprint = int(heap.active.peak), told.peak_bytes
        counts, digest = twin.module.summary(heap)
        found.collections, found.digests = (counts, told.collections), (digest, told.digest)
    return found
