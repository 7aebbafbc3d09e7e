"""The real allocators as lanes of a comparison: memory from a fresh process, speed from the loop.

measured(...) ─► measure              resident, mapped, faults
              ─► rates                seconds of the loop that drives the twins
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.managers.registry import managers
from heapwright.references.malloc import build, libc, systems
from heapwright.references.malloc.measure import CLOCK, installed, measure
from heapwright.references.malloc.rates import rates, serving
from heapwright.result import Footprint, Result
from heapwright.tunnel.compare import Lane
from heapwright.tunnel.replay import Conditions
from heapwright.tunnel.steered import as_recorded
from heapwright.versions import version_number

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

MOMENT_EVENTS = 1 << 20  # at 20 M events/s, 50 ms: a neighbour's noise shows
OWN_SECONDS = (
    "The rate is that of the process that measures its memory, which writes what the program "
    "writes: no other program can load it, so the loop of the twins cannot time it."
)
ONE_THREAD = "The rate is that of one thread replaying every event, as the twins are replayed."


def measured(
    name: str,
    trace: "Trace",
    conditions: Conditions | None = None,
    settings: Mapping[str, int] | None = None,
    *,
    runs: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Result:
    """The real allocator `name` on `trace`; the rate is the median of `runs`,
    by default of three for a trace that takes a moment and one for a longer one.

    `progress` is told of twice the trace's events. HeapwrightError when something is missing.
    """
    conditions = conditions or Conditions.of(trace)
    runs = runs or (3 if trace.events < MOMENT_EVENTS else 1)
    recorded = _recorded(name, trace)
    knobs = {**recorded, **settable(name, settings or {})}
    result = measure(
        name,
        trace,
        touch=conditions.touch,
        huge_pages=conditions.huge_pages != "never",
        settings=knobs,
        progress=progress,
    )
    result.conditions = dict(vars(conditions))
    result.settings, result.recorded = settable(name, settings or {}), recorded
    if systems.timed(name, knobs):
        result.seconds = rates(trace, [name], runs, knobs)[name]
    else:
        result.notes.append(OWN_SECONDS)
    if progress:
        progress(2 * trace.events)
    if trace.threads > 1:
        result.notes.append(ONE_THREAD)
    if name in managers():
        result.notes += managers()[name].ignored(knobs)
    result.notes += _of_another(name, trace, knobs)
    for knob in (settings or {}).keys() - knobs.keys():
        result.notes.append(f"The real {name} has no setting {knob}: it is measured without.")
    return result


def footprint(
    name: str,
    trace: "Trace",
    settings: Mapping[str, int],
    conditions: Conditions,
    progress: Callable[[int], None] | None = None,
) -> Footprint:
    """What the real `name` held, without the pass that times it; what a program's environment
    said to it holds too. HeapwrightError when something is missing."""
    recorded = _recorded(name, trace)
    result = measure(
        name,
        trace,
        touch=conditions.touch,
        huge_pages=conditions.huge_pages != "never",
        settings={**recorded, **settable(name, settings)},
        progress=progress,
        pace=True,
    )
    return Footprint(
        peak_resident_bytes=result.held_bytes,
        mean_resident_bytes=result.mean_resident_bytes or 0,
        end_resident_bytes=result.end_resident_bytes or 0,
        page_faults=result.page_faults,
        seconds=result.seconds,
        refused=result.refused,
        recorded=recorded,
        notes=result.notes + _of_another(name, trace, result.settings),
        by_time=systems.deployed(name).waits(result.settings) and CLOCK in result.notes,
    )


def settable(name: str, settings: Mapping[str, int]) -> dict[str, int]:
    """Those of a twin's knobs that the real system has too."""
    known = [*systems.GLIBC_KNOBS, *systems.OWN_KNOBS]
    if name != "glibc":
        known = [*systems.deployed(name).knobs(), "version"]
    return {knob: value for knob, value in settings.items() if knob in known}


def _recorded(name: str, trace: "Trace") -> dict[str, int]:
    """The settings of the recorded program's environment, for the system that it ran on, and its
    version where that can be driven here."""
    found = as_recorded(managers()[name], trace) if name in managers() else {}
    if name == "glibc":
        found.pop("version", 0)
        if trace.libc in libc.unpacked() and trace.libc != libc.here():
            found["version"] = version_number(trace.libc)
    return found


def _of_another(name: str, trace: "Trace", knobs: Mapping[str, int]) -> list[str]:
    """That the real one is of another version than the program ran on, if it is."""
    if name != "glibc" or not trace.libc:
        return []
    real = systems.version(name, knobs)
    if real == trace.libc:
        return []
    return [f"The program ran on glibc {trace.libc}; the real one that was driven is {real}."]


def measured_lanes(
    trace_path: Path,
    names: Sequence[str] | None = None,
    conditions: Conditions | None = None,
    settings: Mapping[str, Mapping[str, int]] | None = None,
) -> list[Lane]:
    """A lane per real allocator, by default for each that is installed.

    Raises HeapwrightError, before anything is driven, for a name that cannot be.
    """
    from heapwright.trace.store import Trace

    names = installed() if names is None else list(dict.fromkeys(names))
    for name in names:
        systems.library(name)
    for name in names:  # what all lanes share is made before they fork
        recorded = _recorded(name, Trace.open(trace_path))
        knobs = {**recorded, **settable(name, (settings or {}).get(name, {}))}
        libraries = systems.elsewhere(name, knobs)
        build.harness(name, libraries)
        variables = systems.variables(name, knobs)
        if systems.timed(name, knobs):
            serving(variables, libraries)
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
