"""`heapwright areas`: the run-time data areas of a managed runtime, and how each ends."""

from __future__ import annotations

from typing import Annotated

import typer

from heapwright.cli.options import Json


def areas(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="hotspot.")] = "hotspot",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="An option of java by its name, as Xmx=64M, Xmn, Xss, gc=g1, MaxMetaspaceSize, "
            "CompressedClassSpaceSize, ReservedCodeCacheSize, MaxDirectMemorySize, version; "
            "piece_bytes: of what fills heap and direct memory.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Let a real JVM fill them, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a runtime's data areas, and how each of them ends.

    Program counter, stacks, heap, metaspace with its constant pools, class space, code cache,
    direct memory, threads: how large each may be, which option says so, after how much it is full,
    and the text that the program then sees. With --references a real JVM of that release is made
    to fill them.

    Example:

        heapwright areas hotspot --set Xmx=64M --set Xss=512k
        heapwright areas hotspot --set gc=g1 --set Xmx=64M --references
    """
    from heapwright.api.areas import areas as of_system
    from heapwright.cli import screen
    from heapwright.report.areas_table import areas_sheet, endings
    from heapwright.report.terminal import print_sheet

    with screen.progress("java", None) as advance:
        found = of_system(
            system, _options(settings or []), references=references, progress=lambda _: advance(0)
        )
    if json:
        screen.print_json(found.to_json())
        return
    console, rows = screen.console(), found.rows()
    print_sheet(console, areas_sheet(rows))
    console.print()
    for line in [*endings(rows), "", *(f"note: {note}" for note in found.notes)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _options(texts: list[str]) -> dict[str, str | int]:
    """Values by name, from texts `OPTION=VALUE`."""
    from heapwright.errors import HeapwrightError
    from heapwright.quantities import parse_knob

    found: dict[str, str | int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("hotspot.")
        if not (equals and name and value):
            raise HeapwrightError(f"--set {text!r}: write OPTION=VALUE, as in Xmx=64M.")
        found[name] = value.strip().lower() if name.lower() == "gc" else parse_knob(name, value)
    return found
