"""The page on worst cases: exact figures of the textbook managers, and what is found of the others.

    python benchmarks/worst_cases.py [-o docs/worst-case.md] [--seconds 20]

Nothing in its tables is typed by hand: run this again after a change to a manager.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from heapwright.adversary.worst_case import MODELS, OPTIMAL, WorstCase, worst_case
from heapwright.cli.worst_case import drawn

EXACT = ((6, 2), (8, 2), (10, 2), (12, 2), (6, 4), (8, 4), (10, 4), (8, 8))
SOLVED = ((6, 2), (8, 2), (6, 4), (8, 4))  # of the best manager there can be
OTHERS = ("next-fit", "worst-fit", "segregated-fit", "half-fit", "tlsf", "fibonacci-buddy", "glibc")
OTHERS_GAME = (6, 4)
IN_AREAS = ("slots",)
PICTURED = ("best-fit", 6, 4)

INTRODUCTION = """# The worst case

Written by `benchmarks/worst_cases.py`.

An adversary asks for blocks of 1 to n units and frees them, keeps at most M units live, and knows
the manager. How large can it make the heap? `heapwright worst-case MANAGER --live M --ratio n`
plays it.

- A manager's **unit** is learnt by asking it: so many bytes that k units cost exactly k times as
  much, headers and alignment included.
- **First fit, best fit and the buddy system** place a block by the live blocks alone, so a state is
  two bit masks and every reachable one is visited: the figures are exact.
- **Any other manager** is played in its own memory: every sequence of moves, where two that leave
  the manager's words and the live blocks equal count as one. Where there are too many, half of the
  time goes to a beam of the most promising; the result is then *found*, and a worse program may
  exist.
- **optimal** is the best any manager could do, found by solving the game for every placement. It
  and the buddy system play powers of two, the others all sizes.
- Whatever is found is played on the registered manager again, and what it takes is what is told.
- Of a heap that is one run of memory that is its span, in units. Where blocks lie in **areas of
  their own**, other things lie between them: what counts is what the machine has given, and
  Robson's optimum, of one run of memory, is no measure for it.

Robson (1974) proved that for powers of two up to n the best manager needs
M (1 + log2(n) / 2) - n + 1 units.
"""


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("|" + " --- |" * len(list(header)))
    return [*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)]


def others_row(found: WorstCase) -> tuple[object, ...]:
    """A manager that was searched."""
    how = "exhaustive" if found.exhaustive else "found"
    times = f"{found.high_water / found.optimum:.2f}"
    return found.manager, found.sizes, found.high_water, times, how, f"{found.states:,}"


def areas_row(found: WorstCase) -> tuple[object, ...]:
    """A manager whose blocks lie in areas of their own."""
    assert found.areas
    how = "exhaustive" if found.exhaustive else "found"
    live, taken = found.live * found.unit_bytes, f"{found.taken_bytes:,}"
    return found.manager, found.sizes, live, taken, f"{found.first_bytes:,}", how


def in_areas(seconds: float) -> list[str]:
    """The table of managers whose blocks lie in areas of their own."""
    live, ratio = OTHERS_GAME
    header = ["manager", "sizes", "bytes live", "taken", "for a first block", "search"]
    found = (worst_case(name, live, ratio, seconds=seconds) for name in IN_AREAS)
    return table(header, [areas_row(one) for one in found])


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/worst-case.md"))
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    lines = [INTRODUCTION, "## Exact, in units", ""]
    header = ["M, n", "Robson", OPTIMAL, *MODELS]
    rows = []
    for live, ratio in EXACT:
        cells = [worst_case(name, live, ratio) for name in MODELS]
        best = worst_case(OPTIMAL, live, ratio).high_water if (live, ratio) in SOLVED else "-"
        high = [found.high_water for found in cells]
        assert all(found.exhaustive for found in cells)
        rows.append((f"{live}, {ratio}", f"{cells[0].optimum:g}", best, *high))
    lines += table(header, rows)
    live, ratio = OTHERS_GAME
    lines += ["", f"## Found, M = {live}, n = {ratio}", ""]
    header = ["manager", "sizes", "units", "times Robson's", "search", "states"]
    found = (worst_case(name, live, ratio, seconds=options.seconds) for name in OTHERS)
    lines += table(header, [others_row(one) for one in found])
    lines += ["", f"## In areas of their own, M = {live}, n = {ratio}", ""]
    lines += in_areas(options.seconds)
    name, live, ratio = PICTURED
    lines += ["", f"## How {name} is made to take it: M = {live}, n = {ratio}", "", "```"]
    lines += [*drawn(worst_case(name, live, ratio)), "```", ""]
    options.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
