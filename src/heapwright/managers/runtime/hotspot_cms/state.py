"""The state of CMS's heap: young below old, and old a space of free lists.

    │ eden ─►      │ from ─► │ to │ old: own │ table │ object │ free │ object │ object │ free ... │
    └──────── young ──────────────┘     what the JVM keeps for itself

Terms      chunk: a free block of old; indexed list: chunks of one size, of less than 257 words;
           dictionary: the larger ones, the best fit first; linear block: 16,384 words at the free
           space's start, for small blocks that nothing else has; buffer (LAB): chunks of one size
           that a collection took from the lists, to promote into; spool: a block that promotion
           needs for headers of instances: one from the first promotion after a compaction on, and
           a further one for each 256 in one collection
           mark word of a block of old: the collection that promoted it << 8, and the bits below
Invariant  blocks tile old up to its end; old_top - old bytes are in use, as the JVM counts it
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.hotspot.generations import SPACES
from heapwright.collectors.hotspot.layout import Java
from heapwright.collectors.log import Log
from heapwright.collectors.mark import MarkStack
from heapwright.collectors.mutator import Mutator
from heapwright.collectors.references import References
from heapwright.compiler import kernel
from heapwright.compiler.record import record
from heapwright.machine import Machine, load
from heapwright.structures.sorted_keys import SortedKeys

LISTED = 257  # words from which on a chunk is in the dictionary: IndexSetSize
LEAST_WORDS = 3  # of a chunk: MinChunkSize
VACANT, FOUND, SPOOLED = 4, 8, 16  # bits of a mark word in old: a chunk; found live by the cycle at
# work; a spool
NUMBER_SHIFT = 8
IDLE, MARKING = range(2)  # phases


class Lists(NamedTuple):
    """Lists of chunks by size. A chunk's third word is the address of the next one."""

    head: np.ndarray  # int64[words]
    tail: np.ndarray  # int64[words]
    count: np.ndarray  # int64[words]


def lists():
    """All empty."""
    return Lists(*(np.zeros(LISTED, np.int64) for _ in range(3)))


@record(
    *SPACES,
    "young_lab",  # survivors' buffer: next byte and end; 0, 0 none
    "young_lab_end",
    "young_lab_bytes",  # of the last one
    "young_full",  # no further buffer, and no room
    "most_threshold",
    "target_percent",
    "nearly_full",  # real: incremental_collection_failed
    "survivors_open",  # allocate in survivors too; real: should_allocate_from_space
    "old_before",  # old_top when the collection began
    "target_space",  # of a full collection: see compact.py
    "number",  # of the young collection at work, from 1 on
    "direct",  # buffers are given back: objects go straight to the spaces
    "grey",  # entries of `stack` that a young collection still has to look at
    "linear",  # address and bytes of the linear block; 0, 0 none
    "linear_bytes",
    "spools",  # since the last compaction
    "headers",  # of instances that this collection has promoted
    "phase",  # of the concurrent cycle
    "marking_until",  # allocated bytes at which marking is over
    "marking_work",
    "occupancy_percent",  # of old beyond which a cycle begins
)
class Heap(NamedTuple):
    """The whole state."""

    machine: Machine
    mutator: Mutator
    log: Log
    java: Java
    stack: MarkStack  # grey objects
    promoted: np.ndarray  # float32[WORDS]  see averages.py
    ages: np.ndarray  # int64[AGES]  of the collection at work
    shown_ages: np.ndarray  # int64[AGES]  as last published
    history: np.ndarray  # int64[...]  see history.py
    references: References
    tops: np.ndarray  # int64[4]  of a full collection: where each space will end
    indexed: Lists
    taken: Lists  # the buffers of the collection at work
    taken_count: np.ndarray  # int64[words]  chunks that they took from the lists
    claims: np.ndarray  # float32[words]  how many are taken at once, averaged
    claim_samples: np.ndarray  # int64[words]
    dictionary: SortedKeys  # words << 32 | words from old's start, of each chunk
    union: np.ndarray  # uint8[card]  dirty since marking began, though clean for young collections
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel
def used_of_old(heap):
    """Bytes in use in old, the JVM's own among them."""
    return heap.old_top - heap.old


@kernel
def is_vacant(machine, block):
    """Whether a block of old is a chunk."""
    return load(machine, block) == VACANT
