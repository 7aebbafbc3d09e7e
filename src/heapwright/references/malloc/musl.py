"""musl's libc, found: its malloc is linked into the harness, since no other program can load it.

Source     Debian's package musl-dev: headers, crt1.o and libc.a; nothing is installed by reading it
"""

import os
import platform
import re
from functools import cache
from pathlib import Path

from heapwright.references.c_program import executable

VARIABLE = "HEAPWRIGHT_MUSL"  # names a folder that the package was unpacked in, instead of /
SOURCES = ("drive.c", "footprint.c", "told.c", "clock.c", "musl.c")
HEADERS = ("footprint.h", "told.h", "clock.h", "place.h")


def _root() -> Path:
    return Path(os.environ.get(VARIABLE) or "/")


def _triple() -> str:
    return f"{platform.machine()}-linux-musl"


def archive() -> Path:
    """Where libc.a is, if it is here."""
    return _root() / "usr/lib" / _triple() / "libc.a"


def missing() -> str:
    """What to install so that it can be driven; "" when nothing is."""
    if archive().exists():
        return ""
    if os.environ.get(VARIABLE):
        return f"{VARIABLE} names {_root()}, which has no usr/lib/{_triple()}/libc.a"
    return (
        "musl's libc.a is not here; install it, on Debian and Ubuntu: apt install musl-dev, or "
        f"unpack that package and let {VARIABLE} name the folder"
    )


@cache
def _version(path: Path) -> str:
    found = re.search(rb"\0(1\.\d+\.\d+)\0", path.read_bytes())
    return found[1].decode() if found else "unknown"


def version() -> str:
    """What libc.a says its version is, as "1.2.3"."""
    return _version(archive())


def harness() -> Path:
    """The harness with musl's malloc; HeapwrightError without a compiler."""
    folder, library = Path(__file__).parent, archive()
    include = _root() / "usr/include" / _triple()
    flags = [
        *("-O2", "-std=gnu11", "-fno-builtin", "-static", "-nostdlib", "-pthread"),
        *("-isystem", str(include)),
        f"-L{library.parent}",
    ]
    sources = [
        library.parent / "crt1.o",
        *(folder / name for name in SOURCES),
        library,
    ]
    headers = [folder / name for name in HEADERS]
    return executable("musl's malloc", "drive-musl", sources, headers, flags)
