"""The free ranges of the mapped zone against a set of free pages."""

import random

import pytest

from heapwright.machine.gaps import (
    GAP_ROWS,
    HUGE_PAGE_BYTES,
    check,
    extend,
    gaps,
    give_back,
    place,
)

LOW, HIGH = 64, 128  # pages here, as the table knows no unit


def naive_place(free, hint, length):
    """Where `place` puts it, of a set of free pages; 0 for nowhere."""
    if hint and set(range(hint, hint + length)) <= free:
        return hint
    fitting = [at for at in sorted(free) if set(range(at, at + length)) <= free]
    return fitting[-1] if fitting else 0


def ranges(free):
    """A set of pages as (start, end), upwards."""
    starts = [page for page in sorted(free) if page - 1 not in free]
    return [(at, next(p for p in range(at, HIGH + 1) if p not in free)) for at in starts]


def rows(table):
    count = int(table.count[0])
    return list(zip(table.start[:count].tolist(), table.end[:count].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_random_calls(seed):
    draw = random.Random(seed)
    table, free = gaps(LOW, HIGH), set(range(LOW, HIGH))
    for _ in range(400):
        verb, length = draw.choice(["place", "hint", "extend", "give"]), draw.randrange(1, 9)
        if verb == "extend":
            at = draw.randrange(LOW, HIGH)
            # an area ends there: the page below is taken, the range is free or not
            if at - 1 in free or at not in free:
                continue
            wanted = set(range(at, at + length))
            assert extend(table, at, length) == (wanted <= free)
            moved = wanted if wanted <= free else set()
        elif verb == "give":
            at = draw.randrange(LOW, HIGH - length + 1)
            moved = set(range(at, at + length))
            if moved & free:
                continue
            give_back(table, at, length)
            free |= moved
            moved = set()
        else:
            hint = draw.randrange(LOW, HIGH) if verb == "hint" else 0
            expected = naive_place(free, hint, length)
            assert place(table, hint, length) == expected
            moved = set(range(expected, expected + length)) if expected else set()
        free -= moved
        assert rows(table) == ranges(free)
        assert check(table)


def test_a_gap_is_taken_whole():
    table = gaps(LOW, HIGH)
    assert place(table, 0, HIGH - LOW) == LOW and rows(table) == []
    assert place(table, 0, 1) == 0 and not extend(table, LOW, 1)
    give_back(table, 70, 5)
    assert place(table, 70, 5) == 70 and rows(table) == []
    give_back(table, 70, 5)
    assert extend(table, 70, 5) and rows(table) == []


def test_a_full_table_refuses():
    table = gaps(LOW, LOW + 2 * GAP_ROWS)
    assert place(table, 0, 2 * GAP_ROWS) == LOW
    for row in range(GAP_ROWS - 1):
        assert table.count[0] == row
        give_back(table, LOW + 2 * row, 1)
        if row == GAP_ROWS - 3:
            assert place(table, LOW + 2 * row, 1) == LOW + 2 * row, "two rows are left"
            give_back(table, LOW + 2 * row, 1)
    assert place(table, 0, 1) == 0


@pytest.mark.parametrize(
    "broken", [[(64, 66), (66, 70)], [(70, 72), (64, 66)], [(64, 64)], [(64, 66), (70, 69)]]
)
def test_check_finds_gaps_that_touch_or_hold_nothing(broken):
    table = gaps(LOW, HIGH)
    for row, (start, end) in enumerate(broken):
        table.start[row], table.end[row] = start, end
    table.count[0] = len(broken)
    assert not check(table)


def test_whole_huge_pages_lie_at_multiples_of_one():
    """In the highest gap with room for one more; where none has it, as any other mapping."""
    table = gaps(HUGE_PAGE_BYTES, 8 * HUGE_PAGE_BYTES)
    assert place(table, 0, 4096) == 8 * HUGE_PAGE_BYTES - 4096
    assert place(table, 0, 2 * HUGE_PAGE_BYTES) == 5 * HUGE_PAGE_BYTES
    assert place(table, 0, 4096) == 8 * HUGE_PAGE_BYTES - 8192, "what was left above is used"
    assert place(table, 0, 4 * HUGE_PAGE_BYTES) == HUGE_PAGE_BYTES, "no room for one more"
    assert rows(table) == [(7 * HUGE_PAGE_BYTES, 8 * HUGE_PAGE_BYTES - 8192)]
    assert place(table, 7 * HUGE_PAGE_BYTES, 4096) == 7 * HUGE_PAGE_BYTES
    assert place(table, 7 * HUGE_PAGE_BYTES + 4096, HUGE_PAGE_BYTES - 12288)
    assert rows(table) == [] and place(table, 0, HUGE_PAGE_BYTES) == 0
    table = gaps(HUGE_PAGE_BYTES, 8 * HUGE_PAGE_BYTES)
    assert place(table, HUGE_PAGE_BYTES, 7 * HUGE_PAGE_BYTES) == HUGE_PAGE_BYTES
    assert place(table, 0, HUGE_PAGE_BYTES) == 0, "what lay in the table is no gap"
