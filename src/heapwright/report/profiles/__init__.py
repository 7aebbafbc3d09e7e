"""A trace's call stacks as a heap profile, in the formats of tools that draw such profiles.

A format is a module with these names, and one entry in `trace.exports.PROFILES`:

    SUMMARY                                  one line for a person who chooses
    ENDING                                   of its files' names
    written(profile) -> bytes                the file
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from heapwright.insight.growth import growth
from heapwright.insight.why import leaks, places
from heapwright.report.atomic import atomic
from heapwright.report.profiles.profile import Kind, Profile
from heapwright.trace.ending import ending

if TYPE_CHECKING:
    from heapwright.trace.store import Trace


def heap_profile(trace: "Trace", advance: Callable[[int], None] = lambda events: None) -> Profile:
    """The profile of a trace, which is streamed once; `Profile.kinds` says what is in it."""
    ends = ending(trace)
    found = growth(trace, ends, [ends.end], advance)
    end = found.moments.get(ends.end, found.exit)
    tree = trace.stacks()
    kinds = {
        Kind("alloc_objects", "count", "requests granted"): found.calls,
        Kind("alloc_space", "bytes", "bytes asked for in all"): found.allocated,
        Kind("peak_objects", "count", "blocks live when most bytes were"): found.peak.blocks,
        Kind("peak_space", "bytes", "bytes live when most were"): found.peak.live,
        Kind("leaked_space", "bytes", "bytes never freed that still grow"): leaks(
            found, places(trace.sites())
        ),
        Kind("inuse_objects", "count", "blocks live once it has settled"): end.blocks,
        Kind("inuse_space", "bytes", "bytes live once it has settled"): end.live,
    }
    return Profile.of(trace, tree, kinds)


def write_profile(
    trace: "Trace",
    to: str,
    output: Path,
    kind: str | None = None,
    advance: Callable[[int], None] = lambda events: None,
) -> list[str]:
    """Write `trace` in format `to`, one of `trace.exports.PROFILES`; what that cannot hold.

    `kind` names what a format that holds one kind of value is given.
    """
    module = importlib.import_module(f"{__name__}.{to}")
    profile = heap_profile(trace, advance)
    text: bytes = module.written(profile, kind)
    with atomic(output) as temporary:
        temporary.write_bytes(text)
    told = [] if trace.stack_nodes else ["no call stacks are known: each call site stands alone"]
    return [*told, "a profile holds sums, not events: it cannot be imported again"]
