"""Recordings of other tools, turned into traces.

A format is a module with these names, and one line in FORMATS:

    TITLE                                        what people call such a file
    recognises(head, path) -> bool               by content: `head` is the file's first HEAD_BYTES
    import_trace(path, output, advance) -> None  writes the trace through a TraceWriter;
                                                 advance(share) for each share of the file read

A format's module reads records; `matching.py` turns addresses into slots for all of them.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from heapwright.errors import HeapwrightError

FORMATS = ("memray",)
HEAD_BYTES = 4096


def import_file(
    path: Path, output: Path, advance: Callable[[float], None] = lambda share: None
) -> None:
    """Write the trace of `path`, a file of any known format, to `output`."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise HeapwrightError(f"cannot open {path}: {error.strerror}") from None
    if not head:
        raise HeapwrightError(f"{path} is empty: there is nothing to import")
    if head.startswith(b"PAR1"):
        raise HeapwrightError(f"{path} is a trace already, or some other Parquet file")
    modules = [importlib.import_module(f"{__name__}.{name}") for name in FORMATS]
    for module in modules:
        if module.recognises(head, path):
            module.import_trace(path, output, advance)
            return
    known = "; ".join(module.TITLE for module in modules)
    raise HeapwrightError(f"{path} has no format that can be imported; known: {known}")
