"""The state of HotSpot's parallel heap: one reserved range, old below young.

    │ old: own │ table │ objects ─►          │ eden ─►      │ survivors ─► │ spare │
      what the JVM keeps for itself          └──────────────── young ─────────────┘

Invariant  each space is tiled by blocks up to its top; `spare` is empty unless a promotion failed
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.hotspot.layout import Java
from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.compiler import kernel
from heapwright.compiler.record import record
from heapwright.machine import Machine


@record(
    "eden",  # addresses: of a space, of its first free byte, and where it ends
    "eden_top",  # without buffers it is brought up to `bump` only by `settle_eden`
    "eden_end",
    "survivors",
    "survivors_top",
    "spare",  # the other survivor space
    "spare_top",
    "survivor_bytes",  # of each
    "old",
    "old_top",
    "old_end",
    "objects",  # where the program's objects begin in old
    "bump",  # where the next small object is born: in eden, or in the buffer there
    "bump_end",
    "tlab_bytes",  # desired; 0 no buffers
    "tlab_reserve",
    "waste_limit",
    "threshold",  # age at which a collection promotes
    "march",  # requests in turn that went to old as nothing else had room
    "promotion_failed",
    "young_lab",  # promotion buffers of a collection: next byte and end; 0, 0 none
    "young_lab_end",
    "old_lab",
    "old_lab_end",
    "young_full",  # no further buffer of to-space, of old
    "old_full",
    "fulls",
    "target",  # of a full collection: where what does not fit old goes; see compact.py
    "target_top",
    "target_end",
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    java: Java
    stack: MarkStack  # grey objects of a full collection; of a scavenge, places of references
    promoted: np.ndarray  # float32[WORDS]  see averages.py
    shown_ages: np.ndarray  # int64[AGES]  stays empty: this collector has no age table
    history: np.ndarray  # int64[...]  see history.py
    tops: np.ndarray  # int64[4]  of a full collection: where each space will end
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def is_young(heap, address):
    """Whether the object lies in young, which is above old; not of 0."""
    return address > heap.old_end


@kernel
def settle_eden(heap):
    """Where there are no buffers, `bump` is eden's top."""
    if not heap.tlab_bytes and heap.bump_end:
        heap.eden_top = heap.bump


@kernel
def young_bytes(heap):
    """Bytes of young's objects, dead or alive."""
    return heap.eden_top - heap.eden + heap.survivors_top - heap.survivors


@kernel
def occupied(heap):
    """Bytes of all objects, dead or alive, without the JVM's own and the table."""
    return young_bytes(heap) + heap.spare_top - heap.spare + heap.old_top - heap.objects
