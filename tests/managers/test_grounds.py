"""Managers over managers: memory of the upper one is the ground's, and both stay sound."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.managers import contract, named
from heapwright.managers.registry import Manager, managers
from heapwright.result import TIMELINE
from heapwright.trace.schema import MALLOPT, TRIM, events, mallopt_size
from heapwright.tunnel.replay import replay as replayed
from managers.test_conformance import REQUESTS, concrete
from small_traces import churn, write
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

PAIRS = [  # (name, knobs)
    ("first-fit over glibc", {}),
    ("first-fit over glibc", {"trim_bytes": 1, "growth_bytes": 0, "arena_max": 1}),
    ("slots over wright", {}),
]
if INTERPRETED:  # compiled each costs half a minute
    PAIRS += [
        ("buddy over segregated-fit", {"growth_bytes": 4096}),
        ("linear over glibc", {}),
        ("best-fit over tlsf", {"order": 1, "coalescing": 1, "trim_bytes": 4096}),
        ("tlsf over first-fit over glibc", {"trim_bytes": 1}),
        ("region over wright", {"destroy": 1}),
    ]


@pytest.mark.parametrize(("name", "knobs"), PAIRS)
@settings(max_examples=2 if INTERPRETED else 8)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=25 if INTERPRETED else 100))
def test_conforms(name, knobs, requests):
    """What every manager owes, checked of both after every event; all goes back at the end."""
    trial = Trial(name, knobs)
    placed = []
    for row in concrete(requests):
        placed.append(trial.step(*row))
        _inside(trial, placed[-1][0])
        trial.verify()
    trial.decompose()
    again = Trial(name, knobs)
    columns = zip(*concrete(requests), strict=True)
    names = ("op", "slot", "size", "align", "thread")
    batch = events(**{n: np.array(c) for n, c in zip(names, columns, strict=True)})
    assert again.replay(batch).tolist() == [list(row) for row in placed]
    for slot in list(trial.live):
        trial.step(FREE, slot, thread=slot % 3)
        trial.verify()
    assert trial.decompose()["live"] == 0
    if knobs.get("trim_bytes") == 1:
        assert areas(trial) == [], "a free area was kept"


def areas(trial):
    """Rows (start, bytes) of what the upper manager holds of its ground."""
    held = trial.heap.machine.areas
    count = int(held.count[0])
    return list(zip(held.start[:count].tolist(), held.bytes[:count].tolist(), strict=True))


def _inside(trial, address):
    """A block of the upper manager lies in an area that it holds."""
    if address:
        assert any(start <= address < start + length for start, length in areas(trial))


def test_areas_are_live_to_the_ground_and_go_back():
    trial = Trial("first-fit over glibc", {"trim_bytes": 1, "growth_bytes": 0})
    trial.step(MALLOC, 0, 5000)
    trial.step(MALLOC, 1, 200_000)  # of glibc a mapping of its own
    (first, small), (second, large) = areas(trial)
    mapped = int(trial.machine.meters[2])
    assert small >= 5000 and large >= 200_000 and abs(first - second) > 1 << 30
    trial.step(FREE, 1)
    assert areas(trial) == [(first, small)]
    assert int(trial.machine.meters[2]) <= mapped - 200_000, "glibc did not unmap it"
    trial.verify()


def test_buddies_lie_at_multiples_of_their_size_and_never_merge_across_arenas():
    trial = Trial("buddy over linear", {"growth_bytes": 4096})
    for slot in range(40):
        trial.step(MALLOC, slot, 2048)
        trial.verify()
    arenas = [row for row in areas(trial) if row[1] == 4096]
    assert len(arenas) == 20 and all(start % 4096 == 0 for start, _ in arenas)
    assert len({start for start, _ in arenas} & {start + 4096 for start, _ in arenas}) > 10
    for slot in range(40):
        trial.step(FREE, slot)
        trial.verify()
    assert len([row for row in areas(trial) if row[1] == 4096]) == 1, "the last one stays"


def test_every_verb_of_the_program_reaches_the_upper_manager():
    trial = Trial("first-fit over glibc")
    for slot, (op, size, align) in enumerate(
        [(MALLOC, 100, 0), (CALLOC, 70_000, 0), (MEMALIGN, 300, 12)]
    ):
        trial.step(op, slot, size, align)
        trial.step(REALLOC, slot, size * 3)
        trial.verify()
    assert trial.heap.paths[0] >= 3 and trial.heap.paths[len(_upper_paths(trial)) :].any()


def _upper_paths(trial):
    return [path for path in trial.module.PATHS if not path.startswith("glibc: ")]


@pytest.mark.parametrize("name", ["first-fit over glibc", "slots over wright"])
def test_storeys_are_told_apart_and_sum_to_resident_memory(tmp_path, name):
    trace = write(tmp_path / "t.heap.parquet", churn(400 if INTERPRETED else 4000))
    result = replayed(name, trace, samples=5)
    upper, below = name.split(" over ")
    parts, ground = result.storeys[upper], result.storeys[below]
    assert sum(parts.values()) == ground["taken"] > 0
    assert sum(ground.values()) == result.peak["resident_bytes"]
    assert parts["live"] == result.peak["live_bytes"]
    assert ground["header"] > 0 or below == "wright", "a ground's own headers; wright has none"
    for part in ("rounding", "header", "cached"):
        assert parts[part] + ground[part] == result.peak[f"{part}_bytes"]
    free = [parts[part] + ground[part] for part in ("partial", "retained")]
    assert sum(free) == result.peak["partial_bytes"] + result.peak["retained_bytes"]
    assert any(note.startswith(f"At the peak {below} holds") for note in result.notes)
    assert result.to_json()["storeys"] == result.storeys


def test_blocks_that_the_upper_one_keeps_are_taken_and_what_it_hides_is_the_grounds(tmp_path):
    """java-direct lets buffers wait in blocks of malloc, and nobody use more than their size."""
    result = replayed("java-direct", write(tmp_path / "t.heap.parquet", churn(300)), samples=3)
    parts, ground = result.storeys["java-direct"], result.storeys["glibc"]
    assert sum(parts.values()) == ground["taken"] == parts["live"] + parts["cached"]
    assert parts["cached"] > 0 and ground["rounding"] > 0
    assert sum(ground.values()) == result.peak["resident_bytes"]


def test_what_the_program_does_to_its_allocator_reaches_the_ground(tmp_path):
    """malloc_trim gives back the end of glibc's heap, which it keeps below its threshold."""
    rows = [(MALLOC, slot, 5000) for slot in range(20)] + [(FREE, slot, 0) for slot in range(20)]
    knobs = {"trim_bytes": 1, "growth_bytes": 0, "arena_max": 1}
    at_once = [(MALLOPT, -1, mallopt_size(knob, 0)) for knob in (-1, -2)]  # M_TRIM_..., M_TOP_PAD
    told = {"": rows, "trim": [*rows, (TRIM, -1, 0)], "mallopt": [*at_once, *rows]}
    left = {}
    for steered, said in told.items():
        op, slot, size = (np.array(column) for column in zip(*said, strict=True))
        trace = write(tmp_path / "t.heap.parquet", events(op=op, slot=slot, size=size))
        result = replayed("first-fit over glibc", trace, knobs, samples=100)
        assert not any("Passed over" in note for note in result.notes)
        left[steered] = int(result.timeline[-1, TIMELINE.index("resident_bytes")])
    assert left[""] - left["trim"] > 64 << 10, "the ground's heap was not trimmed"
    assert left[""] - left["mallopt"] > 64 << 10, "the ground did not hear of it"


