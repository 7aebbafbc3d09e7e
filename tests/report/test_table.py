"""The table: fits 100 columns, least first, the winner marked."""

import io

from rich.console import Console

from heapwright.report.table import comparison_table, paths_table
from heapwright.result import PARTS, Result


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
    lines = printed(paths_table(made("a", [1] * 7, paths={"fast": 1234, "slow": 5})))
    assert lines[1].split() == ["fast", "1,234"]
