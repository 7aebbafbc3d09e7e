"""The caching allocator's twin beside the addresses that a snapshot recorded.

    request ─► twin asks the driver for a segment? ─► it lies where the recorded block did
             └ twin's block, recorded block ─► the same address?

Given      where cudaMalloc put a segment, which is the driver's affair: a segment that the twin
           asks for begins at the address that its first block was recorded at
Equal      every address of the history, and of what lay there when it began
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE, MAPPED_TOP
from heapwright.machine.device import UNIT_BYTES
from heapwright.references.tally import Tally
from heapwright.trace.schema import MALLOC, Events
from heapwright.tunnel.replay import Conditions, Replay
from heapwright.words import bytes_text, counted

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

LOWEST = BREAK_BASE << 1  # of the device's zone
NARROW_UNITS = 128  # of 2 MiB: no segment has a part so long that no block was ever in


@dataclass
class Agreement:
    """What twin and recording agree on."""

    events: int
    addresses: Tally = field(default_factory=Tally)
    segments: int = 0  # that the twin asked for
    reserved: int = 0  # bytes, of the twin at the end
    first_difference: dict[str, int] | None = None
    recorded: dict[str, int] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether every address is equal."""
        return self.addresses.equal == self.addresses.compared

    @property
    def title(self) -> str:
        """What was compared."""
        return f"cuda-caching on {counted(self.events, 'event')}, beside its recording"

    def rows(self) -> list[tuple[str, str, str, str]]:
        """What was compared, the twin's figure, the real one's, and how far they agree."""
        return [
            self.addresses.row("addresses"),
            ("segments asked for", f"{self.segments:,}", "", ""),
            ("reserved at the end", bytes_text(self.reserved), "", ""),
        ]

    def sentences(self) -> list[str]:
        """What the figures are made from, and where they first differ."""
        said = [
            "Addresses are compared with those that the snapshot recorded; a segment that the twin "
            "asks for lies where its first block was recorded."
        ]
        if self.recorded:
            knobs = ", ".join(f"{knob}={value}" for knob, value in self.recorded.items())
            said.append(f"The twin is set as recorded: {knobs}.")
        if self.first_difference:
            at = self.first_difference
            said.append(
                f"First difference at event {at['event']:,}: {at['twin']:#x} (twin) and "
                f"{at['real']:#x} (recorded)."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """The stable form that `--json` prints."""
        return {"manager": "cuda-caching", **vars(self), "addresses": vars(self.addresses)}

    def enter(self, mine: int, real: int, event: int) -> None:
        """Enter a block's addresses."""
        self.addresses.compared += 1
        self.addresses.equal += mine == real
        if mine != real and self.first_difference is None:
            self.first_difference = {"event": event, "twin": mine, "real": real}


def validate(
    trace: "Trace",
    settings: Mapping[str, int] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> Agreement:
    """Replay `trace` through the twin and compare its addresses with the recorded ones.

    `progress` is told the events compared so far. HeapwrightError for a trace of no device, and for
    addresses that take more than the twin's space.
    """
    if not (trace.origin.get("device") and trace.has_addresses):
        raise HeapwrightError(
            f"{trace.path} is no snapshot of a GPU's memory: import one, which "
            "torch.cuda.memory._dump_snapshot writes, and validate cuda-caching with that."
        )
    places = Places(trace)
    if places.wide > MAPPED_TOP - LOWEST:
        raise HeapwrightError(
            f"{trace.path}: the recorded addresses take {places.wide:,} bytes, which is more than "
            "the model's address space: they cannot be compared."
        )
    twin = Replay("cuda-caching", trace, dict(settings or {}), Conditions("none"))
    found = Agreement(trace.events, recorded=twin.recorded, settings=dict(settings or {}))
    heap, objects, seen = twin.heap, twin.run.objects, 0
    for batch in trace.batches((*twin.loop.COLUMNS, "address")):
        op, slot, address = batch.op.tolist(), batch.slot.tolist(), batch.address.tolist()
        for row, real in enumerate(address):
            if op[row] == MALLOC and real:
                heap.device.next = places.twin(real)
            one = Events(*(column[row : row + 1] for column in batch))
            twin.loop.replay(heap, twin.run, one)
            if op[row] == MALLOC and real:
                mine = int(objects.address[slot[row]])
                found.enter(places.real(mine) if mine else 0, real, seen + row)
        seen += len(op)
        if progress:
            progress(seen)
    told = twin.module.statistics(heap)
    paths = dict(zip(twin.module.PATHS, heap.paths.tolist(), strict=True))
    found.segments, found.reserved = paths["segment"], told["reserved_bytes"]
    return found


class Places:
    """Where the twin has a recorded address: the same order, wide gaps made narrower, so that a
    device of more address space than the model's can be followed."""

    def __init__(self, trace: "Trace") -> None:
        parts = []
        for batch in trace.batches(("op", "address", "size")):
            known = batch.address > 0
            first = batch.address[known] // UNIT_BYTES
            past = (batch.address[known] + np.maximum(batch.size[known], 1) - 1) // UNIT_BYTES + 1
            parts.append(np.stack([first, past]))
        first, past = np.concatenate(parts, axis=1)
        order = np.argsort(first, kind="stable")
        first, reach = first[order], np.maximum.accumulate(past[order])
        wide = np.flatnonzero(first[1:] - reach[:-1] > NARROW_UNITS) + 1
        self._real = first[np.concatenate([[0], wide])] * UNIT_BYTES
        cut = first[wide] - reach[wide - 1] - NARROW_UNITS
        narrower = np.concatenate([[0], np.cumsum(cut)]) * UNIT_BYTES
        top = int(reach[-1]) * UNIT_BYTES - int(narrower[-1])
        self._shift = narrower + (top - MAPPED_TOP)
        self.wide = int(top - self._real[0])
        self._twin = self._real - self._shift

    def twin(self, real: int) -> int:
        """The twin's address."""
        return real - int(self._shift[np.searchsorted(self._real, real, "right") - 1])

    def real(self, twin: int) -> int:
        """The recorded one that a twin's stands for."""
        row = max(int(np.searchsorted(self._twin, twin, "right")) - 1, 0)
        return twin + int(self._shift[row])
