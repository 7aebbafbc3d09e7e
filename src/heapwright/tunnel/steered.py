"""What the recorded program told its allocator: settings at its start, calls while it ran."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from heapwright.collectors.hotspot.sizing import SPACE_BYTES
from heapwright.managers.present import OF_JAVA
from heapwright.managers.registry import Manager
from heapwright.trace.java_options import knobs
from heapwright.versions import GROUND_VERSION, version_number, version_text
from heapwright.words import counted, setting_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

UNLIMITED = 1 << 62


def as_recorded(manager: Manager, trace: "Trace") -> dict[str, int]:
    """The knobs that the recorded program's environment set, where they are this manager's, and
    how many cores it had: what it replays with unless told otherwise."""
    known = manager.module.Config._fields
    if trace.of_kernel and "cpus" in known and trace.threads > 1:
        return {"cpus": trace.threads}
    found = _version(manager, trace)
    if trace.graph and manager.card.version_of == OF_JAVA:
        return found | _of_a_jvm(trace, known)
    lowest = manager
    while below := lowest.below:
        lowest = below
    if not lowest.card.recorded:
        return found
    if lowest is not manager:
        own = GROUND_VERSION if GROUND_VERSION in known else "version"
        if ground := _version(lowest, trace):
            found[own] = ground["version"]
    found |= {knob: value for knob, value in trace.settings.items() if knob in known}
    cores = trace.origin.get("cores", "")
    if "cores" in known and cores.isdecimal() and int(cores) != len(os.sched_getaffinity(0)):
        found["cores"] = int(cores)
    return found


def _version(manager: Manager, trace: "Trace") -> dict[str, int]:
    """The version that the program ran on, of those that the manager has."""
    if not manager.card.version_of:
        return {}
    said = getattr(trace, manager.card.version_of)
    number = nearest(manager, said or trace.origin.get(manager.card.version_of, ""))
    usual = manager.card.recorded and number == manager.module.Config().version
    return {"version": number} if number and not usual else {}


def _of_a_jvm(trace: "Trace", known: tuple[str, ...]) -> dict[str, int]:
    """What the JVM was told of its heap, whichever its collector was; where nothing was, how large
    it said that its heap may become."""
    log = trace.collections() if trace.java else None
    most = {"Xmx": log.most_bytes} if log and log.most_bytes else {}
    found = most | knobs(trace.origin.get("options", ""), known)
    if found.get("Xmn", 0) >= found.get("Xmx", UNLIMITED):  # a JVM warns, and leaves old the least
        found["Xmn"] = found["Xmx"] - SPACE_BYTES
    return found


def recorded_for(manager: Manager, trace: "Trace") -> tuple[dict[str, int], dict[str, int]]:
    """As recorded; and without a version that only stands for the recorded one."""
    recorded = as_recorded(manager, trace)
    own = recorded.get("version", 0)
    said = trace.origin.get(manager.card.version_of, "") if own else ""
    if not said or _same_release(own, said):
        return recorded, recorded
    return recorded, {knob: value for knob, value in recorded.items() if knob != "version"}


def _same_release(number: int, version: str) -> bool:
    """Whether a twin's version is of the release that `version` is of: 17.0 and 17.0.15."""
    found = re.match(r"\d{1,3}\.\d{1,3}", version)
    return found is not None and number // 1000 == version_number(found[0]) // 1000


def nearest(manager: Manager, version: str) -> int:
    """Of the versions that the manager has the one that stands for `version`: the newest of the
    same release that is not after it, else the oldest that is not before it, else the newest; 0
    where `version` says none."""
    numbers = [version_number(each) for each in manager.versions]
    found = re.match(r"(\d{1,3}\.\d{1,3})(\.\d{1,3})?", version)
    if not (numbers and found):
        return 0
    release, whole = version_number(found[1]), version_number(found[0])
    same = [each for each in numbers if release <= each <= whole]
    return max(same) if same else min((n for n in numbers if n >= release), default=numbers[-1])


def of_version(manager: Manager, trace: "Trace", chosen: Mapping[str, int]) -> list[str]:
    """What must be known of the versions that these settings choose, of a manager and its ground:
    whether one was never compared with a real one, and whether the program ran on another; of a
    kernel, whether it ran on more processors."""
    lowest = manager
    while below := lowest.below:
        lowest = below
    defaults = manager.module.Config()._asdict()
    said = []
    for one, knob in ((manager, "version"), (lowest, GROUND_VERSION)):
        if not (one.versions and knob in defaults):
            continue
        version = version_text(chosen.get(knob, defaults[knob]))
        if version in one.card.unproven:
            said.append(
                f"{one.name} {version} follows the public history of its source: not driven, so "
                "not compared with a real one."
            )
        said += _of_a_release(one, trace, version_number(version))
        ran_on = getattr(trace, one.card.version_of, "") if one.card.recorded else ""
        if ran_on and ran_on != version:
            said.append(f"The program ran on {one.name} {ran_on}; this is the twin of {version}.")
        here = _libc_here() if one.card.version_of == "libc" else ""
        if ran_on and here and here != ran_on:
            said.append(f"This machine's {one.name} is {here}; the program ran on {ran_on}.")
    return said + of_processors(manager, trace, chosen)


def _of_a_release(manager: Manager, trace: "Trace", version: int) -> list[str]:
    """The sentence where a runtime's program ran on another release than the twin's."""
    ran_on = trace.origin.get(manager.card.version_of, "")
    if manager.card.recorded or not ran_on or _same_release(version, ran_on):
        return []
    return [
        f"The program ran on {manager.card.version_of.title()} {ran_on}; {manager.name} is the "
        f"twin of {version_text(version)} here."
    ]


def of_references(manager: Manager, trace: "Trace") -> list[str]:
    """The sentence where a collector takes what was declared of references for nothing."""
    if not trace.references or not manager.collected or hasattr(manager.module, "declare"):
        return []
    return [
        f"It takes the trace's {counted(trace.references, 'reference object')}, or objects with "
        "finalisers, for ordinary ones: it clears none, and what they refer to lives."
    ]


def _libc_here() -> str:
    """This machine's version of glibc; "" of another C library."""
    known = "CS_GNU_LIBC_VERSION" in os.confstr_names
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] if known else ""


def of_processors(manager: Manager, trace: "Trace", chosen: Mapping[str, int]) -> list[str]:
    """The sentence where a kernel ran on more processors than its twin has."""
    has = chosen.get("cpus", 1) if "cpus" in manager.module.Config._fields else 1
    if not trace.of_kernel or not hasattr(manager.module, "DOORS") or trace.threads == has:
        return []
    return [
        f"The kernel ran on {counted(trace.threads, 'processor')}; this twin serves all of their "
        f"requests as {has if has > 1 else 'one'} would."
    ]


def sentences(recorded: Mapping[str, int], passed_over: int) -> list[str]:
    """What holds as recorded, and how many calls a manager had no answer to."""
    said = []
    if recorded:
        knobs = ", ".join(f"{knob}={setting_text(knob, v)}" for knob, v in recorded.items())
        said.append(f"As recorded: {knobs}; what is set here goes over that.")
    if passed_over:
        said.append(
            f"Passed over {passed_over:,} calls of mallopt, malloc_trim, sbrk or gc, by which the "
            "recorded program steered its own memory manager: this one has no answer to them."
        )
    return said
