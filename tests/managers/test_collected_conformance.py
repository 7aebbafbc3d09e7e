"""What every manager with a collector owes, under random graph programs and malloc traces."""

import numpy as np
import pytest

from heapwright.kernel import INTERPRETED
from heapwright.managers import managers
from heapwright.managers.registry import COLLECTED
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, events
from naive.graph_program import random_rows
from trial import CollectedTrial

# Settings that change a manager's course, beside its defaults.
VARIANTS: dict[str, list[dict[str, int]]] = {
    "tri-colour": [
        {"barrier": kind, "minimum_bytes": 4096, "growth_percent": 40, "increment_bytes": 64 * kind}
        for kind in range(5)
    ],
    "go": [{"gcstoptheworld": 2, "gomaxprocs": 1}],
}
CASES = [
    pytest.param(name, variant, id=name + "".join(f"-{k}={v}" for k, v in variant.items()))
    for name in COLLECTED
    for variant in [{}, *VARIANTS.get(name, [])]
]
EVENTS = 200 if INTERPRETED else 600
COLLECT_EVERY = 97  # events; a full collection beside those that the manager chooses to make


def kept_by_neighbours(name, trial):
    """Bytes of dead objects that live ones may keep: Go's objects of less than 16 share blocks."""
    return sum(16 - size for size in trial.sizes.values() if size < 16) if name == "go" else 0


@pytest.mark.parametrize("name", COLLECTED)
def test_contract(name):
    """A manager has the contract's names, and its module explains itself."""
    module = managers()[name].module
    for needed in (
        "SUMMARY", "Config", "PATHS", "boot", "new", "write", "collect", "vacant", "usable",
        "extent", "cached", "metadata", "check",
    ):  # fmt: skip
        assert hasattr(module, needed), needed
    assert "Invariant" in module.__doc__ and "Source" in module.__doc__
    assert all(isinstance(value, int) for value in module.Config())
    assert len(set(module.PATHS)) == len(module.PATHS)


@pytest.mark.parametrize(("name", "variant"), CASES)
@pytest.mark.parametrize("most_bytes", [300, 20_000])
def test_flies_graph_traces(name, variant, most_bytes):
    """No live object is lost or overlaps another, no byte is counted twice; nothing but what is
    live is left by a full collection; one batch does what single events do."""
    rows = random_rows(1, EVENTS, most_bytes)
    trial, collected = CollectedTrial(name, variant), []
    placed = []
    for number, row in enumerate(rows):
        placed.append(trial.step(*row))
        if rows[number + 1 : number + 2] and rows[number + 1][0] == FREE:
            continue  # the deaths that the event causes are still to come
        if number % 7 == 0:
            trial.verify()
        if number >= COLLECT_EVERY * (len(collected) + 1):
            collected.append(number)
            trial.decompose()
            trial.module.collect(trial.heap)
            trial.fly(events())
            parts = trial.decompose()
            assert parts["garbage"] <= kept_by_neighbours(name, trial)
            assert parts["live"] == sum(trial.sizes.values())
    again, flown = CollectedTrial(name, variant), CollectedTrial(name, variant)
    columns = ("op", "slot", "size", "field", "target")
    batch = events(**dict(zip(columns, np.array(rows).T, strict=True)))
    first = collected[0] + 1
    assert again.fly(batch)[:first, 0].tolist() == placed[:first]
    flown.loop.replay(flown.heap, flown.run, batch)
    assert (flown.held.handles == again.held.handles).all()
    assert flown.heap.paths.tolist() == again.heap.paths.tolist()


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_flies_malloc_traces(name, variant):
    """Each object is a root from its allocation to its free."""
    draw = np.random.default_rng(4)
    trial = CollectedTrial(name, variant, graph=False)
    for number in range(EVENTS):
        live = list(trial.sizes)
        size = int(2 ** draw.uniform(0, 15))
        verb = draw.random()
        if live and (verb < 0.4 or len(live) > 40):
            trial.step(FREE, live[draw.integers(len(live))])
        elif live and verb < 0.5:
            trial.step(REALLOC, live[draw.integers(len(live))], size)
        else:
            slot = next(slot for slot in range(4096) if slot not in trial.sizes)
            trial.step(MALLOC if verb < 0.9 else CALLOC, slot, size)
        if number % 13 == 0:
            trial.decompose()
    trial.module.collect(trial.heap)
    trial.fly(events())
    assert trial.decompose()["garbage"] <= kept_by_neighbours(name, trial)
