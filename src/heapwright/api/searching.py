"""A search among more settings than a table holds: thresholds, decay times, size classes.

    cards' ranges ─► Optuna proposes ─► a batch of lanes ─► scores ─► Optuna, until the budget ends

What was tried before is told to it first. Proposals are round (powers of two, where a knob grows by
factors) and the seed is fixed, so that the same trace and budget of trials find the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.insight.advice import Candidate, Row
    from heapwright.insight.candidates import Field
    from heapwright.result import Footprint

Held = list[tuple["Candidate", "Footprint"]]
Footprints = Callable[[Sequence["Candidate"]], Held]
SEED = 1
FACTOR = 16  # a range that spans at least so much is searched by powers of two
LEFT_OUT = "as it is"


def search(  # noqa: PLR0913 where, then how
    manager: str,
    field_: Field,
    known: Sequence[Row],
    footprints: Footprints,
    score: Callable[[Footprint], float],
    *,
    jobs: int,
    seconds: float | None = None,
    trials: int | None = None,
) -> Held:
    """Settings of `manager` that were not among the `known` rows, each with what it held.

    Ends after `seconds` or `trials`, whichever is first. HeapwrightError without Optuna.
    """
    optuna = _optuna()
    ranges = ranges_of(manager, field_)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
    if not ranges:
        return []
    space = {knob: optuna.distributions.CategoricalDistribution(v) for knob, v in ranges.items()}
    tried: dict[tuple[tuple[str, int], ...], float] = {}
    for row in known:
        one = row.candidate
        if one.manager != manager or one.trim_seconds:
            continue
        tried[tuple(sorted(one.settings.items()))] = score(row.predicted)
        chosen = {knob: one.settings.get(knob, LEFT_OUT) for knob in ranges}
        if set(one.settings) <= set(ranges) and all(chosen[k] in ranges[k] for k in ranges):
            study.add_trial(
                optuna.trial.create_trial(
                    params=chosen, distributions=space, value=score(row.predicted)
                )
            )
    found: Held = []
    started, asked = time.monotonic(), 0
    while not (seconds and time.monotonic() - started >= seconds) and asked != trials:
        batch: list[tuple[Any, tuple[tuple[str, int], ...]]] = []
        fresh: dict[tuple[tuple[str, int], ...], Candidate] = {}
        for _ in range(min(jobs, trials - asked) if trials else jobs):
            trial = study.ask(space)
            asked += 1
            settings = {k: v for k, v in trial.params.items() if v != LEFT_OUT}
            key = tuple(sorted(settings.items()))
            one_more = field_.candidate(manager, settings)
            batch.append((trial, key))
            if key not in tried and key not in fresh and one_more is not None:
                fresh[key] = one_more
        replayed = footprints(list(fresh.values())) if fresh else []
        found += replayed
        for candidate, held in replayed:
            tried[tuple(sorted(candidate.settings.items()))] = score(held)
        for trial, key in batch:
            if key in tried:
                study.tell(trial, tried[key])
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return found


def ranges_of(manager: str, field_: Field) -> dict[str, list[Any]]:
    """The values that each knob may be given, as its card's range says; and to be left out."""
    deploy = field_.deploy(manager)
    able = field_.trace.threads > 1
    return {
        knob: [LEFT_OUT, *values(least, most)]
        for knob, (least, most) in deploy.ranges.items()
        if able or knob not in deploy.threaded
    }


def values(least: int, most: int) -> list[int]:
    """Round values of a range: powers of two where it spans a factor, else up to twenty even steps.

    >>> values(1, 16)
    [1, 2, 4, 8, 16]
    >>> values(1, 10)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    """
    if most >= FACTOR * max(1, least):
        powers = [1 << n for n in range(most.bit_length())]
        return [*([0] if least == 0 else []), *(one for one in powers if least <= one <= most)]
    step = max(1, (most - least) // 20)
    return list(range(least, most + 1, step))


def scored(by: str | None, now: Footprint, fault_share: float) -> Callable[[Footprint], float]:
    """What is made small: as rows are ranked."""
    from heapwright.insight.advice import TIME_NOISE, memory_score

    def score(held: Footprint) -> float:
        more = (held.page_faults - now.page_faults) * fault_share
        slower = max(0.0, more - TIME_NOISE)
        return memory_score(held, now, by) + slower + (10.0 if held.refused else 0.0)

    return score


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise HeapwrightError(
            "a search within a budget needs Optuna: pip install 'heapwright[optimise]'."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
