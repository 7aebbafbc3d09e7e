"""The driver of the real pymalloc, and the library that it drives."""

import os
import sys
import sysconfig
from functools import cache
from pathlib import Path

from heapwright.references.c_program import executable

FLAGS = ("-O2", "-std=gnu11", "-rdynamic")
VARIABLE = "HEAPWRIGHT_LIBPYTHON"  # names the library, where it is not that of this Python


def driver() -> Path:
    """The executable; HeapwrightError without a compiler."""
    return executable("pymalloc", "pymalloc", [Path(__file__).parent / "drive.c"], [], FLAGS)


@cache
def library() -> Path | None:
    """libpython as a shared library: what the environment names, else this Python's own."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    told = sysconfig.get_config_vars()
    name = str(told.get("INSTSONAME") or "")
    places = [sys.base_prefix + "/lib", str(told.get("LIBDIR")), str(told.get("LIBPL"))]
    places.append(f"/usr/lib/{told.get('MULTIARCH')}")
    if not name.startswith("libpython") or ".so" not in name:
        name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    found = (Path(place) / name for place in places)
    return next((path for path in found if path.exists()), None)


def missing() -> str:
    """What to install so that it can be driven; "" when nothing is."""
    if (found := library()) is None:
        short = f"{sys.version_info.major}.{sys.version_info.minor}"
        return (
            f"libpython{short} as a shared library is not here; on Debian and Ubuntu: apt install "
            f"libpython{short}, elsewhere set {VARIABLE} to one"
        )
    return "" if found.exists() else f"{VARIABLE} names {found}, which is not there"
