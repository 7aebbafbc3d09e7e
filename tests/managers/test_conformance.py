"""What every registered manager without a collector owes, under event traces made by Hypothesis."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.managers import contract
from heapwright.managers.registry import managers
from heapwright.trace.schema import SIZE_LIMIT, THREAD_EXIT, events
from trial import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, Trial

# Those told of every death.
EXPLICIT = [name for name, manager in managers().items() if "malloc" in manager.card.serves]
CASES = [
    pytest.param(name, variant, id=name + "".join(f"-{k}={v}" for k, v in variant.items()))
    for name in EXPLICIT
    for variant in [{}, *managers()[name].card.variants]
]
THREADS = 3
MOST_EVENTS = 25 if INTERPRETED else 120

ABSURD = st.sampled_from([1 << 47, SIZE_LIMIT - 1, (1 << 47) - 4096])
SIZES = st.one_of(
    st.integers(0, 256),
    st.integers(0, 2048),
    st.integers(0, 2048),
    st.integers(1000, 200_000),
    st.integers(100_000, 4_000_000),
    ABSURD,
)
REQUESTS = st.tuples(
    st.sampled_from([MALLOC] * 4 + [CALLOC, REALLOC, REALLOC, MEMALIGN] + [FREE] * 4),
    st.integers(0, 63),  # which object to free or resize
    SIZES,
    st.integers(5, 13),  # log2 of a memalign's alignment
    st.integers(0, THREADS - 1),
)


def concrete(requests):
    """Rows (op, slot, size, align, thread) in which each FREE and REALLOC names a live slot."""
    live, spare, rows = [], list(range(len(requests)))[::-1], []
    for wanted, pick, size, align, thread in requests:
        op = MALLOC if wanted in (FREE, REALLOC) and not live else wanted
        if op == FREE:
            slot = live.pop(pick % len(live))
            spare.append(slot)
            rows.append((op, slot, 0, 0, thread))
        elif op == REALLOC:
            rows.append((op, live[pick % len(live)], max(size, 1), 0, thread))
        else:
            live.append(spare.pop())
            rows.append((op, live[-1], size, align if op == MEMALIGN else 0, thread))
    return rows


@pytest.mark.parametrize(("name", "variant"), CASES)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=MOST_EVENTS))
def test_conforms(name, variant, requests):
    rows = concrete(requests)
    trial = Trial(name, variant)
    placed = []
    for row in rows:
        placed.append(trial.step(*row))
        if row[2] > 1 << 46 and row[0] != REALLOC:
            assert placed[-1] == (0, 0), "an absurd request was granted"
        trial.verify()
    trial.decompose()

    again = Trial(name, variant)  # in one batch: the same addresses
    columns = zip(("op", "slot", "size", "align", "thread"), zip(*rows, strict=True), strict=True)
    batch = events(**{column: np.array(values) for column, values in columns})
    assert again.replay(batch).tolist() == [list(row) for row in placed]
    assert again.heap.paths.tolist() == trial.heap.paths.tolist()

    for thread in range(THREADS):
        trial.step(THREAD_EXIT, -1, thread=thread)
        trial.verify()
    for slot in list(trial.live):
        trial.step(FREE, slot, thread=slot % THREADS)
        trial.verify()
    parts = trial.decompose()
    assert parts["live"] == parts["rounding"] == parts["partial"] == 0


@pytest.mark.parametrize(("name", "variant"), CASES)
@settings(max_examples=2 if INTERPRETED else 8)
@given(seed=st.integers(0, 2**32 - 1))
def test_small_blocks_in_churn(name, variant, seed):
    """Many blocks of few sizes: full caches, exhausted lists, merges on both sides."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 600, 6)
    trial = Trial(name, variant)
    trial.verify()
    live, spare, rows = [], list(range(4096))[::-1], []
    for _ in range(40 if INTERPRETED else 400):
        if live and random.random() < 0.48:
            spare.append(live.pop(random.integers(len(live))))
            rows.append((FREE, spare[-1], 0, int(random.integers(2))))
        else:
            live.append(spare.pop())
            rows.append((MALLOC, live[-1], int(random.choice(sizes)), int(random.integers(2))))
    for start in range(0, len(rows), 40):
        trial.churn(rows[start : start + 40])
        trial.verify()
    trial.decompose()


@pytest.mark.parametrize("name", EXPLICIT)
def test_contract(name):
    """A manager has the contract's names, and its module explains itself."""
    module = managers()[name].module
    assert contract.faults(managers()[name].card, module) == []
    assert "Invariant" in module.__doc__ and "Source" in module.__doc__
