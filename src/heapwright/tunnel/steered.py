"""What the recorded program told its allocator: settings at its start, calls while it ran."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from heapwright.managers.registry import Manager
from heapwright.versions import version_number, version_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

GROUND_VERSION = "ground_version"  # a ground's knob `version`, where the manager above has one too


def as_recorded(manager: Manager, trace: "Trace") -> dict[str, int]:
    """The knobs that the recorded program's environment set, where they are this manager's, and
    how many cores it had: what it replays with unless told otherwise."""
    known = manager.module.Config._fields
    found = _version(manager, trace)
    lowest = manager
    while below := lowest.below:
        lowest = below
    if not lowest.card.recorded:
        return found
    if lowest is not manager:
        own = GROUND_VERSION if GROUND_VERSION in known else "version"
        found |= {own: number for number in _version(lowest, trace).values()}
    found |= {knob: value for knob, value in trace.settings.items() if knob in known}
    cores = trace.origin.get("cores", "")
    if "cores" in known and cores.isdecimal() and int(cores) != len(os.sched_getaffinity(0)):
        found["cores"] = int(cores)
    return found


def _version(manager: Manager, trace: "Trace") -> dict[str, int]:
    """The version that the program ran on: of those that the manager has the oldest that is not
    before it, else the newest."""
    if not manager.card.version_of:
        return {}
    numbers = [version_number(each) for each in manager.versions]
    short = ".".join(getattr(trace, manager.card.version_of).split(".")[:2])
    if not (numbers and re.fullmatch(r"\d{1,3}\.\d{1,3}", short)):
        return {}
    wanted = version_number(short)
    chosen = min((each for each in numbers if each >= wanted), default=numbers[-1])
    usual = manager.card.recorded and chosen == manager.module.Config().version
    return {} if usual else {"version": chosen}


def sentences(recorded: Mapping[str, int], passed_over: int) -> list[str]:
    """What holds as recorded, and how many calls a manager had no answer to."""
    said = []
    if recorded:
        texts = {k: version_text(v) if k == "version" else f"{v}" for k, v in recorded.items()}
        knobs = ", ".join(f"{knob}={text}" for knob, text in texts.items())
        said.append(f"As recorded: {knobs}; what is set here goes over that.")
    if passed_over:
        said.append(
            f"Passed over {passed_over:,} calls of mallopt, malloc_trim or sbrk, by which the "
            "recorded program steered its own allocator: this one has no answer to them."
        )
    return said
