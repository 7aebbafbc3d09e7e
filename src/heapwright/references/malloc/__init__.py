"""C's mallocs: glibc's, musl's, jemalloc, mimalloc, tcmalloc, each in a fresh process.

systems    which libraries are known, which are here, what to install
harness    a fresh process with the real malloc, fed in lockstep (drive.c, aside.c)
measure    its memory, as a Result of kind "measured"
called     the real malloc as a manager module, for the tunnel's loop to time
rates      its speed in that loop
measured   both, as a lane of a comparison
agreement  a twin beside the real one, address by address
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.references.malloc import systems

if TYPE_CHECKING:
    from heapwright.managers.card import Deploy
    from heapwright.references import Agreement, Settings
    from heapwright.result import Footprint
    from heapwright.trace.store import Trace
    from heapwright.tunnel.compare import Lane
    from heapwright.tunnel.replay import Conditions


def names() -> Iterable[str]:
    """See `Reference`. One that only the harness can have is known where it is here: a program of
    this machine does not run on it; so is one that few systems have."""
    return [
        name
        for name, system in systems.SYSTEMS.items()
        if not ((system.linked or system.newer) and systems.presence(name).missing)
    ]


def missing(name: str) -> str:
    """See `Reference`."""
    return systems.presence(name).missing


def lanes(
    name: str, trace: Path, conditions: "Conditions", variants: "Sequence[Settings]"
) -> "list[Lane]":
    """See `Reference`. Variants that differ only in what the real system cannot set are one."""
    from heapwright.references.malloc.measured import measured_lanes, settable

    made: list[dict[str, int]] = []
    found = []
    for knobs in variants:
        if (own := settable(name, knobs)) not in made:
            made.append(own)
            found += measured_lanes(trace, [name], conditions, {name: knobs})
    return found


def agree(
    name: str,
    trace: "Trace",
    settings: "Settings | None",
    progress: Callable[[int], None] | None,
) -> "Agreement":
    """See `Reference`."""
    from heapwright.references.malloc.agreement import validate

    return validate(name, trace, settings, progress=progress)


def deployed(name: str) -> "Deploy":
    """See `Deployable`."""
    return systems.deployed(name)


def footprint(
    name: str,
    trace: "Trace",
    settings: "Settings",
    conditions: "Conditions",
    progress: Callable[[int], None] | None,
) -> "Footprint":
    """See `Deployable`."""
    from heapwright.references.malloc.measured import footprint as held

    return held(name, trace, settings, conditions, progress)
