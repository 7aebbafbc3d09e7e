"""What the pages of agreement have in common: tables, cells, a date, and how a page is written."""

import argparse
import datetime
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.references.tally import Tally, difference, percent
from heapwright.report.atomic import atomic

SUFFIX = ".heap.parquet"


def table(header: Iterable[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def share(tally: Tally) -> str:
    """Equal among compared."""
    if not tally.compared:
        return "none"
    return f"{percent(tally.equal, tally.compared)} of {tally.compared:,}"


def pair(figures: tuple[int, int]) -> str:
    """Twin and real, and how far apart."""
    return f"{figures[0]:,} / {figures[1]:,} ({difference(*figures)})"


def setting(knobs: Mapping[str, int]) -> str:
    """Knobs as they are set."""
    return ", ".join(f"`{knob}={value}`" for knob, value in knobs.items())


def name_of(recording: Path) -> str:
    """The name of a recording."""
    return recording.name.removesuffix(SUFFIX)


def today() -> str:
    """The date in the heading of a page."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def kernel() -> str:
    """The system's name and version, as "Linux 6.1"."""
    return f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"


def here() -> str:
    """The kernel and the processor."""
    return f"{kernel()}, {platform.machine()}"


def written(output: Path, page: Callable[[Path], str]) -> int:
    """Write the page that is made with an empty folder at hand; the exit status."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = page(Path(folder))
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic(output) as beside:
            beside.write_text(text)
    except HeapwrightError as error:
        print(error, file=sys.stderr)
        return 1
    print(output)
    return 0


def recordings_parser(summary: str | None, output: str) -> argparse.ArgumentParser:
    """What the command of a page of recordings takes."""
    parser = argparse.ArgumentParser(description=(summary or "").splitlines()[0])
    parser.add_argument("recordings", type=Path, help=f"a folder of {SUFFIX} files")
    parser.add_argument("-o", "--output", type=Path, default=Path(output))
    return parser


def of_recordings(
    options: argparse.Namespace,
    page: Callable[[list[Path], Path], str],
    prepare: Callable[[Path], None] | None = None,
) -> int:
    """The command of a page: it is made from a folder of recordings, to which `prepare` may add,
    and an empty folder; the exit status."""
    if prepare and options.recordings.is_dir():
        prepare(options.recordings)
    found = sorted(options.recordings.glob(f"*{SUFFIX}"))
    if not found:
        print(f"{options.recordings} holds no {SUFFIX}: see workloads.py", file=sys.stderr)
        return 1
    return written(options.output, lambda folder: page(found, folder))
