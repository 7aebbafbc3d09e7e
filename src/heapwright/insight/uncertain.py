"""How far a row's figures may be off: as shares, by what it comes from.

agreement   of the twin with the real one, on this very trace
threads     of the present state, its threads in another order
layout      of the present state, in processes that are drawn: its start is of other lengths
written     of what the program allocates, it does not write all
time        of an allocator that goes by the clock
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heapwright.insight.advice import FIGURES, LEVEL_BYTES, value_of
from heapwright.words import bytes_text

if TYPE_CHECKING:
    from heapwright.insight.advice import Row
    from heapwright.insight.standing import Standing
    from heapwright.managers.card import Deploy
    from heapwright.result import Footprint

REORDERED = "threads in another order"  # of the present state
DRAWN = ("another process", "a third process")  # likewise: its start is of other lengths
LUCK_SHARE = 0.02  # by which a figure differs from process to process before it is told


def agreements(rows: Sequence[Row], real: Mapping[str, Footprint]) -> dict[str, float]:
    """By which share of the real one's figures those of each twin differ at most, as it is; and the
    present state's, the first row, from those of the same program in another order and layout."""
    found = {}
    for row in rows:
        name = row.candidate.manager
        plain = row.candidate.kind == "twin" and not row.candidate.settings
        if name in real and plain and not row.candidate.trim_seconds:
            found[name] = _apart(row.predicted, real[name])
    if other := real.get(REORDERED):
        found[REORDERED] = _apart(rows[0].predicted, other)
    if drawn := [real[name] for name in DRAWN if name in real]:
        found[DRAWN[0]] = max(_apart(one, rows[0].predicted) for one in drawn)
    return found


def _apart(one: Footprint, other: Footprint) -> float:
    """By which share of the other's the figures of one differ at most; what is less than
    LEVEL_BYTES is no difference."""
    pairs = [(value_of(one, figure), value_of(other, figure)) for figure in FIGURES]
    return max(max(0, abs(a - b) - LEVEL_BYTES // 4) / max(LEVEL_BYTES, b) for a, b in pairs)


def uncertainty(row: Row, agreement: Mapping[str, float], found: Standing) -> dict[str, float]:
    """What a row's figures may be off by, as shares, by what it comes from."""
    told: dict[str, float] = {}
    if row.candidate.kind == "twin" and row.candidate.malloc in agreement:
        told["agreement"] = agreement[row.candidate.malloc]
    if row.candidate.kind == "twin" and REORDERED in agreement:
        told["threads"] = agreement[REORDERED]
    if row.candidate.kind == "twin" and DRAWN[0] in agreement:
        told["layout"] = agreement[DRAWN[0]]
    if found.excess:
        told["written"] = found.excess
    return told


def by_time(row: Row, rows: Sequence[Row], deploy: Deploy) -> float:
    """How far a row that goes by the clock is from the one of its manager that does not wait, at
    most, as a share of its own: where the program pauses it comes as near to that."""
    still = [
        other.predicted
        for other in rows
        if other.candidate.manager == row.candidate.manager
        and dict(other.candidate.settings) == dict(deploy.at_once)
    ]
    if not still:
        return 1.0
    return max(
        abs(value_of(row.predicted, name) / max(1, value_of(still[0], name)) - 1)
        for name in FIGURES
    )


def luck(drawn: Sequence[Footprint], share: float) -> str:
    """How far what is held differs among processes that are alike but for the lengths of what they
    read at their start; nothing where that makes no difference."""
    if share < LUCK_SHARE:
        return ""
    told = []
    for name in ("end", "peak"):
        held = sorted(getattr(one, f"{name}_resident_bytes") for one in drawn)
        told.append(f"{bytes_text(held[0])} to {bytes_text(held[-1])} at the {name}")
    return (
        "What it holds is partly luck: as its path and its environment are longer or shorter, its "
        f"first blocks fall elsewhere, and it holds {told[0]}, {told[1]}, in {len(drawn)} "
        "processes that were drawn. A single run proves little."
    )
