"""References as collectors decide them, beside sets that say the same in order of the phases."""

import random

import numpy as np
import pytest

from heapwright.collectors.mutator import mutator
from heapwright.collectors.references import (
    CLEARED,
    DECIDED,
    HOLDER,
    KEEP,
    PENDING,
    TARGET,
    begin,
    decide,
    declare,
    logged,
    references,
    settle,
    tell_times,
    used,
)
from heapwright.trace.schema import FINALISABLE, PHANTOM, SOFT, WEAK

COUNT = 24


def reach(fields, found, *roots):
    pending = list(roots)
    while pending:
        obj = pending.pop()
        if obj not in found:
            found.add(obj)
            pending += fields[obj]
    return found


def naive(fields, entries, roots, due):
    """(cleared, finalised) as sets of entries: an entry is (holder, target, kind)."""
    live, cleared = reach(fields, set(), *roots), set()

    def unreached(*kinds):
        return {
            n
            for n, (h, t, kind) in enumerate(entries)
            if h in live and t not in live and kind in kinds
        }

    while kept := unreached(SOFT) - due:
        reach(fields, live, *(entries[n][1] for n in kept))
    known = {n for n, (holder, _, _) in enumerate(entries) if holder in live}
    cleared |= unreached(SOFT, WEAK)
    finalised = unreached(FINALISABLE)
    reach(fields, live, *(entries[n][1] for n in finalised))
    while late := unreached(SOFT, WEAK, PHANTOM) - known:
        reach(fields, live, *(entries[n][1] for n in late))
    return cleared | (unreached(PHANTOM) & known), finalised


@pytest.mark.parametrize("seed", range(8))
def test_what_is_cleared_and_kept_is_what_sets_say(seed):
    draw = random.Random(seed)
    fields = {n: draw.sample(range(1, COUNT), draw.randrange(3)) for n in range(1, COUNT)}
    refs = references(mutator(COUNT, references=COUNT), 10)
    refs.most_bytes, refs.used_bytes = 3 << 20, 1 << 20  # 20 ms of two free MiB
    entries = []
    for number in range(COUNT - 6):
        kind = draw.choice((SOFT, WEAK, PHANTOM, FINALISABLE))
        holder, target = draw.randrange(1, COUNT), draw.randrange(1, COUNT)
        if kind == FINALISABLE:
            holder = 1  # the first root
        refs.clock_ms = draw.choice((0, 10, 11))
        declare(refs, number, holder, target, kind)
        entries.append((holder, target, kind))
    refs.clock_ms = 31
    due = {n for n in range(len(entries)) if 31 - refs.stamp[n] > 20}
    roots = [1, draw.randrange(1, COUNT)]
    found = reach(fields, set(), *roots)
    begin(refs)
    while refs.phase < DECIDED:
        for n, (holder, target, _) in enumerate(entries):
            refs.bits[n] |= (HOLDER if holder in found else 0) | (TARGET if target in found else 0)
        if decide(refs):
            kept = [entries[n][1] for n in range(len(entries)) if refs.bits[n] & KEEP]
            reach(fields, found, *kept)
    cleared = {n for n in range(len(entries)) if refs.bits[n] & CLEARED}
    finalised = {n for n in range(len(entries)) if refs.bits[n] & PENDING}
    assert (cleared, finalised) == naive(fields, entries, roots, due)
    dead = {n for n, (holder, _, _) in enumerate(entries) if holder not in found}
    settle(refs, mutator(COUNT, references=COUNT), 7)
    assert refs.entries == len(entries) - len(cleared | finalised | dead)
    assert sorted(logged(refs)[:, 2].tolist()) == sorted(cleared | finalised)


def test_a_soft_reference_is_due_by_its_last_use_on_a_clock_that_may_be_told():
    refs = references(mutator(2, references=2), 1, 10)
    refs.most_bytes = 5 << 20
    declare(refs, 0, 8, 16, SOFT)
    settle_at = mutator(2, references=2)
    for event in (50, 100, 150):
        begin(refs)
        refs.bits[0] |= HOLDER | TARGET
        settle(refs, settle_at, event)
        if event == 100:
            used(refs, 0)
    assert (refs.clock_ms, refs.stamp[0], refs.entries) == (15, 10, 1)
    tell_times(refs, np.array([[-1, 3], [200, 40]]))
    begin(refs)
    refs.bits[0] |= HOLDER | TARGET
    settle(refs, settle_at, 199)
    assert refs.clock_ms == 40
