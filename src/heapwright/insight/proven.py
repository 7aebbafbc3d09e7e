"""Advice by what the program held when it was run for real.

A run without the load of the recording, such as a server that nobody asks anything, is no proof:
it is shown, and said to be none.
"""

from typing import TYPE_CHECKING

from heapwright.insight.advice import (
    FIGURES,
    LEVEL_BYTES,
    LEVEL_SHARE,
    TIME_NOISE,
    memory_score,
    simplest_first,
    value_of,
)
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.insight.advice import Advised

OTHER_LOAD = 1.4  # times as much at the peak, or as little, and it was another load
LEAST_BYTES = 4 * LEVEL_BYTES  # apart, for that


def other_load(advice: "Advised") -> str | None:
    """A sentence where the present state held much more or less in a run than in the recording;
    then no row's figures count."""
    now = advice.present.measured
    if now is None:
        return None
    run, told = value_of(now, "peak"), value_of(advice.present.predicted, "peak")
    if abs(run - told) < LEAST_BYTES or max(run, told) < OTHER_LOAD * min(run, told):
        return None
    for row in [advice.present, *advice.rows]:
        row.other_load = True
    return (
        f"Run for real, the present state held {bytes_text(run)} at the peak and in the recording "
        f"{bytes_text(told)}: it had another load, so the runs prove nothing. Give the command "
        "that brings the load with it: `heapwright advise --run TRACE COMMAND`."
    )


def reorder(advice: "Advised") -> None:
    """Put what was measured in the program first, by what was measured."""
    now = advice.present.measured
    if now is None:
        return
    run = []
    for row in advice.rows:
        if row.measured is None or row.measured.statuses:
            continue
        slower = row.measured.seconds / now.seconds - 1 - TIME_NOISE
        row.score = memory_score(row.measured, now, advice.by) + max(0.0, slower)
        names = [advice.by] if advice.by else FIGURES
        saved = max(value_of(now, name) - value_of(row.measured, name) for name in names)
        row.level = row.score >= 1 - LEVEL_SHARE or saved < LEVEL_BYTES
        run.append(row)
    order = simplest_first(sorted(run, key=lambda row: (row.level, row.score)), advice.present)
    better = [row for row in order if not row.level]
    advice.rows[:] = better + [row for row in advice.rows if row not in better]
