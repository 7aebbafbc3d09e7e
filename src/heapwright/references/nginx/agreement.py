"""nginx's slab allocator beside its twin on the same trace: offsets, refusals, counters, pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import RESIDENT_PAGES
from heapwright.references import no_graph
from heapwright.references.nginx import build
from heapwright.references.nginx.driver import Drive
from heapwright.references.tally import Tally, difference, first_difference, other_version
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.versions import version_text
from heapwright.words import bytes_text, counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

COLUMNS = ("op", "slot", "size", "align", "thread")


@dataclass
class Agreement:
    """What the twin and the real one agree on."""

    events: int
    versions: tuple[str, str]  # of the twin and of the real one
    offsets: Tally = field(default_factory=Tally)  # of blocks of either
    counters: Tally = field(default_factory=Tally)  # free pages; each size's total, used, ...
    refused: tuple[int, int] = (0, 0)  # twin, real
    resident: tuple[int, int] = (0, 0)  # bytes of the zone at the end
    header_bytes: int = 0  # of the real pool
    first_difference: dict[str, int] | None = None
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every offset, refusal and counter is equal."""
        equal = all(each.equal == each.compared for each in (self.offsets, self.counters))
        return equal and self.refused[0] == self.refused[1]

    @property
    def title(self) -> str:
        """What was compared."""
        return f"nginx-slab on {counted(self.events, 'event')}, beside nginx {self.versions[1]}"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        found = [self.offsets.row("offsets in the zone"), self.counters.row("its own counters")]
        for label, (twin, real), text in (
            ("refused", self.refused, "{:,}".format),
            ("resident at the end", self.resident, bytes_text),
        ):
            found.append((label, text(twin), text(real), difference(twin, real)))
        return found

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        said = [
            "The real one is nginx's ngx_slab.c in a zone of a fresh process; offsets count from "
            "the zone's first page of objects, and a refused request has none in either."
        ]
        return said + first_difference(self.first_difference) + other_version(self.versions)

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""

        def both(pair: tuple[Any, Any]) -> dict[str, Any]:
            return dict(zip(("twin", "real"), pair, strict=True))

        return {
            "manager": "nginx-slab",
            "events": self.events,
            "versions": both(self.versions),
            "offsets": vars(self.offsets),
            "counters": vars(self.counters),
            "refused": both(self.refused),
            "resident_bytes_end": both(self.resident),
            "first_difference": self.first_difference,
            "settings": self.settings,
        }

    def enter(self, ours: np.ndarray, real: np.ndarray, first: int) -> None:
        """Enter the offsets of a batch whose first event is `first`; -1: no block."""
        equal = ours == real
        self.offsets.add(equal[(ours >= 0) | (real >= 0)])
        if self.first_difference is None and not equal.all():
            row = int((~equal).argmax())
            self.first_difference = {
                "event": first + row,
                "twin": int(ours[row]),
                "real": int(real[row]),
            }


def validate(
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and nginx's own code and compare.

    `progress` is told the events compared so far. HeapwrightError for an object graph, and without
    nginx's sources or a compiler.
    """
    no_graph(trace, "nginx")
    twin = Replay("nginx-slab", trace, dict(settings or {}), Conditions())
    versions = version_text(twin.version), build.version()
    found = Agreement(trace.events, versions, settings=dict(settings or {}))
    heap, ledger, seen = twin.heap, twin.ledger(), 0
    with Drive(trace.slots, int(heap.zone_bytes)) as drive:
        for batch in trace.batches(columns=COLUMNS):
            placed = np.zeros((len(batch.op), 2), np.int64)
            twin.loop.survey(heap, twin.run, batch, ledger, placed)
            ours = np.where(placed[:, 0] != 0, placed[:, 0] - int(heap.start), -1)
            found.enter(ours, drive.replay(batch), seen)
            seen += len(batch.op)
            if progress:
                progress(seen)
        told = drive.finish()
    counters = [told.free_pages, *told.counters]
    mine = list(twin.module.statistics(heap).values())
    if heap.pool:
        found.counters.add(np.array(mine) == np.array(counters))
    found.refused = int(twin.run.progress[twin.loop.REFUSED]), told.refused
    pages = int(heap.machine.meters[RESIDENT_PAGES])
    found.resident = pages * PAGE_BYTES, told.resident_pages * PAGE_BYTES
    found.header_bytes = told.header_bytes
    return found
