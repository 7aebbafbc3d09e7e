"""ART's library, found where a package put it or where it was unpacked; the driver, built."""

import os
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.references.c_program import executable

VARIABLE = "HEAPWRIGHT_ART"  # names folders with ART's libraries, with colons between
INSTALLED = "/usr/lib/x86_64-linux-gnu/android"
LIBRARY = "libart.so.0"
# What libart asks for and does not name; then it.
BEFORE = ("liblz4.so.1", "libsigchain.so.0", "libbase.so.0", "liblog.so.0", "libbacktrace.so.0")
AFTER = ("libziparchive.so.0", "libnativebridge.so.0", "libnativeloader.so.0", LIBRARY)
FLAGS = ("-O2", "-std=gnu11", "-w")
VERSION = "11.0"  # Debian's package of ART; the library does not say its own


def folders() -> list[Path]:
    """Where to look for the libraries."""
    return [Path(one) for one in (os.environ.get(VARIABLE) or INSTALLED).split(":") if one]


def library() -> Path | None:
    """ART's library, if it is here."""
    found = [folder / LIBRARY for folder in folders() if (folder / LIBRARY).exists()]
    return found[0] if found else None


def missing(name: str) -> str:
    """What to do so that it can be driven; "" when nothing is missing."""
    if library():
        return ""
    if named := os.environ.get(VARIABLE):
        return f"{VARIABLE} names {named}, which has no {LIBRARY}"
    return (
        "ART's library is not here; install it, on Debian and Ubuntu by apt install dexdump, or "
        f"unpack it and let {VARIABLE} name the folders"
    )


def environment() -> dict[str, str]:
    """What the process of ART's library is told."""
    return {
        "LD_LIBRARY_PATH": ":".join(map(str, folders())),
        "LIBRARIES": ":".join([*BEFORE, *AFTER]),
    }


def version(name: str) -> str:
    """Of the real one that is here; "unknown" where there is none."""
    return VERSION if library() else "unknown"


def driver(name: str) -> Path:
    """The executable; HeapwrightError without the library or a compiler."""
    if why := missing(name):
        raise HeapwrightError(f"driving the real {name}: {why}.")
    here = Path(__file__).parent
    return executable(name, name, [here / "rosalloc.c"], [here / "drive.h"], FLAGS)
