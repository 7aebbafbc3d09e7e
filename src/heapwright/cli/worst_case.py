"""`heapwright worst-case`: the worst program for a manager, as a picture or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import Json, Settings

if TYPE_CHECKING:
    from heapwright.adversary.worst_case import WorstCase

_MOST_DRAWN = 120  # units; a higher heap does not fit a line


def worst_case(
    manager: Annotated[
        str,
        typer.Argument(
            metavar="MANAGER",
            help="A manager, or `optimal` for the best there can be.",
            show_default=False,
        ),
    ],
    live: Annotated[
        int, typer.Option(metavar="M", help="Most units live at once.", show_default=False)
    ],
    ratio: Annotated[
        int,
        typer.Option(
            metavar="N", help="Largest block in units; the smallest is one.", show_default=False
        ),
    ],
    sizes: Annotated[
        str | None,
        typer.Option(
            metavar="all|powers",
            help="Sizes from 1 to N, or powers of two; default: all where the manager has them.",
        ),
    ] = None,
    settings: Settings = None,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="How long to look before the worst so far is told.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Find the program that makes a manager's heap largest.

    An adversary asks for blocks and frees them, with at most M units live, and knows the manager.
    All its programs are tried, or as many as the time allows; the worst is then played on the
    manager itself. Robson's optimum is what the best manager would need for its own worst program,
    in one run of memory. Where a manager's blocks lie in areas of their own, what it took from the
    machine is told instead.

    Example:

        heapwright worst-case first-fit --live 8 --ratio 2
        heapwright worst-case glibc --live 6 --ratio 4 --seconds 60 --json
        heapwright worst-case optimal --live 8 --ratio 4
    """
    from heapwright.adversary.worst_case import worst_case as played
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings, tell_ignored
    from heapwright.errors import HeapwrightError

    knobs = parse_settings(settings or [])
    for other in knobs.keys() - {manager}:
        raise HeapwrightError(f"--set names {other}, but it is {manager} that is played against.")
    tell_ignored(manager, knobs.get(manager, {}))
    with screen.progress(f"playing against {manager}", None) as advance:
        found = played(
            manager,
            live,
            ratio,
            sizes=sizes,
            settings=knobs.get(manager),
            seconds=seconds,
            progress=lambda states, worst: advance(0),
        )
    if json:
        screen.print_json(found.to_json())
        return
    console = screen.console()
    if found.moves:
        for line in drawn(found):
            console.print(line, markup=False)
        console.print()
    for line in said(found):
        console.print(line, markup=False)


def drawn(found: WorstCase) -> list[str]:
    """A line for each move of the sequence: what is done, and the heap after it; a letter is a
    unit of a live block, a dot a free one."""
    lines = []
    heap: list[str] = []
    for number, step in enumerate(found.steps(), 1):
        units, start = int(step["units"]), int(step.get("start_units", -1))
        letter = "abcdefghijklmnopqrstuvwxyz"[int(step["slot"]) % 26]
        if step["op"] == "malloc":
            heap += "·" * (start + units - len(heap))
            heap[start : start + units] = letter * units
        else:
            heap = ["·" if unit == letter else unit for unit in heap]
        sign = "+" if step["op"] == "malloc" else "−"
        picture = "".join(heap) if found.high_water <= _MOST_DRAWN else f"at {start}"
        lines.append(f"{number:4d}  {sign}{units:<3d} {letter}  {picture}")
    return lines


def said(found: WorstCase) -> list[str]:
    """The result in words."""
    sizes = f"1 to {found.ratio}" if found.sizes == "all" else f"powers of two up to {found.ratio}"
    verb = "needs" if found.exhaustive else "can be made to take"
    end = ": no program does worse." if found.exhaustive else "."
    game = f"for {found.live} live in blocks of {sizes} units"
    if found.areas:
        held = found.live * found.unit_bytes
        lines = [
            f"{found.manager} {verb} {found.taken_bytes:,} bytes from the machine {game}{end}",
            f"That is {found.taken_bytes / held:.3g} times the {held:,} bytes live at most; "
            f"{found.first_bytes:,} of it for a first block of one unit.",
            "Its blocks lie in areas of their own: Robson's optimum, of one run of memory, is no "
            f"measure for it. From the lowest to the highest it is {found.high_water:,} units.",
        ]
    else:
        lines = [
            f"{found.manager} {verb} {found.high_water} units {game}{end}",
            f"Robson's optimum is {found.optimum:g} units: "
            f"{found.high_water / found.optimum:.2f} times that.",
        ]
        if found.taken_bytes:
            lines.append(
                f"From the machine it takes {found.taken_bytes:,} bytes, {found.first_bytes:,} of "
                "them for a first block of one unit."
            )
    lines.append(
        f"{found.states:,} states in {found.seconds:.1f} s"
        + (f"; a unit is {found.unit_bytes} bytes." if found.unit_bytes else ".")
    )
    return lines + found.notes
