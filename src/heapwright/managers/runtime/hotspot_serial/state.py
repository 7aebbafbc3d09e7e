"""The state of HotSpot's serial heap: young below old, in one reserved range.

    │ eden ─►      │ from ─► │ to │ old: own │ table │ objects ─►            │
    └──────── young ──────────────┘     what the JVM keeps for itself

Invariant  each space is tiled by blocks up to its top; `to` is empty unless a promotion failed
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.hotspot.generations import SPACES
from heapwright.collectors.hotspot.layout import Java
from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.references import References
from heapwright.compiler.record import record
from heapwright.machine import Machine


@record(
    *SPACES,
    "small_bytes",  # larger blocks are not born at `bump`
    "pretenure_bytes",  # blocks from this size on are born old; NEVER
    "most_threshold",
    "target_percent",
    "dead_percent",
    "always_compact",
    "nearly_full",  # real: incremental_collection_failed, from 24 on is_heap_almost_full
    "survivors_open",  # allocate in survivors too; real: should_allocate_from_space
    "modern",  # JDK 24 and later
    "old_limit",  # address beyond which old does not grow
    "first_old_bytes",  # below which it does not shrink
    "end_before",  # old_end when the collection began
    "shrink_percent",  # of what is too much, to be given up the next time
    "old_before",  # old_top when the collection began
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
    references: References
    tops: np.ndarray  # int64[4]  of a full collection: where each space will end
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken
