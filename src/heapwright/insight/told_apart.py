"""A measured malloc's memory told apart by its twin, where both held as much.

    measured: live, rounding, the rest ─► twin of the same settings, within 1 % at the peak and the
              end? ─► the twin's parts; what it held more or less stands under partial

From outside headers, caches and holes cannot be told apart; the twin places every block where the
real one does, so its parts are the real one's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heapwright.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

NEAR = 100  # one part in so many
TOLD = (
    "Told apart by its twin, which held as much within 1 % at the peak and the end; what it held "
    "more or less stands under partial. The allocator's static data is left out."
)


def tell_apart(results: Sequence[Result], rest: str) -> None:
    """Give each measured result the parts of its twin among `results` if they agree; `rest` is the
    note that its parts are not known, which goes then."""
    twins = {_asked(one): one for one in results if one.kind == "twin"}
    for real in results:
        twin = twins.get(_asked(real))
        if real.kind != "measured" or twin is None or rest not in real.notes:
            continue
        peak, end = _parts(real.peak, twin.peak), _parts(real.end, twin.end)
        if peak and (end or not real.end):
            real.peak, real.end = peak, end
            real.notes[real.notes.index(rest)] = TOLD


def _asked(one: Result) -> tuple[object, ...]:
    """What both were asked for."""
    return one.manager, *(tuple(sorted(each.items())) for each in (one.settings, one.conditions))


def _parts(real: "Mapping[str, int]", twin: "Mapping[str, int]") -> dict[str, int]:
    """The twin's parts, of as many bytes as the real one held; none where they are not near."""
    if not real or not twin:
        return {}
    more = real["resident_bytes"] - twin["resident_bytes"]
    if NEAR * abs(more) > real["resident_bytes"] or twin["partial_bytes"] + more < 0:
        return {}
    return {
        **twin,
        "resident_bytes": real["resident_bytes"],
        "partial_bytes": twin["partial_bytes"] + more,
    }
