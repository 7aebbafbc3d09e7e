"""The whole state of CPython's heap, and the words of it that have names.

new ─► count of the young + 1 ─► past its threshold ─► a collection, at once or when due
death ─► count of the young - 1, never below 0
"""

from typing import NamedTuple

import numpy as np

from heapwright.collectors.log import CYCLE_ROWS, Log, log
from heapwright.collectors.mutator import Mutator
from heapwright.compiler.record import record, words
from heapwright.compiler.reserve import reserve
from heapwright.machine import Machine
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.runtime.cpython.blocks import Blocks, blocks
from heapwright.managers.runtime.cpython.heads import empty_rings
from heapwright.managers.runtime.cpython.weak import Weak, weak_references

GENERATIONS = 3
RUN = ("event", "generation", "collected", "uncollectable")  # columns of a run
RUN_COLUMNS = len(RUN)
FOUND = 1 << 27  # most references of one object, through its tables
LIMBO = 1 << 20  # most objects that finalisers have brought back since the last birth

PATHS = ("new", "write", "death", "young", "middle", "old", "untracked", "revived")
NEW, WRITE, DEATH, RAN_YOUNG, RAN_MIDDLE, RAN_OLD, UNTRACKED, REVIVED = range(len(PATHS))


@record(
    "waits",  # setting: 1 from 3.12 on: a collection waits for the evaluation loop
    "incremental",  # setting: 1 of 3.14.0 to 3.14.4
    "follows_dicts",  # setting: 1 from 3.14 on: they are tracked from birth and never untracked
    "watched",  # setting: 1 while gc.callbacks is not empty
    "enabled",
    "collecting",  # 1 while a collection runs
    "due",  # 1: a collection waits
    "kind",  # of the object that is born next; -1 not told
    "pending",  # long_lived_pending: objects
    "total",  # long_lived_total
    "own",  # setting: objects of the interpreter itself that the trace does not have
    "freeze_at",  # setting: the birth at which the program freezes; 0 never
    "spare_dicts",  # in the free list: dict.c's numfree
    "limbo_count",
    "occupied",  # bytes of the blocks of all objects
    "runs_count",
    "collected",  # objects, by all collections
    "visited",  # incremental: which of the two old spaces has been looked through
    "marking",  # incremental: 1 until the roots were marked
    "work",  # incremental: objects that are still to be looked at
    "heap_size",  # incremental: objects
    "own_frozen",  # of those, such as a FREEZE has made permanent
    "as_it_comes",  # setting: 1 while no knob changes when it collects
    "chosen",  # setting: 1 where a knob stands against the program's own thresholds
    "moments",  # 1 once the trace tells when the recorded collector ran
    "ran",  # of these: so many were
    "missed",  # of these: the twin had no reason to collect
    "reborn",  # births since the last of these, of what free lists kept; -1 once all are told
    "kept",  # of these births, behind the last one
    "spare",  # births to come that free lists serve, since a collection of another course
)
class Heap(NamedTuple):
    """Objects, what Python's collector knows of them, and what the program holds."""

    machine: Machine
    mutator: Mutator
    log: Log
    blocks: Blocks
    weak: Weak
    heads: np.ndarray  # int64[address >> 3]  see heads.py
    counts: np.ndarray  # int64[GENERATIONS]  of the young: births less deaths; else collections
    thresholds: np.ndarray  # int64[GENERATIONS]
    found: np.ndarray  # int64[FOUND]  what the object at hand refers to; see `gather`
    tables: np.ndarray  # int64[FOUND]  the object at hand, and the tables that it owns
    limbo: np.ndarray  # int64[LIMBO]  addresses of objects that finalisers brought back
    runs: np.ndarray  # int64[CYCLE_ROWS * RUN_COLUMNS], flat: each collection, as RUN says
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


def heap_of(machine, mutator, thresholds, *, weak_late=0, weak_least=2, **settings):
    """A heap without objects."""
    made = Heap(
        machine=machine,
        mutator=mutator,
        log=log(),
        blocks=blocks(machine),
        weak=weak_references(mutator, weak_late, weak_least),
        heads=reserve(SPACE_BYTES >> 3, np.int64),
        counts=np.zeros(GENERATIONS, np.int64),
        thresholds=np.array(thresholds, np.int64),
        found=reserve(FOUND, np.int64),
        tables=reserve(FOUND, np.int64),
        limbo=reserve(LIMBO, np.int64),
        runs=reserve(CYCLE_ROWS * RUN_COLUMNS, np.int64),
        fields=words(Heap, kind=-1, marking=1, reborn=-1, **settings),
        paths=np.zeros(len(PATHS), np.int64),
    )
    empty_rings(made.heads)
    return made


def runs_of(heap):
    """int64[collection, len(RUN)]: each collection, as gc.callbacks would be told."""
    rows = min(int(heap.runs_count), CYCLE_ROWS)
    return heap.runs[: rows * RUN_COLUMNS].reshape(rows, RUN_COLUMNS).copy()