def test_a_card_may_name_the_ground_it_always_stands_on():
    """As of a manager that is always found on malloc: its own name is that of the pair."""
    manager = Manager("on-glibc", managers()["first-fit"].package)
    manager.__dict__["card"] = replace(managers()["first-fit"].card, stands_on="glibc")
    assert manager.module.NAMES == ("on-glibc", "glibc")
    assert {"order", "arena_max"} <= set(manager.module.Config._fields)


def test_knobs_of_both():
    pair = named("first-fit over segregated-fit")
    upper, below = pair.configured({"ground_growth_bytes": 1, "trim_bytes": 2})
    assert (upper.growth_bytes, upper.trim_bytes) == (1 << 17, 2)
    assert (below.growth_bytes, below.trim_bytes, below.quick_blocks) == (1, 0, 64)
    assert {"growth_bytes", "ground_growth_bytes", "quick_blocks"} <= {*pair.module.Config._fields}
    with pytest.raises(HeapwrightError, match=r"no knob named 'arena_min'.*arena_max"):
        named("first-fit over glibc").configured({"arena_min": 1})


def test_what_cannot_stand_says_why():
    with pytest.raises(HeapwrightError, match=r"glibc stands on the machine alone.*first-fit"):
        named("glibc over first-fit")
    with pytest.raises(HeapwrightError, match="does not stand on semispace"):
        named("first-fit over semispace")
    with pytest.raises(HeapwrightError, match="no manager is named 'nothing'"):
        named("first-fit over nothing")
    assert named("first-fit over machine").module is managers()["first-fit"].module


@pytest.mark.parametrize("name", [name for name, m in managers().items() if m.card.ground])
def test_all_that_take_a_ground_bind(name):
    over = named(f"{name} over glibc")
    assert contract.faults(over.card, over.module) == []
