"""The table: fits 100 columns, least first, the winner marked."""

import io

import numpy as np
from rich.console import Console

from heapwright.report.table import collectors_table, comparison_table, paths_table
from heapwright.result import CYCLE, PARTS, Collecting, Result


def made(manager, parts, kind="twin", **more):
    """A result whose parts are given in MiB, in the order of PARTS."""
    peak = {f"{part}_bytes": size << 20 for part, size in zip(PARTS, parts, strict=True)}
    peak["resident_bytes"] = sum(peak.values())
    figures = {"events": 10**9, "seconds": 20.0, "page_faults": 123_456_789, "settings": {}}
    return Result(
        manager=manager, kind=kind, peak=peak, mapped_bytes_peak=30 << 30, **figures | more
    )


def printed(table, width=100):
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return text.getvalue().splitlines()


def test_fits_a_hundred_columns_with_every_figure_large():
    results = [
        made("segregated-fit", [9999, 9999, 9999, 9999, 9999, 9999, 0]),
        made("jemalloc", [9000, 9000, 0, 0, 30000, 0, 0], "measured"),
        made("buddy", [9999] * 7, settings={"minimum_block_bytes": 4096}),
    ]
    lines = printed(comparison_table(results))
    assert max(map(len, lines)) <= 100
    assert "…" not in "".join(lines)


def test_least_first_and_one_star():
    results = [made("b", [3, 0, 0, 0, 1, 0, 0]), made("a", [3, 0, 0, 0, 0, 0, 0])]
    rows = [line for line in printed(comparison_table(results)) if "twin" in line]
    assert rows[0].startswith("★ a")
    assert rows[1].startswith("  b")
    assert rows[1].split()[2:9] == ["4,096", "75", "0", "0", "0", "1,024", "0"]  # KiB


def test_a_result_that_ran_out_is_marked_and_never_wins():
    results = [made("a", [1, 0, 0, 0, 0, 0, 0], refused=3), made("b", [9, 0, 0, 0, 0, 0, 0])]
    text = "\n".join(printed(comparison_table(results), 200))
    assert "★ b" in text
    assert "ran out of memory" in text


def test_paths():
    lines = printed(paths_table({"fast": 1234, "slow": 5}))
    assert lines[1].split() == ["fast", "1,234"]


def collected(manager, **more):
    """A result of a manager with a collector, every figure large."""
    did = Collecting(
        collections={"full": 123_456, "minor": 1_234_567},
        pauses=123_456_789,
        pause_ns=dict.fromkeys(("median", "p90", "p99", "longest", "total"), 987_654_321),
        pause_histogram=[],
        utilisation=0.123,
        minimum_utilisation=[],
        totals=dict.fromkeys(
            (*(f"{w}_bytes" for w in ("marked", "copied", "swept")), "barriers"), 10**15
        ),
        survival={"full": 0.5, "minor": 0.031},
        goal_bytes={},
        cycles=np.zeros((0, len(CYCLE)), np.int64),
    )
    return made(manager, [9] * 7, collecting=did, **more)


def test_collectors_have_a_table_of_their_own():
    explicit = made("glibc", [3, 0, 0, 0, 1, 0, 0])
    assert collectors_table([explicit]) is None
    knobs = {"heap_bytes": 1 << 30}
    lines = printed(collectors_table([explicit, collected("generational", settings=knobs)]))
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 100 and "…" not in text
    assert "glibc" not in text
    for shown in ("123,456 full", "1.23M minor", "988 ms", "88 %", "3.1 % minor", "heap_bytes"):
        assert shown in text
