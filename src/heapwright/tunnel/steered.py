"""What the recorded program told its allocator: settings at its start, calls while it ran."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from heapwright.managers.registry import Manager

if TYPE_CHECKING:
    from heapwright.trace.store import Trace


def as_recorded(manager: Manager, trace: "Trace") -> dict[str, int]:
    """The knobs that the recorded program's environment set, where they are this manager's, and
    how many cores it had: what it replays with unless told otherwise."""
    if not manager.card.recorded:
        return {}
    known = manager.module.Config._fields
    found = {knob: value for knob, value in trace.settings.items() if knob in known}
    cores = trace.origin.get("cores", "")
    if "cores" in known and cores.isdecimal() and int(cores) != len(os.sched_getaffinity(0)):
        found["cores"] = int(cores)
    return found


def sentences(recorded: Mapping[str, int], passed_over: int) -> list[str]:
    """What holds as recorded, and how many calls a manager had no answer to."""
    said = []
    if recorded:
        knobs = ", ".join(f"{knob}={value}" for knob, value in recorded.items())
        said.append(f"As recorded: {knobs}; what is set here goes over that.")
    if passed_over:
        said.append(
            f"Passed over {passed_over:,} calls of mallopt, malloc_trim or sbrk, by which the "
            "recorded program steered its own allocator: this one has no answer to them."
        )
    return said
