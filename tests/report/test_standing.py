"""Who is advised instead of the present state, and when what only compares is folded."""

import pytest

from heapwright.report.standing import Standing, standing
from made_results import MIB, made, now


def real(manager="jemalloc", resident=150, **more):
    peak = dict.fromkeys(made().peak, 0) | {"resident_bytes": resident * MIB}
    return made(manager, "measured", peak=peak, high_water_bytes=0, **more)


@pytest.mark.parametrize(
    ("row", "advised"),
    [
        (real(), True),
        (real(refused=1), False),
        (real(resident=200), False),
        (real(resident=199), True),
        (real(resident=0), False),
        (made("buddy"), False),  # which nobody can deploy
    ],
)
def test_what_holds_less_and_can_be_deployed_is_advised(row, advised):
    place = standing([row, now()], graph=False)
    assert place.advised is (row if advised else None)
    assert place.role(row) == ("advised" if advised else place.role(row))
    assert place.role(row) != "advised" or advised


def test_three_rows_that_only_compare_are_folded():
    others = [made(name) for name in ("buddy", "linear", "best-fit")]
    assert standing([now(), *others[:2]], graph=False).others == []
    place = standing([now(), real(), *others], graph=False)
    assert [one.manager for one in place.first] == ["glibc", "jemalloc"]
    assert len(place.others) == 3 and isinstance(place, Standing)
