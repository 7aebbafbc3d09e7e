"""Advice proven: the program run for real under the best few and the present state, in turns.

    round 1: present, first, second, third     round 2: ...     ─► medians beside the predictions

What is applied is the environment of the printed lines, over that of the recording; a call in the
program is made by a thread that is preloaded. What a preloaded library's data takes is no heap.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    import numpy as np

    from heapwright.insight.advice import Advised, Measured, Row
    from heapwright.references.program import Held, Moments
    from heapwright.references.python_start import Said
    from heapwright.trace.store import Trace

TELLING_SHARE = 0.5  # by which collections are foreseen to change, of what would be seen

Told = Callable[[str, float], None]  # what runs, and the share of all runs that is done


def prove(  # noqa: PLR0913 the first two say what, the others how
    advice: Advised,
    command: Sequence[str],
    *,
    few: int = 3,
    rows: Sequence[Row] | None = None,
    rounds: int = 3,
    seconds: float | None = None,
    progress: Told | None = None,
) -> None:
    """Run `command` under the present state and the best few rows, or these `rows`, `rounds` times
    in turns; each of them gets its `measured`, and the rows are put in order by it.

    HeapwrightError when it cannot be run at all; a candidate under which it fails is a sentence
    among the advice's failures.
    """
    from heapwright.insight.proven import other_load, reorder
    from heapwright.references.program import held, image_bytes, run

    chosen = [advice.present, *(few_of(advice.rows, few) if rows is None else rows)]
    moments = moments_of(advice.trace)
    surroundings = {id(row): environment(row, advice) for row in chosen}
    counted: dict[int, list[int]] = {id(row): [] for row in chosen}
    now = image_bytes(surroundings[id(advice.present)])
    images = {id(row): image_bytes(surroundings[id(row)]) - now for row in chosen}
    found: dict[int, list[Held]] = {id(row): [] for row in chosen}
    usual = 0
    for turn in range(rounds):
        for number, row in enumerate(chosen):
            done = (turn * len(chosen) + number) / (rounds * len(chosen))
            if progress:
                progress(row.candidate.title, done)
            with starting(row, advice.trace, surroundings[id(row)]) as (around, said):
                one = run(command, around, seconds=seconds)
            counted[id(row)] += [each.collections for each in said]
            known = beside(said[0].outside_bytes) if said else moments
            found[id(row)].append(held(one, known, images[id(row)]))
            if turn == number == 0:
                usual = one.status  # the present state's: as a server that a signal ends each time
            elif usual and one.status == usual:
                found[id(row)][-1] = replace(found[id(row)][-1], status=0)
                continue
            if one.status and not one.stopped and turn == 0:
                last = f": {one.said.splitlines()[-1]}" if one.said else ""
                advice.failures.append(
                    f"Run with {row.candidate.title}, {command[0]} ended with status "
                    f"{one.status}{last}."
                )
    for row in chosen:
        row.measured = _median(found[id(row)], counted[id(row)])
    if moments.outside is None and not any(counted.values()):
        advice.notes.append(
            "The recording did not look at the whole process: what lies outside of its heap is "
            "taken to be what was there at the first look at each run."
        )
    advice.notes += overruled(chosen)
    if sentence := other_load(advice):
        advice.failures.append(sentence)
    else:
        reorder(advice)


def overruled(chosen: Sequence[Row]) -> list[str]:
    """Which rows made no difference to how often a Python collected where they should: it sets its
    thresholds itself, later. The first row is the present state."""
    found = []
    now, then = chosen[0].measured, chosen[0].predicted.collections
    for row in chosen[1:]:
        seen, foreseen = row.measured, row.predicted.collections
        if not (now and now.collections and then and seen and foreseen is not None):
            continue
        foretold = abs(foreseen / then - 1) > TELLING_SHARE
        if foretold and seen.collections == now.collections:
            found.append(
                f"Run with {row.candidate.title} it collected {now.collections:,} times, as often "
                "as it does now: it sets its thresholds itself, after it has begun. Change that."
            )
    return found


def few_of(rows: Sequence[Row], few: int) -> list[Row]:
    """The rows that are run: the best, among them the best of the present manager and the best of
    another; of rows that are level only the first two."""
    able = [
        row
        for row in rows
        for one in [row.candidate]
        if one.deployment.environment or one.deployment.start or one.trim_seconds
    ]
    better = [row for row in able if not row.level]
    if not better:
        return able[: min(few, 2)]
    chosen = better[:few]
    if len({row.candidate.malloc for row in chosen}) == 1:
        others = [r for r in better if r.candidate.malloc != chosen[0].candidate.malloc]
        if others and few > 1:
            chosen = [*chosen[: few - 1], others[0]]
    return chosen


def environment(row: Row, advice: Advised) -> dict[str, str]:
    """What the program is run with: this process's environment, the recording's settings, and what
    the lines say."""
    from heapwright.insight.candidates import recorded_environment
    from heapwright.managers.deploying import PRELOAD
    from heapwright.references.program import trimming

    told = {**os.environ, **recorded_environment(advice.trace)}
    own = dict(row.candidate.deployment.environment)
    if row.candidate.deployment.build:
        own[PRELOAD] = _built(row.candidate.malloc, row.candidate.settings)
    if row.candidate.trim_seconds:
        own |= trimming(row.candidate.trim_seconds)
    if own.get(PRELOAD):
        theirs = advice.present.candidate.deployment.library
        others = [name for name in told.get(PRELOAD, "").replace(":", " ").split() if name]
        replaced = theirs if not row.candidate.trim_seconds else ""
        kept = [name for name in others if not replaced or replaced not in name]
        own[PRELOAD] = ":".join([own[PRELOAD], *kept])
    return {**told, **own}


@contextlib.contextmanager
def starting(
    row: Row, trace: Trace, around: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], list[Said]]]:
    """The environment under which a Python begins with what a row sets; and, once it has run, what
    it said of itself. Of another program the environment as it is."""
    from heapwright.insight.candidates import of_python
    from heapwright.references.python_start import started

    if not of_python(trace):
        yield around, []
        return
    with started(around, row.candidate.deployment.start) as (told, said):
        yield told, said


def beside(outside_bytes: int) -> Moments:
    """So much lies outside of the heap all the time; the end is where it rests, or its own."""
    import numpy as np

    from heapwright.references.program import Moments

    both = np.full(2, outside_bytes, np.int64)
    return Moments(1.0, np.array([0.0, 1.0]), both, outside_bytes, rested=True)


def _built(manager: str, settings: Mapping[str, int]) -> str:
    from heapwright.flight.build import build

    return str(build(manager, dict(settings)))


def moments_of(trace: Trace) -> Moments:
    """The recording's moments as shares of its time, and what lay outside of its heap: as the
    recorder saw the process, or else as far as its clock was read."""
    import numpy as np

    from heapwright.references.program import Moments
    from heapwright.trace.ending import clock, ending
    from heapwright.trace.process import ANON, HEAP, MAPPED, STACKS, TIME_NS

    ends = ending(trace)
    seen = trace.process().samples
    total = float(seen[-1, TIME_NS]) if len(seen) > 1 else 0.0
    times = clock(trace, np.array([ends.end, min(ends.exit, trace.events - 1)]))
    if total <= 0 and times is not None:
        total = float(times[-1])
    end = 1.0
    rested = ends.rest_ns[1] > 0 or times is None  # who knows no time may have rested
    if ends.rest_ns[1] and total > 0:
        end = min(1.0, sum(ends.rest_ns) / 2 / total)
    elif times is not None and total > 0:
        since, leaves = (min(1.0, float(time) / total) for time in times)
        end = _judged(since, leaves if ends.exit < trace.events else 1.0)
    if len(seen) < 2 or total <= 0:
        return Moments(end, rested=rested)
    own = seen[:, STACKS] + seen[:, MAPPED]  # may well be there at the peak alone
    data = steady(np.maximum(seen[:, ANON] - seen[:, HEAP] - own, 0))
    outside = steady(np.maximum(seen[:, ANON] - seen[:, HEAP], 0))
    beside = int((own + data)[int(seen[:, ANON].argmax())])
    return Moments(end, seen[:, TIME_NS] / total, outside, beside, rested)


def steady(outside: np.ndarray) -> np.ndarray:
    """What lies outside of the heap without what one look alone saw: of each and its neighbours the
    middle one. A look reads the whole first and then its areas, some of them as they come or go:
    such a one is in the whole and not in the heap, or the other way round."""
    import numpy as np

    if len(outside) < 3:
        return outside
    beside = np.stack([outside[:-2], outside[1:-1], outside[2:]])
    middle = np.median(beside, axis=0).astype(np.int64)
    return np.concatenate([middle[:1], middle, middle[-1:]])


def _judged(since: float, leaves: float) -> float:
    """The share of the time at which a run is judged that is as it will stay from `since` on, until
    it `leaves`: the middle, as one run does so sooner than another; its end where that is short."""
    from heapwright.references.program import WINDOW

    if leaves - since < 2 * WINDOW[0]:
        return leaves
    return (since + leaves) / 2 + sum(WINDOW) / 2


def _median(runs: Sequence[Held], collections: Sequence[int]) -> Measured:
    from heapwright.insight.advice import FIGURES, Measured, value_of

    if not runs:
        raise HeapwrightError("no run was made: give at least one round.")
    figures = {name: [value_of(one, name) for one in runs] for name in FIGURES}
    seconds = [one.seconds for one in runs]
    middle = {name: int(statistics.median(values)) for name, values in figures.items()}
    return Measured(
        middle["peak"],
        middle["mean"],
        middle["end"],
        statistics.median(seconds),
        len(runs),
        {
            **{name: (float(min(each)), float(max(each))) for name, each in figures.items()},
            "seconds": (min(seconds), max(seconds)),
        },
        [one.status for one in runs if one.status],
        int(statistics.median(collections)) if collections else None,
    )
