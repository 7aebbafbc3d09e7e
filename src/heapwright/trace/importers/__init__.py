"""Recordings of other tools, turned into traces.

A format is a module with these names, and one line in FORMATS:

    TITLE                                        what people call such a file
    recognises(head, path) -> bool               by content: `head` is what the file's first
                                                 HEAD_BYTES are once unpacked
    import_trace(path, output, advance) -> None  writes the trace through a TraceWriter;
                                                 advance(share) for each share of the file read
    GUESSES_REALLOCS                             only where the format leaves reallocs to be
                                                 guessed: whether that is done unasked;
                                                 import_trace takes it as its last argument

`sums.py` knows the files that cannot be turned into one, and what to record instead.

What a format cannot tell, and what was guessed, is counted and kept as the trace's notes.

    Source (bytes) ─► text.Reading ─► a format's scan kernel ─► Matcher ─► TraceWriter

Of the text formats only the scan kernel differs: `lines.py` has the scanners that all share,
`calls.py` those of tools that print calls. `matching.py` turns addresses into slots for all.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import sums
from heapwright.trace.importers.source import open_source

FORMATS = (
    "memray",
    "bytehound",
    "android",
    "csapp",
    "heaptrack",
    "mtrace",
    "valgrind",
    "logalloc",
    "ltrace",
    "ftrace",
    "ring_pages",
    "torch_snapshot",
    "tabular",
)
HEAD_BYTES = 4096


def import_file(
    path: Path,
    output: Path,
    advance: Callable[[float], None] = lambda share: None,
    columns: Mapping[str, str] | None = None,
    guess_reallocs: bool | None = None,
) -> None:
    """Write the trace of `path`, a file of any known format, to `output`.

    `columns` names the columns of a table that are not called as `tabular.py` calls them;
    `guess_reallocs` says whether a realloc that the recording does not prove is joined from its
    halves, instead of as the format's module does by default.
    """
    with open_source(path) as source:
        head = source.peek(HEAD_BYTES)
        is_parquet = source.parquet is not None
    if not head:
        if path.stat().st_size:
            raise HeapwrightError(f"{path} unpacks to nothing: it is empty or cut short")
        raise HeapwrightError(f"{path} is empty: there is nothing to import")
    if is_parquet and not columns and is_trace(path):
        raise HeapwrightError(f"{path} is a trace already: there is nothing to import")
    if columns or is_parquet:
        _no_guess(path, guess_reallocs)
        tabular = importlib.import_module(f"{__name__}.tabular")
        tabular.import_table(path, output, columns or {}, advance)
        return
    modules = [importlib.import_module(f"{__name__}.{name}") for name in FORMATS]
    kind = sums.recognised(head)
    if kind and not any(
        module.recognises(head, path) for module in modules if _reads_pickles(module)
    ):
        raise HeapwrightError(sums.sentence(path, kind))
    for module in modules:
        if not module.recognises(head, path):
            continue
        if guess_reallocs is None:
            module.import_trace(path, output, advance)
        elif module in _guessing(modules):
            module.import_trace(path, output, advance, guess_reallocs)
        else:
            _no_guess(path, guess_reallocs)
        return
    known = "; ".join(module.TITLE for module in modules)
    raise HeapwrightError(f"{path} has no format that can be imported; known: {known}")


def _reads_pickles(module: ModuleType) -> bool:
    """Whether a format is a pickle, which otherwise is never opened."""
    return "READS_PICKLES" in vars(module)


def _guessing(modules: list[ModuleType]) -> list[ModuleType]:
    """The formats that leave reallocs to be guessed."""
    return [module for module in modules if "GUESSES_REALLOCS" in vars(module)]


def _no_guess(path: Path, guess_reallocs: bool | None) -> None:
    """Refuse to guess, or not to, where there is nothing to guess."""
    if guess_reallocs is not None:
        raise HeapwrightError(
            f"{path} tells its reallocs apart: leave out --guess-reallocs and --no-guess-reallocs, "
            "which are for recordings of heaptrack and memray"
        )


def is_trace(path: Path) -> bool:
    """Whether a Parquet file is a sound trace."""
    from heapwright.trace.store import Trace

    try:
        Trace.open(path)
    except HeapwrightError:
        return False
    return True
