"""The state of HotSpot's serial heap: one reserved range, young below old.

    │ eden ─►      │ from ─► │ to │ old: own │ table │ objects ─►            │
    └──────── young ──────────────┘     what the JVM keeps for itself

Invariant  each space is tiled by blocks up to its top; `to` is empty unless a promotion failed
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
    "small_bytes",  # larger blocks are not born at `bump`
    "tlab_bytes",  # desired; 0 no buffers
    "tlab_reserve",
    "waste_limit",
    "pretenure_bytes",  # blocks from this size on are born old; NEVER
    "threshold",  # age at which the next collection promotes
    "most_threshold",
    "target_percent",
    "dead_percent",
    "always_compact",
    "fulls",  # full collections so far, those of the JVM's start among them
    "nearly_full",  # real: incremental_collection_failed, from 24 on is_heap_almost_full
    "survivors_open",  # allocate in survivors too; real: should_allocate_from_space
    "modern",  # JDK 24 and later
    "old_before",  # old_top when the collection began
    "promotion_failed",
    "allowed_dead",  # bytes of dead objects that a full collection may still leave in place
    "target_space",  # of a full collection: see compact.py
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    java: Java
    stack: MarkStack  # grey objects of a full collection; those that could not be promoted
    promoted: np.ndarray  # float32[WORDS]  see averages.py
    ages: np.ndarray  # int64[AGES]  of the collection at work
    shown_ages: np.ndarray  # int64[AGES]  as last published
    history: np.ndarray  # int64[...]  see history.py
    tops: np.ndarray  # int64[4]  of a full collection: where each target space will end
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel(inline=True)
def is_young(heap, address):
    """Whether the object lies in young, which is below old; also of 0."""
    return address <= heap.old


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
