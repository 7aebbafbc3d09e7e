"""The caching allocator against what PyTorch's own library answered, and by hand."""

import numpy as np
import pytest

from cuda_programs import CASES, FOLDER, MIB, batch
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.machine import machine
from heapwright.machine.address_space import MAPPED_TOP, SYSCALLS
from heapwright.managers import managers, named
from heapwright.managers.device.cuda_caching.state import ROW_SHIFT, SEGMENT
from heapwright.trace.schema import Events, events
from trial import FREE, MALLOC, MEMALIGN, REALLOC, Trial

CHUNK = 125
STATES = ("allocated_bytes", "reserved_bytes", "num_alloc_retries", "ooms")
GROWING = (66, 106, 146, 186, 226, 266)
RESERVED = (220, 2980, 5760, 8520, 11300, 14060)  # MiB, as reported to PyTorch of 2.12 on ROCm


def trial_of(**settings):
    return Trial("cuda-caching", settings)


def told(trial):
    return trial.module.statistics(trial.heap)


def in_segments(trial, address):
    """(segment in order of appearance, offset) of an address; (-1, -1) of none."""
    if not address:
        return -1, -1
    row = int(trial.heap.row_at[address >> 9])
    segment = int(trial.heap.blocks[(row << ROW_SHIFT) + SEGMENT])
    return segment, address - segment


@pytest.mark.parametrize("name", CASES)
def test_every_address_and_state_is_the_real_ones(name):
    """And of expandable segments the offset in each, in the order they appear."""
    with np.load(FOLDER / f"cuda-caching-{name}.npz") as kept:
        key = {column: kept[column] for column in kept.files}
    case, asked = CASES[name], batch(name)
    trial = Trial("cuda-caching", case.settings)
    start, ours, real = MAPPED_TOP - (4 << 30), {}, {}
    trial.heap.device.next = start  # the areas of the device that is none follow each other
    trial.run.progress[trial.loop.TOUCH] = 0
    chunk = 1 if case.settings.get("expandable_segments") else CHUNK  # segments come and go
    for first in range(0, len(asked.op), chunk):
        rows = slice(first, first + chunk)
        part = Events(*(column[rows] for column in asked))
        addresses = trial.replay(part)[:, 0].tolist()
        for at, address in enumerate(addresses, first):
            if asked.op[at] != MALLOC:
                continue
            mine, theirs = address - start if address else -1, int(key["offset"][at]) << 9
            if case.settings.get("expandable_segments") and address:
                segment, mine = in_segments(trial, address)
                order = ours.setdefault(segment, len(ours))
                assert order == real.setdefault(int(key["segment"][at]), len(real)), at
            assert (mine if address else -512) == theirs, at
        state = told(trial)
        assert [state[name] for name in STATES] == key["states"][rows][-1].tolist()
    assert (key["offset"] >= 0).sum() > 350
    assert name == "default" or state["ooms"] > 5, "memory is short"
    trial.verify()


