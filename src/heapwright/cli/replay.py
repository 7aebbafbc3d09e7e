"""`heapwright replay`: one trace through one manager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heapwright.cli.options import HugePages, Json, MemoryLimit, Settings, Swap, Touch, TracePath

if TYPE_CHECKING:
    from heapwright.trace.store import Trace
    from heapwright.tunnel.replay import Conditions


def replay(
    manager: Annotated[
        str,
        typer.Argument(metavar="MANAGER", help="See `heapwright managers`.", show_default=False),
    ],
    trace: TracePath,
    addresses: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy", help="Write the address of every event (int64), 0 for a free."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.txt", help="Write the lines that the runtime would write to its log."
        ),
    ] = None,
    settings: Settings = None,
    json: Json = False,
    touch: Touch = None,
    huge_pages: HugePages = "never",
    memory_limit: MemoryLimit = None,
    swap: Swap = None,
) -> None:
    """Replay a trace through one manager.

    Says what the manager holds at its peak and which paths its requests took. Addresses are those
    of the tunnel's machine, whose heap starts at 0x1000000.

    Example:

        heapwright replay glibc sqlite3.heap.parquet --set glibc.arena_max=2
        heapwright replay glibc t.heap.parquet --memory-limit 256M
        heapwright replay buddy t.heap.parquet --addresses buddy.npy
        heapwright replay dalvik app.heap.parquet --log logcat.txt
    """
    from heapwright.api.replaying import replay as replayed
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings
    from heapwright.errors import HeapwrightError
    from heapwright.report.comparison import (
        collectors_sheet,
        comparison_rows,
        comparison_sheet,
        paths_sheet,
    )
    from heapwright.report.document import trace_facts
    from heapwright.report.limits import limits_sheet
    from heapwright.report.notes import notes
    from heapwright.report.summary import print_notes
    from heapwright.report.terminal import print_sheet
    from heapwright.trace.store import Trace
    from heapwright.tunnel.limited import Limit, steps_of_replay
    from heapwright.tunnel.replay import Conditions

    asked = parse_settings(settings or ())
    if others := [name for name in asked if name != manager]:
        raise HeapwrightError(f"--set names {others[0]}, but the manager replayed is {manager}.")
    opened = Trace.open(trace)
    knobs, conditions = asked.get(manager, {}), Conditions.of(opened, touch, huge_pages)
    limit = Limit.of(memory_limit, swap)
    passes = steps_of_replay(opened, limit)
    passes += opened.events * (bool(addresses) + bool(log))
    with screen.progress(manager, passes) as advance:
        result = replayed(
            manager,
            opened,
            knobs,
            touch=conditions.touch,
            huge_pages=conditions.huge_pages,
            memory_limit=memory_limit,
            swap=swap,
            progress=_advancing(advance),
        )
        if addresses is not None:
            write_addresses(addresses, manager, opened, knobs, conditions, _advancing(advance))
        if log is not None:
            write_log(log, manager, opened, knobs, _advancing(advance))
    if json:
        (row,) = comparison_rows([result])
        screen.print_json({"trace": trace_facts(opened), "result": row})
        return
    console = screen.console()
    for sheet in (comparison_sheet, collectors_sheet, limits_sheet):
        if (made := sheet([result])).rows:
            print_sheet(console, made)
    print_sheet(console, paths_sheet(result.paths))
    print_notes(console, notes("The trace", opened.notes, [result]))
    if addresses is not None:
        console.print(f"Addresses: {addresses.resolve()}", markup=False, soft_wrap=True)
    if log is not None:
        console.print(f"Log: {log.resolve()}", markup=False, soft_wrap=True)


def write_addresses(
    path: Path,
    manager: str,
    trace: Trace,
    knobs: dict[str, int],
    conditions: Conditions,
    progress: Callable[[int], None],
) -> None:
    """Stream int64[event] into a .npy file, written beside and renamed."""
    import numpy as np

    from heapwright.report.atomic import atomic
    from heapwright.tunnel.replay import addresses

    first = 0
    with atomic(path) as temporary, temporary.open("wb") as file:
        # The header for the whole length, then batch after batch: a full disk raises here, where a
        # memory map would end in SIGBUS.
        header = {"descr": "<i8", "fortran_order": False, "shape": (trace.events,)}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in addresses(
            manager,
            trace,
            knobs,
            touch=conditions.touch,
            huge_pages=conditions.huge_pages,
            progress=progress,
        ):
            file.write(np.ascontiguousarray(batch, "<i8").data)
            first += len(batch)
        assert first == trace.events


def write_log(
    path: Path,
    manager: str,
    trace: Trace,
    knobs: dict[str, int],
    progress: Callable[[int], None],
) -> None:
    """Write the lines of the runtime's log, each on its own, beside and renamed."""
    from heapwright.report.atomic import atomic
    from heapwright.tunnel.runtime_log import log_lines

    lines = log_lines(manager, trace, knobs, progress=progress)
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for _, line in lines))


def _advancing(advance: Callable[[int], None]) -> Callable[[int], None]:
    """A callback told totals, for a bar told steps."""
    seen = 0

    def progress(done: int) -> None:
        nonlocal seen
        advance(done - seen)
        seen = done

    return progress
