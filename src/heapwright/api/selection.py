"""What is compared: which traces, which managers, at which heap sizes."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    from heapwright.insight.space_time import Asked
    from heapwright.trace.store import Trace

MOST_MULTIPLE = 1000

Watched = Callable[[str, float], contextlib.AbstractContextManager[Callable[[float], Any]]]


@contextlib.contextmanager
def opened_traces(
    sources: Sequence[str | os.PathLike[str] | Trace], progress: Watched | None = None
) -> Iterator[list[Trace]]:
    """Each a trace, its file, or the name of a synthetic program, made while in the block.

    `progress`, told what is written and its length, gives what is told the steps done.
    """
    from heapwright.trace import programs
    from heapwright.trace.store import Trace

    known = programs.PROGRAMS + programs.GRAPH_PROGRAMS
    with tempfile.TemporaryDirectory(prefix="heapwright-") as folder:
        found = []
        for source in sources:
            if isinstance(source, Trace):
                found.append(source)
                continue
            path = Path(source)
            if not path.exists() and str(source) in known:
                path = Path(folder) / f"{source}.heap.parquet"
                size = programs.program(str(source)).Parameters()[0]
                told: list[Any] = [lambda made: None]
                with contextlib.ExitStack() as bar:
                    if progress:
                        told[0] = bar.enter_context(progress(f"writing {source}", size))
                    programs.synthesise(str(source), path, {}, told[0])
            found.append(Trace.open(path))
        yield found


def refuse_unserved(trace: Trace, *, objects: bool = False) -> None:
    """HeapwrightError for a trace of a kernel or, but where `objects` are asked about as well, of a
    JVM's, where the answer would be about a process's malloc."""
    if trace.origin.get("java") and trace.graph and not objects:
        raise HeapwrightError(
            f"{trace.path} is of a Java program's objects, which no malloc serves: ask `heapwright "
            "compare` with --heap, or --managers hotspot-serial,hotspot-parallel,hotspot-g1, what "
            "another collector or size of heap would do."
        )
    if trace.of_kernel:
        raise HeapwrightError(
            f"{trace.path} is of a kernel, which no malloc serves: ask `heapwright frames` who "
            "holds its memory, and `heapwright compare` what slub, slab and page-allocator take."
        )


def selected(trace: Trace, managers: Sequence[str] | str | None) -> list[str]:
    """Names from a list or "A,B"; "all" every one, None the usual ones for such a trace."""
    from heapwright.managers.present import of_java
    from heapwright.managers.registry import managers as registered
    from heapwright.managers.registry import usual

    if managers is None and trace.origin.get("device"):
        return [name for name, one in registered().items() if one.family == "device"]
    if managers is None and trace.java and trace.graph:
        return of_java(trace)
    if managers is None:
        return usual(graph=trace.graph, python=bool(trace.python), kernel=trace.of_kernel)
    if not managers:
        raise HeapwrightError("no manager is named: name one or more, or leave the choice out")
    listed = managers.split(",") if isinstance(managers, str) else managers
    names = [name.strip() for name in listed]
    return list(registered()) if names == ["all"] else names


def without_twin(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of managers that are replayed, and those of real systems that have no twin here:
    these can only be measured."""
    from heapwright.managers.registry import managers as registered
    from heapwright.references import references

    unknown = set(names) - registered().keys()
    if not unknown:
        return list(names), []
    real = {name for reference in references() for name in reference.names()}
    measured = [name for name in names if name in unknown & real]
    return [name for name in names if name not in measured], measured


def beside_defaults(
    settings: dict[str, list[dict[str, int]]],
) -> dict[str, list[dict[str, int]]]:
    """Every manager's settings after a row without any: what a change is compared with."""
    return {
        name: [{}, *(knobs for knobs in variants if knobs)] for name, variants in settings.items()
    }


def checked(trace: Trace, settings: dict[str, list[dict[str, int]]]) -> None:
    """Raise HeapwrightError for a knob or a value that a manager does not take, before any replay:
    a manager refuses a value when it boots."""
    from heapwright.managers.registry import managers as registered
    from heapwright.tunnel.replay import Conditions, Replay

    known = registered()
    for name, variants in settings.items():
        for knobs in variants:
            if name in known and knobs:
                with contextlib.suppress(ImportError):  # its row says so
                    Replay(name, trace, knobs, Conditions())


def multiples(text: str) -> list[float]:
    """Heap sizes from "1.5x,2x,3x"."""
    found = []
    for part in text.split(","):
        number = part.strip().lower().removesuffix("x")
        try:
            value = float(number)
        except ValueError:
            value = 0
        if not 0 < value <= MOST_MULTIPLE:
            raise HeapwrightError(
                f"--heap {text}: {part.strip()!r} is no multiple of the live bytes; write as in "
                "1.5x,2x,3x."
            )
        found.append(value)
    return sorted(set(found))


def curve(
    trace: Trace, names: list[str], settings: dict[str, list[dict[str, int]]], heap: str
) -> tuple[list[str], dict[str, list[dict[str, int]]], list[Asked]]:
    """The managers and settings that draw the space-time curve, and its points.

    Among `names` every collector whose heap can be limited runs at each size. Of a malloc trace
    none may be among the usual ones: then all run, beside what frees explicitly; so do a JVM's.
    """
    from heapwright.insight.space_time import asked
    from heapwright.managers.present import of_java
    from heapwright.managers.registry import named, system_malloc, usual

    sizes = multiples(heap)

    def limited(name: str) -> bool:
        return bool(named(name).card.limit_knob)

    if not any(limited(name) for name in names):
        names = [name for name in usual(graph=True) if limited(name) or not named(name).collected]
    elif trace.java and trace.graph and names == of_java(trace):
        names = [*names, system_malloc()]
    points = []
    for name in names:
        if limited(name):
            chosen = asked(name, settings.get(name, [{}]), sizes, trace.peak_live_bytes)
            settings = settings | {name: [point.settings for point in chosen]}
            points += chosen
    return names, settings, points
