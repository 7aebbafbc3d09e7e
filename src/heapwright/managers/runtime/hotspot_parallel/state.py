"""The state of HotSpot's parallel heap: old below young, in one reserved range.

    │ old: own │ table │ objects ─►          │ eden ─►      │ survivors ─► │ spare │
      what the JVM keeps for itself          └──────────────── young ─────────────┘

Invariant  each space is tiled by blocks up to its top; `spare` is empty unless a promotion failed
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.hotspot.evacuating import BUFFERS
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
    *BUFFERS,
    "young_full",  # no further buffer of to-space, of old
    "old_full",
    "march",  # requests in turn that went to old as nothing else had room
    "target",  # of a full collection: the space that what does not fit old goes to
    "whole",  # 1: the next full collection leaves nothing dead
    "last_whole",  # which full collection left nothing dead last
    "whole_interval",  # full collections since then, after which the next one leaves nothing
    "cut",  # of a full collection: a dead run whose end is slid over, 0 none; where it ends then
    "cut_top",
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
    references: References
    tops: np.ndarray  # int64[4]  of a full collection: where each space will end
    live_below: np.ndarray  # int64[1 + region of old]  bytes that live there; see dense_prefix.py
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken
