"""`heapwright validate`: a twin against the real system, as a table or JSON."""

from typing import Annotated, Any

import typer

from heapwright.cli.options import Json, Settings, TracePath


def validate(
    manager: Annotated[
        str,
        typer.Argument(
            metavar="MANAGER", help="A manager with a real counterpart.", show_default=False
        ),
    ],
    trace: TracePath,
    settings: Settings = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with status 1 unless all that is compared agrees."),
    ] = False,
    json: Json = False,
) -> None:
    """Check a manager against the real system, event by event.

    The twin and the real system, in a fresh process, get the same events. Of glibc addresses are
    compared with those that the recording kept, or with the fresh process's where it kept none;
    resident and mapped bytes with the fresh process's. Of Go size classes, live bytes after full
    collections, the number of collections and their goals, and the heap in use.

    Example:

        heapwright validate glibc sqlite.heap.parquet
        heapwright validate go sqlite.heap.parquet --json
        heapwright validate glibc sqlite.heap.parquet --set glibc.tcache_count=0
    """
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_settings
    from heapwright.errors import HeapwrightError
    from heapwright.trace.store import Trace
    from heapwright.tunnel.validate import validate as compared
    from heapwright.tunnel.validate_go import validate_go

    knobs = parse_settings(settings or [])
    for other in knobs.keys() - {manager}:
        raise HeapwrightError(f"--set names {other}, but it is {manager} that is validated.")
    opened = Trace.open(trace)
    with screen.progress(f"validating {manager}", opened.events) as advance:
        shown = 0

        def progress(done: int) -> None:
            nonlocal shown
            advance(done - shown)
            shown = done

        found: Any
        if manager == "go":
            found = validate_go(opened, knobs.get(manager), progress=progress)
        else:
            found = compared(manager, opened, knobs.get(manager), progress=progress)
    if json:
        screen.print_json(found.to_json())
    elif manager == "go":
        _print_go(found)
    else:
        _print(found)
    if strict and not found.agrees:
        raise typer.Exit(1)


def _print(found: Any) -> None:
    from rich.table import Table

    from heapwright.cli import screen
    from heapwright.insight.words import bytes_text

    table = Table(
        "", "twin", "real", "agreement", title=f"{found.manager} on {found.events:,} events"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for label, tally in (
        ("addresses", found.addresses),
        ("  outside the brk heap", found.outside),
        ("usable sizes", found.usable_sizes),
    ):
        counts = (
            f"{tally.equal:,} equal",
            f"of {tally.compared:,}",
            percent(tally.equal, tally.compared),
        )
        table.add_row(label, *counts)
    for label, (twin, real), text in (
        ("resident at the peak", found.resident, bytes_text),
        ("mapped at the peak", found.mapped, bytes_text),
        ("page faults", found.page_faults, "{:,}".format),
    ):
        table.add_row(label, text(twin), text(real), difference(twin, real))
    console = screen.console()
    console.print(table)
    source = (
        "the addresses that the recording kept"
        if found.key == "recorded"
        else "the real system in a fresh process"
    )
    console.print(f"Addresses and usable sizes are compared with {source}.")
    if found.repeats.compared and found.repeats.equal < found.repeats.compared:
        share = percent(found.repeats.equal, found.repeats.compared)
        console.print(f"The real system itself repeats {share} of the recorded addresses.")
    if found.threads > 1:
        console.print(
            f"The trace has {found.threads:,} threads: which arena a thread gets depends on locks, "
            "so a share below 100 % is no fault of the twin by itself."
        )
    if found.first_difference:
        at = found.first_difference
        console.print(
            f"First difference at event {at['event']:,}: offset {at['twin_offset']:,} (twin) and "
            f"{at['real_offset']:,} (real), usable {at['twin_usable']:,} and {at['real_usable']:,} "
            "bytes; -1 is outside the heap or unknown."
        )


def _print_go(found: Any) -> None:
    from rich.table import Table

    from heapwright.cli import screen
    from heapwright.insight.words import bytes_text

    title = f"go on {found.events:,} events, beside Go {found.real_version}"
    table = Table("", "twin", "real", "agreement", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, tally in (
        ("size classes of allocations", found.size_classes),
        ("collections by the same event", found.moments),
        ("  the real one, run again", found.repeated),
        ("heap goals within 2 %", found.heap_goals),
        ("heap in use within 3 %, samples", found.in_use_samples),
    ):
        share = percent(tally.equal, tally.compared)
        table.add_row(label, f"{tally.equal:,}", f"of {tally.compared:,}", share)
    for at in found.live_bytes:
        away = f"{at.twin - at.real:+,} B" if at.twin != at.real else "equal"
        table.add_row(f"live after event {at.event:,}", f"{at.twin:,}", f"{at.real:,}", away)
    twin, real = found.collections
    table.add_row("collections", f"{twin:,}", f"{real:,}", difference(twin, real))
    twin, real = found.heap_in_use
    table.add_row("in use at the end", bytes_text(twin), bytes_text(real), difference(twin, real))
    rates = [found.events / seconds / 1e6 if seconds else 0 for seconds in found.seconds]
    table.add_row("M events/s", *(f"{rate:.1f}" for rate in rates), f"{rates[0] / rates[1]:.2f} x")
    screen.console().print(table)
    screen.console().print(
        "Both stop the world to collect, on one processor (GODEBUG=gcstoptheworld=2 GOMAXPROCS=1); "
        "live bytes and goals count the runtime's own objects. The rate is that of Go as it comes."
    )


def percent(equal: int, compared: int) -> str:
    """A share that says 100.00 % only when all are equal."""
    if not compared:
        return "none"
    if equal == compared:
        return "100.00 %"
    return f"{min(99.99, 100 * equal / compared):.2f} %"


def difference(twin: int, real: int) -> str:
    """How far the twin is from the real figure."""
    if twin == real:
        return "equal"
    return f"{100 * (twin - real) / real:+.2f} %" if real else "no real figure"
