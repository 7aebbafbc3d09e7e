"""The real allocators as lanes of a comparison: memory from a fresh process, speed from the loop.

    measured(...) ─► references.measure   resident, mapped, faults
                  ─► rates                seconds of the loop that flies the twins
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright import references
from heapwright.result import Result
from heapwright.tunnel.compare import Lane
from heapwright.tunnel.flight import Conditions
from heapwright.tunnel.rates import rates

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

ONE_THREAD = "The rate is that of one thread replaying every event, as the twins are flown."


def measured(
    name: str,
    trace: "Trace",
    conditions: Conditions | None = None,
    settings: Mapping[str, int] | None = None,
    *,
    runs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """The real allocator `name` on `trace`; the rate is the median of `runs`.

    `progress` is told of twice the trace's events. HeapwrightError when something is missing.
    """
    conditions = conditions or Conditions()
    result = references.measure(
        name,
        trace,
        touch=conditions.touch == "all",
        huge_pages=conditions.huge_pages != "never",
        settings=dict(settings or {}),
        progress=progress,
    )
    result.seconds = rates(trace, [name], runs, dict(settings or {}))[name]
    if trace.threads > 1:
        result.notes.append(ONE_THREAD)
    if progress:
        progress(2 * trace.events)
    return result


def measured_lanes(
    trace_path: Path,
    names: Sequence[str] | None = None,
    conditions: Conditions | None = None,
    settings: Mapping[str, Mapping[str, int]] | None = None,
) -> list[Lane]:
    """A lane per real allocator, by default for each that is installed.

    Raises HeapwrightError, before anything is driven, for a name that cannot be.
    """
    from heapwright.references import build, systems
    from heapwright.trace.store import Trace

    names = references.installed() if names is None else list(dict.fromkeys(names))
    for name in names:
        systems.library(name)
    if names:
        build.harness()
    steps = 2 * Trace.open(trace_path).events

    def lane(name: str) -> Lane:
        knobs = dict((settings or {}).get(name, {}))
        return Lane(
            f"real {name}",
            steps,
            lambda progress: measured(
                name, Trace.open(trace_path), conditions, knobs, progress=progress
            ),
        )

    return [lane(name) for name in names]
