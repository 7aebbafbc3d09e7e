"""`heapwright record`: run a program, keep what it allocates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heapwright.trace.recorder.convert import Converted
    from heapwright.trace.recorder.wishes import Wishes

_STEPS = 1000  # of the progress bar
WITHOUT_VALUE = {"--stacks": "128"}


def record(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- CMD...", help="The program and its arguments."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The trace to write.  [default: PROGRAM.heap.parquet]",
        ),
    ] = None,
    children: Annotated[
        bool,
        typer.Option("--children", help="Follow forks and execs: a trace for each beside OUT."),
    ] = False,
    stacks: Annotated[
        int | None,
        typer.Option(
            "--stacks",
            metavar="[=DEPTH]",
            help="Whole call stacks, of DEPTH frames at most (128), not the call site alone.",
        ),
    ] = None,
    pid: Annotated[
        int | None,
        typer.Option(metavar="PID", help="A process that runs already, instead of a program."),
    ] = None,
    kernel: Annotated[
        bool,
        typer.Option("--kernel", help="The kernel's own requests, for --for TIME; as root."),
    ] = False,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin after 10s, 5m, 1h.")
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after so long.")
    ] = None,
    signal: Annotated[
        str | None,
        typer.Option(metavar="USR1|USR2", help="Begin and end when this command gets the signal."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="End when the log on the disk has this size."),
    ] = None,
    rotate: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES|TIME", help="A further trace whenever the log has this size, or age."
        ),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="With --rotate: only the last N traces.")
    ] = None,
    python: Annotated[
        bool,
        typer.Option(
            "--python/--no-python",
            help="Of a CPython program: what it asks of Python's own allocator, and the lines.",
        ),
    ] = True,
    graph: Annotated[
        bool,
        typer.Option("--graph", help="Of a CPython or Java program: its objects and references."),
    ] = False,
    look_every: Annotated[
        str | None,
        typer.Option(
            metavar="COUNT", help="With --graph: births between two looks.  [default: 10k]"
        ),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="With --graph: memory of the program that the recorder may take, and an eighth "
            "of what it may take of the disk.  [default: 1G]",
        ),
    ] = None,
) -> None:
    """Record what a program allocates.

    Works for any dynamically linked program on glibc. Its exit status is passed on, or is 1 when
    the disk could not hold the recording. Signals go to the program; what it did until then is
    kept, as after a crash or a kill. What remains if this command is itself killed is written by
    `heapwright recover`.

    With --pid a process that runs already, as a debugger attaches; Ctrl-C, its end, --for or
    --max-size end the recording, and it runs on. What it had allocated before is not in the trace.
    --rotate writes OUT.001, OUT.002, ..., each with the blocks that live when it begins.

    With --stacks each request keeps its native call stack, found by frame pointers or unwind
    tables; an allocation-heavy program runs two to three times slower then.

    With --graph, what Python or Java allocates and which object refers to which, for collectors.
    Births are exact, and Python's deaths; references are looked at once in a while, which takes the
    longer the more often. For Java name `java` itself, of a JDK from 11 on.

    With --kernel what the kernel itself asks of its page allocator and its caches, by its trace
    events; --for says how long.

    Example:

        heapwright record -o json.heap.parquet -- python3 parse.py big.json
        heapwright record --children -- make -j2
        heapwright record --pid 4711 --for 60s --stacks -o app.heap.parquet
        heapwright record --graph -- python3 parse.py big.json
        heapwright record --graph -- java -Xmx64m -jar app.jar
        heapwright record --kernel --for 10s -o kernel.heap.parquet
    """
    import functools

    from heapwright.cli.settings import parse_bytes, parse_count
    from heapwright.errors import HeapwrightError
    from heapwright.trace.recorder.graph import record_graph
    from heapwright.trace.recorder.session import record as run
    from heapwright.trace.recorder.wishes import Wishes

    if kernel:
        _kernel(output, for_, other=bool(command) or pid is not None or graph)
        return
    if (pid is None) == (not command):
        raise HeapwrightError(
            "record what? Give a program behind --, or a process that runs with --pid PID."
            if pid is None
            else f"--pid {pid} is a process that runs: leave the program out, or --pid."
        )
    wishes = _wishes(stacks, python, after, for_, signal, (max_size, rotate, keep))
    if pid is not None and not graph:
        from heapwright.trace.recorder.running import record_running

        with writing() as progress:
            traces = record_running(
                pid, output, children=children, wishes=wishes, progress=progress, say=_told
            )
        show(traces)
        raise typer.Exit(any(trace.cut for trace in traces))
    if wishes.rotating and children:
        raise HeapwrightError("--rotate follows one process: leave out --children.")
    command = command or []
    out = output or Path(f"{Path(command[0]).name if command else pid}.heap.parquet")
    with writing() as progress:
        if graph:
            every = parse_count(look_every or "10k")
            other = "--children" if children else "--pid" if pid is not None else ""
            other = other or ("--stacks, --for and the like" if wishes != Wishes() else "")
            if other or every < 1:
                raise HeapwrightError(
                    f"--graph goes without {other}: leave one out."
                    if other
                    else f"--look-every {look_every}: give at least 1."
                )
            status, trace = record_graph(
                command,
                out,
                look_every=every,
                limit_bytes=parse_bytes(limit or "1G"),
                progress=functools.partial(progress, out.name),
            )
            traces = [trace]
        elif look_every or limit:
            told = "--look-every says how often" if look_every else "--limit says in what memory"
            raise HeapwrightError(f"{told} --graph looks: give both.")
        else:
            status, traces = run(
                command, out, children=children, wishes=wishes, progress=progress, say=_told
            )
    show(traces)
    raise typer.Exit(status or any(trace.cut for trace in traces))


def _kernel(output: Path | None, for_: str | None, *, other: bool) -> None:
    """Record the kernel for a while."""
    from heapwright.cli import screen
    from heapwright.cli.settings import parse_seconds
    from heapwright.errors import HeapwrightError
    from heapwright.trace.recorder.kernel import record_kernel
    from heapwright.trace.store import Trace
    from heapwright.words import bytes_text, counted

    if other or not for_:
        raise HeapwrightError(
            "--kernel records the kernel alone: leave the program out, and say --for how long."
        )
    out = output or Path("kernel.heap.parquet")
    with screen.progress("recording the kernel", 1) as advance:
        record_kernel(out, parse_seconds(for_), advance)
    trace = Trace.open(out)
    typer.echo(
        f"{out}: {counted(trace.events, 'event')} of {trace.program}, "
        f"peak live {bytes_text(trace.peak_live_bytes)}"
    )
    screen.show_notes(trace.notes)


def show(traces: Sequence[Converted]) -> None:
    """What was written, and what is not in it."""
    from heapwright.cli import screen
    from heapwright.words import bytes_text, counted

    for trace in traces:
        unmatched = f", {trace.unmatched_frees:,} unmatched frees" if trace.unmatched_frees else ""
        size = bytes_text(trace.path.stat().st_size)
        events = counted(trace.events, "event")
        typer.echo(f"{trace.path}: {events} of {trace.program}{unmatched}, {size}")
        for sentence in trace.explained:
            typer.echo(sentence)
        screen.show_notes(trace.notes)


def _wishes(
    stacks: int | None,
    python: bool,
    after: str | None,
    for_: str | None,
    signal: str | None,
    sizes: tuple[str | None, str | None, int | None],
) -> Wishes:
    """The options as the recorder takes them; `sizes` are --max-size, --rotate and --keep."""
    from heapwright.cli.settings import parse_bytes, parse_seconds
    from heapwright.errors import HeapwrightError
    from heapwright.trace.recorder.wishes import MOST_FRAMES, Wishes

    most, rotate, keep = sizes
    if stacks is not None and not 1 <= stacks <= MOST_FRAMES:
        raise HeapwrightError(f"--stacks={stacks}: give a depth of 1 to {MOST_FRAMES:,} frames.")
    if keep is not None and (keep < 1 or not rotate):
        raise HeapwrightError(f"--keep {keep}: give at least 1, and --rotate with it.")
    timed = rotate is not None and rotate[-1:] in "smh"
    return Wishes(
        stacks=stacks or 0,
        python=python,
        after_s=parse_seconds(after) if after else 0.0,
        for_s=parse_seconds(for_) if for_ else 0.0,
        signal=(signal or "").upper().removeprefix("SIG"),
        most_bytes=parse_bytes(most) if most else 0,
        rotate_bytes=parse_bytes(rotate) if rotate and not timed else 0,
        rotate_s=parse_seconds(rotate) if rotate and timed else 0.0,
        keep=keep or 0,
    )


def _told(sentence: str) -> None:
    typer.echo(sentence, err=True)


@contextlib.contextmanager
def writing() -> Iterator[Callable[[str, float], None]]:
    """Yields what draws a bar for each trace: its name, and the fraction written."""
    from heapwright.cli import screen

    with contextlib.ExitStack() as bars:
        shown: dict[str, tuple[Callable[[float], None], int]] = {}

        def progress(name: str, fraction: float) -> None:
            if name not in shown:
                bars.close()
                shown[name] = (bars.enter_context(screen.progress(f"writing {name}", _STEPS)), 0)
            advance, done = shown[name]
            shown[name] = (advance, int(fraction * _STEPS))
            advance(shown[name][1] - done)

        yield progress
