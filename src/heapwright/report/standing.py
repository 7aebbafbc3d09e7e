"""In which order a person in a hurry meets the rows of a comparison.

    the present state ─► what the program could be given instead ─► what only compares: textbook
                                                                    managers, other runtimes

The first two are drawn, coloured and never folded; the third is folded where it is long.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from heapwright.insight.verdict import deployable, present, ranked
from heapwright.managers.registry import managers, usual
from heapwright.report.rows import Sheet
from heapwright.result import Result

TO_COMPARE = "To compare only, textbook managers and other runtimes:"
OF_COLLECTORS = ("spread.held_bytes", "peak.garbage_bytes")
MANY = 3  # so many rows that only compare are folded


@dataclass
class Standing:
    """The rows of one comparison, by what they are to the program."""

    now: Result | None
    first: list[Result]  # the present state, then what can be deployed, least room first
    others: list[Result] = field(default_factory=list)  # folded
    advised: Result | None = None  # of what can be deployed the first that holds less

    def role(self, result: Result) -> str:
        """present, advised, real, twin or other: how its line is drawn."""
        if result is self.now:
            return "present"
        if result is self.advised:
            return "advised"
        if any(result is other for other in self.others):
            return "other"
        return "real" if result.kind == "measured" else "twin"


def standing(results: Sequence[Result], *, graph: bool) -> Standing:
    """Judge the rows of one comparison, of an object `graph` or not."""
    order, now = ranked(results), present(results)
    if now is None or collectors_asked(results, graph=graph):
        return Standing(now, order, advised=_advised(order, now))
    near = [one for one in order if one is not now and (_is_near(one, now))]
    first = [now, *near]
    others = [one for one in order if not any(one is each for each in first)]
    if len(others) < MANY:
        first = [now, *(one for one in order if one is not now)]
        others = []
    return Standing(now, first, others, _advised(near, now))


def _is_near(result: Result, now: Result) -> bool:
    """A setting of the present manager, the real one of it, or what can be deployed."""
    return result.manager == now.manager or deployable(result, now)


def _advised(near: Sequence[Result], now: Result | None) -> Result | None:
    if now is None:
        return None
    lower = [r for r in near if not r.refused and r.held_bytes and r.room_bytes < now.room_bytes]
    return next((r for r in lower if r is not now and deployable(r, now)), None)


def collectors_asked(results: Sequence[Result], *, graph: bool, named: bool = False) -> bool:
    """Whether anything about collectors is wanted: of an object graph, where managers were named,
    one with a collector among them, or where one is compared that a malloc trace never is unasked.
    """
    known, unasked = managers(), set(usual())
    collected = {result.manager for result in results if result.collecting}
    if not collected:
        return False
    alone = all(result.collecting for result in results if result.kind == "twin")
    strange = any(name in known and name not in unasked for name in collected)
    return graph or named or alone or strange


def grouped(sheet: Sheet, results: Sequence[Result], *, graph: bool, named: bool = False) -> Sheet:
    """A comparison's sheet in that order, for a terminal, which cannot fold; columns that only a
    collector fills are left to --json where none of the first rows has one."""
    place = standing(results, graph=graph)
    if not place.others:
        return sheet
    row_of = {id(result): row for result, row in zip(ranked(results), sheet.rows, strict=True)}
    first = [row_of[id(result)] for result in place.first]
    rest = [replace(row_of[id(result)], group=TO_COMPARE) for result in place.others]
    if collectors_asked(results, graph=graph, named=named):
        return replace(sheet, rows=[*first, *rest])
    unasked = {
        key
        for key in OF_COLLECTORS
        if not any(
            column.value(row.values)
            for column in sheet.columns
            if column.key == key
            for row in first
        )
    }
    columns = tuple(column for column in sheet.columns if column.key not in unasked)
    return replace(sheet, rows=[*first, *rest], columns=columns)
