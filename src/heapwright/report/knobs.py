"""What was set in the rows of a comparison, a sentence and a unit for each knob."""

from collections.abc import Iterable

from heapwright.errors import HeapwrightError
from heapwright.managers.knobs import knobs
from heapwright.managers.registry import named
from heapwright.result import Result


def said_of_settings(results: Iterable[Result]) -> list[tuple[str, str]]:
    """Each knob that a row sets, with its unit, and what it does; once for each manager's."""
    told: dict[tuple[str, str], tuple[str, str]] = {}
    for result in results:
        if not result.settings:
            continue
        try:
            known = knobs(named(result.manager))
        except (HeapwrightError, ImportError):  # a real system without a twin
            continue
        for name in result.settings:
            if name in known and known[name].sentence:
                title = f"{result.manager}.{name} ({known[name].unit})"
                told.setdefault((result.manager, name), (title, known[name].sentence))
    return list(told.values())
