"""What people type for knobs, sizes and counts, as integers.

    --set glibc.arena_max=2 --set glibc.mmap_threshold=256k   ─►  {"glibc": {"arena_max": 2, ...}}

Sizes and knobs count in powers of 1024 (64k = 65,536), counts of events in powers of 1000
(1M = 1,000,000).
"""

import re
import sys
from collections.abc import Iterable
from itertools import product

from heapwright.errors import HeapwrightError
from heapwright.quantities import parse_bytes, parse_count, parse_knob

__all__ = [
    "parse_bytes",
    "parse_count",
    "parse_knobs",
    "parse_parameters",
    "parse_settings",
    "parse_share",
    "parse_variants",
]


def parse_share(text: str) -> float:
    """A share of 1 from "5%" or "0.5 %"."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text)
    if not match:
        raise HeapwrightError(f"{text!r} is not a share; write it in per cent, as 5%.")
    return float(match[1]) / 100


def parse_parameters(texts: Iterable[str]) -> dict[str, int]:
    """Values by name, from texts `PARAMETER=VALUE`; the last of a name wins."""
    chosen: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise HeapwrightError(f"--set {text!r}: write PARAMETER=VALUE, as in max_bytes=64k.")
        chosen[name.strip()] = parse_bytes(value)
    return chosen


def parse_settings(texts: Iterable[str]) -> dict[str, dict[str, int]]:
    """Knob values by manager, from texts `MANAGER.KNOB=VALUE`; the last of a knob wins.

    Values are sizes as `parse_bytes` reads them, or on/off, true/false, yes/no; a version is told
    in numbers and points, as 2.36. Whether the manager
    and the knob exist is for the registry to say.
    """
    settings: dict[str, dict[str, int]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        manager, dot, knob = target.strip().partition(".")
        if not (equals and dot and manager and knob):
            raise HeapwrightError(
                f"--set {text!r}: write MANAGER.KNOB=VALUE, as in glibc.arena_max=2."
            )
        try:
            settings.setdefault(manager, {})[knob] = parse_knob(knob, value)
        except HeapwrightError as error:
            raise HeapwrightError(f"--set {text!r}: {error}") from None
    return settings


def parse_knobs(manager: str, texts: Iterable[str]) -> dict[str, int]:
    """Knob values of one manager, from texts `KNOB=VALUE` or `MANAGER.KNOB=VALUE`."""
    named = (
        text if "." in text.partition("=")[0] or "=" not in text else f"{manager}.{text}"
        for text in texts
    )
    settings = parse_settings(named)
    for other in settings:
        if other != manager:
            raise HeapwrightError(f"--set names {other}, but the manager is {manager}.")
    return settings.get(manager, {})


def tell_ignored(manager: str, knobs: dict[str, int]) -> None:
    """Say on stderr what is set and as if it were not: where no result carries it as a note."""
    from heapwright.managers.registry import named

    for sentence in named(manager).ignored(knobs) if knobs else ():
        print(f"note: {manager}. {sentence}", file=sys.stderr)


def parse_seconds(text: str) -> float:
    """Seconds, from a text such as 60, 60s, 1.5m, 2h, 500ms."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text.strip())
    if not match or not 0 < float(match[1]) < 1e9:
        raise HeapwrightError(f"{text!r} is no time: write 60s, 5m or 1h.")
    return float(match[1]) * {"ms": 1e-3, "": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def parse_variants(texts: Iterable[str]) -> dict[str, list[dict[str, int]]]:
    """The same where a knob may have several values: by manager every combination of them."""
    values: dict[str, dict[str, list[int]]] = {}
    for text in texts:
        for manager, knobs in parse_settings([text]).items():
            for knob, value in knobs.items():
                known = values.setdefault(manager, {}).setdefault(knob, [])
                if value not in known:
                    known.append(value)
    return {
        manager: [dict(zip(knobs, chosen, strict=True)) for chosen in product(*knobs.values())]
        for manager, knobs in values.items()
    }
