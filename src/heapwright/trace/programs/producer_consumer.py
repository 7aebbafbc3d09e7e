"""Producers and consumers: objects are allocated by one thread and freed by another.

    producers  malloc ─► queue of about live_objects ─► free  consumers

The queue is first in, first out; its length wanders around its mean, as producers and consumers
take turns at random. Every free is a remote one: the case that per-thread caches and arenas find
hard, for memory is freed where nobody asks for it.

Source     Hoard (Berger, McKinley, Blumofe and Wilson, ASPLOS 2000), section 2, on blowup under
           producers and consumers; the larson and xmalloc benchmarks
Omits      threads that start and end, reallocs
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.trace.programs.draws import (
    INDEX_LIMIT,
    SIZE_BITS,
    draws,
    log_uniform_curve,
    size_drawn,
)
from heapwright.trace.schema import FREE, MALLOC, Events, events

SUMMARY = "objects pass through a queue and are freed by other threads than made them"
SITES = ("producer",)
THREAD_BITS = 10  # of a draw's index part: they choose the thread


class Parameters(NamedTuple):
    """What may be chosen."""

    events: int = 1_000_000
    seed: int = 1
    live_objects: int = 5_000  # in the queue, on average
    producers: int = 2  # threads
    consumers: int = 2  # threads
    min_bytes: int = 32
    max_bytes: int = 2_048


LIMITS = {
    "events": (1, 1 << 40),
    "seed": (0, (1 << 63) - 1),
    "live_objects": (1, INDEX_LIMIT // 4),
    "producers": (1, 1 << THREAD_BITS),
    "consumers": (1, 1 << THREAD_BITS),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
}


class Queue(NamedTuple):
    """The queue: a ring of slots, and the threads met so far."""

    ends: np.ndarray  # int64[2]  objects put in and taken out since the start
    seen: np.ndarray  # int64[thread]  its number by first appearance, -1 before
    met: np.ndarray  # int64[1]  threads seen


def batches(parameters: Parameters) -> Iterator[Events]:
    """The program's events, in batches."""
    if parameters.min_bytes > parameters.max_bytes:
        raise HeapwrightError("producer-consumer: min_bytes is larger than max_bytes.")
    return _batches(parameters)


def _batches(parameters: Parameters) -> Iterator[Events]:
    curve = log_uniform_curve(parameters.min_bytes, parameters.max_bytes)
    threads = parameters.producers + parameters.consumers
    queue = Queue(np.zeros(2, np.int64), np.full(threads, -1, np.int64), np.zeros(1, np.int64))
    for drawn in draws(parameters.seed, parameters.events):
        made = events(
            op=np.empty(len(drawn), np.uint8),
            slot=np.empty(len(drawn), np.int32),
            size=np.empty(len(drawn), np.int64),
            thread=np.empty(len(drawn), np.int32),
            site=np.empty(len(drawn), np.int32),
        )
        pass_on(queue, curve, drawn, (parameters.live_objects, parameters.producers), made)
        yield made


@kernel
def pass_on(queue, curve, drawn, sizes, made):
    """Fill `made` with one event per draw; `sizes`: the queue's mean length, the producers."""
    ends = queue.ends
    target, producers = sizes
    capacity = 2 * target
    consumers = len(queue.seen) - producers
    for row in range(len(drawn)):
        i = unsigned(row)
        draw = drawn[i]
        index = draw >> SIZE_BITS
        length = ends[0] - ends[1]
        if (index >> THREAD_BITS) % capacity < length:
            thread = producers + (index & ((1 << THREAD_BITS) - 1)) % consumers
            made.op[i], made.size[i], made.site[i] = FREE, 0, -1
            made.slot[i] = ends[1] % capacity
            ends[1] += 1
        else:
            thread = (index & ((1 << THREAD_BITS) - 1)) % producers
            made.op[i], made.size[i], made.site[i] = MALLOC, size_drawn(curve, draw), 0
            made.slot[i] = ends[0] % capacity
            ends[0] += 1
        if queue.seen[thread] < 0:
            queue.seen[thread] = queue.met[0]
            queue.met[0] += 1
        made.thread[i] = queue.seen[thread]
