"""The harness of the real allocators as an executable: see `references/c_program.py`."""

from pathlib import Path

from heapwright.references.c_program import executable

FLAGS = ("-O2", "-std=gnu11", "-fno-builtin", "-rdynamic", "-pthread")
SOURCES = ("drive.c", "footprint.c", "aside.c", "told.c", "clock.c")
HEADERS = ("footprint.h", "told.h", "clock.h")


def harness() -> Path:
    """The executable made from SOURCES; HeapwrightError without a compiler."""
    folder = Path(__file__).parent
    sources = [folder / name for name in SOURCES]
    headers = [folder / name for name in HEADERS]
    return executable("a real allocator", "drive", sources, headers, FLAGS)
