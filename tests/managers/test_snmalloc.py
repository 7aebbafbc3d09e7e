"""snmalloc against the same rules with lists and dicts, and message by message."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.managers import named
from heapwright.managers.malloc.snmalloc.state import bytes_of, class_of
from heapwright.trace.schema import THREAD_EXIT
from naive.snmalloc import SIZES, NaiveSnmalloc
from trial import FREE, MALLOC, MEMALIGN, Trial

MIB = 1 << 20


def path(trial, name):
    """How often a path was taken."""
    return int(trial.heap.paths[trial.module.PATHS.index(name)])


@settings(max_examples=3 if INTERPRETED else 30)
@given(
    seed=st.integers(0, 2**32 - 1),
    remote_cache=st.sampled_from([0, 300, 20_000, 1 << 20]),
    remote_batch=st.sampled_from([1, 5, 64]),
    largest=st.sampled_from([100, 5000, 60_000, 30 * MIB]),
    threads=st.sampled_from([1, 3, 130]),
)
def test_addresses(seed, remote_cache, remote_batch, largest, threads):
    random = np.random.default_rng(seed)
    knobs = {"remote_cache": remote_cache, "remote_batch": remote_batch}
    trial, naive, held = Trial("snmalloc", knobs), NaiveSnmalloc(**knobs), {}
    for slot in range(80 if INTERPRETED else 500):
        thread, kind = int(random.integers(threads)), random.random()
        size = int(np.exp(random.uniform(0, np.log(largest))))
        if held and kind < 0.5:
            victim = list(held)[random.integers(len(held))]
            naive.free(thread, held.pop(victim))
            trial.step(FREE, victim, thread=thread)
        elif kind > 0.98:
            naive.end_thread(thread)
            trial.step(THREAD_EXIT, -1, thread=thread)
        else:
            align = int(random.integers(5, 14)) if kind > 0.94 else 0
            held[slot] = naive.alloc(thread, size, 1 << align)
            op = MEMALIGN if align else MALLOC
            assert trial.step(op, slot, size, align, thread)[0] == held[slot]
    trial.verify()
    assert path(trial, "post") == naive.posts
    waiting = sum(len(each.queue) + sum(map(len, each.buckets.values())) for each in naive.all)
    assert len(trial.rows("cached")) == waiting


def test_sizes_go_in_four_steps_a_doubling():
    for class_, size in enumerate(SIZES):
        assert bytes_of(class_) == size and class_of(size) == class_
        assert class_of(size + 1) == class_ + 1
    assert class_of(0) == 0


def test_a_message_is_sent_with_its_batch_and_taken_when_a_size_has_no_room():
    trial = Trial("snmalloc", {"remote_cache": 3 * 20_480})
    blocks = [trial.step(MALLOC, slot, 20_000)[0] for slot in range(3)]
    trial.step(MALLOC, 9, 100, thread=1)
    for slot in range(2):
        trial.step(FREE, slot, thread=1)
    assert path(trial, "remote") == 2 and path(trial, "post") == 0
    trial.step(FREE, 2, thread=1)
    assert path(trial, "post") == 1 and len(trial.rows("cached")) == 3
    trial.verify()
    assert trial.step(MALLOC, 3, 20_000)[0] in blocks, "its slab was empty and is taken again"
    assert path(trial, "received") == 3 and trial.rows("cached") == []
    trial.verify()


def test_threads_never_share_a_slab():
    trial = Trial("snmalloc")
    first = trial.step(MALLOC, 0, 100)[0]
    other = trial.step(MALLOC, 1, 100, thread=1)[0]
    assert first >> 24 != other >> 24, "not even a chunk"
    trial.step(THREAD_EXIT, -1, thread=1)
    assert trial.step(MALLOC, 2, 100, thread=2)[0] >> 16 == other >> 16, (
        "the allocator is used again"
    )


def test_knobs_that_do_not_fit_are_a_sentence():
    module = named("snmalloc").module
    for wrong in ({"remote_cache": -1}, {"remote_batch": 0}):
        with pytest.raises(HeapwrightError, match="remote_batch at least 1"):
            module.boot(machine(), module.Config(**wrong))