def grown(cycles, **settings):
    """(allocated, reserved) in MiB after cycles in which two large blocks come and go around a
    small one that stays."""
    trial = trial_of(**settings)
    trial.run.progress[trial.loop.TOUCH] = 0
    rows, found = [(MALLOC, 0, 64 * MIB)], []
    for cycle in range(cycles):
        rows += [(MALLOC, 1, 91 * MIB), (MALLOC, 2, 91 * MIB // 2), (MALLOC, 10 + cycle, 2 * MIB)]
        rows += [(FREE, 1, 0), (FREE, 2, 0)]
        op, slot, size = np.array(rows, np.int64).T
        batch = events(op=op, slot=slot, size=size)
        if INTERPRETED:  # without the ledger of 200,000 pages
            trial.loop.replay(trial.heap, trial.run, batch)
        else:
            trial.replay(batch)
        state, rows = told(trial), []
        found.append((state["allocated_bytes"] // MIB, state["reserved_bytes"] // MIB))
    return found


def test_two_settings_together_grow_without_end():
    """As reported to PyTorch: with max_split_size and expandable segments both, what is free and
    larger than the limit serves no smaller request."""
    told = list(zip(GROWING, RESERVED, strict=True))
    cycles = 20 * len(told) - 19
    both = grown(cycles, max_split_size_mb=128, expandable_segments=1)
    assert both[::20] == told
    for alone in ({"max_split_size_mb": 128}, {"expandable_segments": 1}, {}):
        assert max(reserved for _, reserved in grown(cycles, **alone)) < 500


def test_a_small_block_has_a_segment_of_2_mib_and_a_large_one_of_20():
    trial = trial_of()
    first, room = trial.step(MALLOC, 0, 1)
    assert room == 512 and told(trial)["reserved_bytes"] == 2 * MIB
    assert trial.step(MALLOC, 1, 600) == (first + 512, 1024)
    trial.step(MALLOC, 2, MIB + 1)
    assert told(trial)["reserved_bytes"] == 22 * MIB
    trial.step(MALLOC, 3, 29 * MIB)
    assert told(trial)["reserved_bytes"] == 52 * MIB, "beyond: the request's own, of 2 MiB"
    trial.verify()


def test_streams_do_not_share():
    trial = trial_of()
    first, _ = trial.step(MALLOC, 0, 30 * MIB)
    trial.step(FREE, 0)
    assert trial.step(MALLOC, 1, 30 * MIB, thread=1)[0] != first
    assert trial.step(MALLOC, 2, 30 * MIB)[0] == first


def free_bytes(trial):
    """Of the address space."""
    gaps = trial.machine.gaps
    return int((gaps.end - gaps.start)[: gaps.count[0]].sum())


def test_what_is_whole_goes_back_before_a_request_fails():
    trial = trial_of(capacity_mb=100)
    before = free_bytes(trial)
    trial.step(MALLOC, 0, 60 * MIB)
    trial.step(FREE, 0)
    assert len(trial.rows("cached")) == 1
    assert trial.step(MALLOC, 1, 70 * MIB)[0] and told(trial)["num_alloc_retries"] == 1
    assert before - free_bytes(trial) == 70 * MIB, "the address space of the first too"
    assert trial.machine.meters[SYSCALLS] == 4, "taken, refused, given back, taken"
    assert trial.step(MALLOC, 2, 70 * MIB) == (0, 0) and told(trial)["ooms"] == 1
    assert trial.step(REALLOC, 1, 80 * MIB)[1] == 70 * MIB, "the old block stays"
    assert any("Out of memory 2 times" in note for note in trial.module.notes(trial.heap))
    trial.verify()


def test_an_alignment_beyond_512_bytes_is_refused():
    trial = trial_of()
    assert trial.step(MEMALIGN, 0, 100, align=9)[0] % 512 == 0
    assert trial.step(MEMALIGN, 1, 100, align=10) == (0, 0)
    assert any("aligned beyond" in note for note in trial.module.notes(trial.heap))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_split_size_mb": 20}, "max_split_size_mb is 0 or larger than 20"),
        ({"roundup_power2_divisions": 3}, "a power of two up to 64"),
        ({"garbage_collection_threshold": 100}, "garbage_collection_threshold is 0 to 99"),
        ({"per_process_memory_fraction": 101}, "per_process_memory_fraction is 0 to 100"),
        ({"expandable_segments": 2}, "expandable_segments is 0 to 1"),
        ({"capacity_mb": 81920}, "no room in the model's address space"),
        ({"capacity_mb": 0}, "capacity_mb is 1 to 61,440"),
    ],
)
def test_settings_that_do_not_fit_are_a_sentence(wrong, sentence):
    module = named("cuda-caching").module
    with pytest.raises(HeapwrightError, match=sentence):
        module.boot(machine(), module.Config(**wrong))


def test_every_knob_is_turned_against_the_real_one():
    turned = {knob for case in CASES.values() for knob in case.settings}
    assert turned == set(managers()["cuda-caching"].module.Config._fields)
