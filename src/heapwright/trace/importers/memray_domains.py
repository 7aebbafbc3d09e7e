"""Whom a request in memray's capture asked: malloc, or Python's own allocators.

    record's allocator, size and address ─► domain, in the high bits of its thread while records
    are matched ─► the column `domain`; a free has the domain of its object

memray hooks the domains raw, mem and object alike and does not keep which it was. Raw requests are
malloc's: the small ones of them lie in the heap that the break bounds, far below the mappings that
arenas are; large ones of all three go to malloc anyway.
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import FREE, MALLOC_DOMAIN, OBJECT, RAW, Events

UNKNOWN = "unknown"  # version of the Python
OF_PYTHON = 4  # allocators up to here, from 1: PYMALLOC_REALLOC
POOLED_BYTES = 512
MAPPINGS = 0x7000_0000_0000  # where Linux puts them on x86-64 and the heap never comes
SHIFT = 24  # of the domain above the thread's number, which is below THREAD_LIMIT


class Domains:
    """The domains of a capture, batch by batch; `known`: it has requests to Python's allocators."""

    def __init__(self, known: bool) -> None:
        self.known = known
        self._of_slot = np.zeros(1 << 12, np.uint8)

    def enter(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with each record's domain in its thread."""
        if not self.known:
            return batch
        small = (batch["size"] > 0) & (batch["size"] <= POOLED_BYTES)
        raw = small & (batch["address"] < MAPPINGS)
        python = batch["allocator"] <= OF_PYTHON
        domain = np.where(python, np.where(raw, RAW, OBJECT), MALLOC_DOMAIN).astype(np.int32)
        return batch | {"thread": batch["thread"] | domain << SHIFT}

    def leave(self, events: Events) -> Events:
        """The events with their domains in the column."""
        if not self.known or not len(events.op):
            return events
        highest = int(events.slot.max())
        if highest >= len(self._of_slot):
            self._of_slot = np.append(self._of_slot, np.zeros(2 * highest, np.uint8))
        domain = (events.thread >> SHIFT).astype(np.uint8)
        settle(events.op, events.slot, domain, self._of_slot)
        return events._replace(thread=events.thread & (1 << SHIFT) - 1, domain=domain)


@kernel
def settle(op, slot, domain, of_slot):
    """A free gets the domain of its object, uint8[slot] in `of_slot`."""
    for row in range(len(op)):
        i = unsigned(row)
        if slot[i] >= 0:
            if op[i] == FREE:
                domain[i] = of_slot[unsigned(slot[i])]
            else:
                of_slot[unsigned(slot[i])] = domain[i]
