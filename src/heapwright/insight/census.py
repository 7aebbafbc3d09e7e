"""Counting the events of a trace in one streaming pass.

    events ─► count ─► Census     per-slot memory of each live object, and the tallies

Buckets    bucket b of a size or a lifetime n holds 2^(b-1) < n <= 2^b; bucket 0 holds 0 and 1
Lifetime   events from an object's birth to its free, exclusive; a realloc does not end it
Requests   what the real system granted: allocations and reallocs; refused ones only counted
Graph      of a graph trace also the references: fields there are, writes that made or cleared one
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import bit_length
from heapwright.trace.schema import FREE, NEW, OPERATIONS, REALLOC, THREAD_EXIT, WRITE

BUCKETS = 65

# Census.totals
(
    NEXT,  # events counted
    REQUESTED_BYTES,  # by all requests
    REFUSED,
    FREED_ELSEWHERE,  # frees by another thread than the allocating one
    CHAINS,  # objects that were reallocated at least once
    LONGEST_CHAIN,  # most reallocs of one object
    REALLOC_GREW,
    REALLOC_SHRANK,
    COPIED_BYTES,  # if every realloc moved its object: the smaller of both sizes
    REFERENCE_FIELDS,  # of all objects of a graph
    WITHOUT_FIELDS,  # objects of a graph that can refer to nothing
    CLEARED,  # writes to a field that leave it null
    TOTALS,
) = range(13)

# Axis 1 of the histograms
COUNT, BYTES = range(2)


class Objects(NamedTuple):
    """What is remembered of each live object."""

    size: np.ndarray  # int64[slot], bytes; -1 while no object has the slot
    birth: np.ndarray  # int64[slot], event
    owner: np.ndarray  # int32[slot], thread that allocated it
    reallocs: np.ndarray  # int32[slot]


class Census(NamedTuple):
    """The tallies, which grow with every batch."""

    objects: Objects
    totals: np.ndarray  # int64[TOTALS]
    operations: np.ndarray  # int64[operation], events
    sizes: np.ndarray  # int64[bucket, 2], requests and their bytes, by size
    lifetimes: np.ndarray  # int64[bucket, 2], dead objects and their bytes, by lifetime
    both: np.ndarray  # int64[bucket, bucket], dead objects by size and by lifetime
    sites: np.ndarray  # int64[1 + site, 2], requests and their bytes; row 0 for an unknown site


def census(slots: int, sites: int) -> Census:
    """An empty census for a trace of `slots` slots and `sites` call sites."""
    objects = Objects(
        np.full(slots, -1, np.int64),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int32),
        np.zeros(slots, np.int32),
    )
    return Census(
        objects,
        totals=np.zeros(TOTALS, np.int64),
        operations=np.zeros(len(OPERATIONS), np.int64),
        sizes=np.zeros((BUCKETS, 2), np.int64),
        lifetimes=np.zeros((BUCKETS, 2), np.int64),
        both=np.zeros((BUCKETS, BUCKETS), np.int64),
        sites=np.zeros((1 + sites, 2), np.int64),
    )


@kernel
def bucket(value):
    """Number of the bucket that holds `value` >= 0."""
    return bit_length(value - 1) if value > 1 else 0


@kernel
def count(census, events):
    """Count a batch. Slots and sites must lie within the census."""
    totals, objects = census.totals, census.objects
    threaded, sited = len(events.thread) > 0, len(events.site) > 0
    fielded = len(events.field) > 0 and len(events.target) > 0
    for row in range(len(events.op)):
        i = unsigned(row)
        op, slot, size = np.int64(events.op[i]), np.int64(events.slot[i]), events.size[i]
        thread = np.int64(events.thread[i]) if threaded else 0
        census.operations[unsigned(op)] += 1
        if op > NEW:
            if op == WRITE and fielded and events.target[i] < 0:
                totals[CLEARED] += 1
            continue
        if op == NEW and fielded:
            totals[REFERENCE_FIELDS] += events.field[i]
            totals[WITHOUT_FIELDS] += events.field[i] == 0
        if slot < 0:
            if op != THREAD_EXIT:
                totals[REFUSED] += 1
            continue
        s = unsigned(slot)
        if op == FREE:
            _bury(census, s, totals[NEXT] + row, thread)
            continue
        if op == REALLOC:
            _chain(totals, objects, s, size)
        else:
            objects.birth[s] = totals[NEXT] + row
            objects.owner[s] = thread
        objects.size[s] = size
        b = unsigned(bucket(size))
        census.sizes[b, COUNT] += 1
        census.sizes[b, BYTES] += size
        site = unsigned(np.int64(events.site[i]) + 1) if sited else unsigned(0)
        census.sites[site, COUNT] += 1
        census.sites[site, BYTES] += size
        totals[REQUESTED_BYTES] += size
    totals[NEXT] += len(events.op)


@kernel
def _bury(census, slot, event, thread):
    """Enter the lifetime of the object that dies at `event`."""
    objects = census.objects
    b = unsigned(bucket(event - objects.birth[slot] - 1))
    census.lifetimes[b, COUNT] += 1
    census.lifetimes[b, BYTES] += objects.size[slot]
    census.both[unsigned(bucket(objects.size[slot])), b] += 1
    if objects.owner[slot] != thread:
        census.totals[FREED_ELSEWHERE] += 1
    objects.size[slot] = -1
    objects.reallocs[slot] = 0


@kernel
def _chain(totals, objects, slot, size):
    """Enter one realloc of the object in `slot` to `size` bytes."""
    old = objects.size[slot]
    links = objects.reallocs[slot] + 1
    objects.reallocs[slot] = links
    if links == 1:
        totals[CHAINS] += 1
    totals[LONGEST_CHAIN] = max(totals[LONGEST_CHAIN], links)
    if size > old:
        totals[REALLOC_GREW] += 1
    elif size < old:
        totals[REALLOC_SHRANK] += 1
    totals[COPIED_BYTES] += min(old, size)
