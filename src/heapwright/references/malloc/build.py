"""The harness of the real allocators as an executable: see `references/c_program.py`."""

from pathlib import Path

from heapwright.references.c_program import executable
from heapwright.references.malloc import libc, musl, systems

FLAGS = ("-O2", "-std=gnu11", "-fno-builtin", "-rdynamic", "-pthread")
SOURCES = ("drive.c", "footprint.c", "aside.c", "told.c", "clock.c", "place.c", "hints.c")
HEADERS = ("footprint.h", "told.h", "clock.h", "place.h")


def harness(name: str, libraries: Path | None = None) -> Path:
    """The executable that drives the real `name`, made from SOURCES, or with musl's malloc in it;
    HeapwrightError without a compiler. With `libraries` it runs on the glibc in that folder: see
    `libc`."""
    if systems.named(name).linked:
        return musl.harness()
    folder = Path(__file__).parent
    sources = [folder / name for name in SOURCES]
    headers = [folder / name for name in HEADERS]
    flags = (*FLAGS, *libc.linked(libraries)) if libraries else FLAGS
    return executable("a real allocator", "drive", sources, headers, flags)
