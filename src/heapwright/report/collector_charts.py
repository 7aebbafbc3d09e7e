"""What the charts about collectors draw."""

from collections.abc import Sequence
from typing import Any

from heapwright.result import CYCLE, Collecting, Result


def collected(order: Sequence[Result]) -> list[tuple[Result, Collecting]]:
    """Those with a collector, by name and settings."""
    found = [(result, result.collecting) for result in order if result.collecting]
    return sorted(found, key=lambda pair: (pair[0].manager, list(pair[0].settings.values())))


def chart_data(name: str, did: Collecting) -> dict[str, Any]:
    """What the charts of one collector draw; columns of `cycles` under the names of CYCLE."""
    return {
        "title": name,
        "kinds": list(did.collections),
        "cycles": {column: did.cycles[:, n].tolist() for n, column in enumerate(CYCLE)},
        "collections": sum(did.collections.values()),
        "pauses": did.pause_histogram,
        "utilisation": did.minimum_utilisation,
        "survival": did.survival,
        "generations": did.generations.to_json() if did.generations else None,
    }
