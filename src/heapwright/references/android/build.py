"""ART's library and dlmalloc's source, found where a package put them; the drivers, built.

art-rosalloc   ART's library, loaded by a driver (rosalloc.c)
dlmalloc       malloc.c, built into a driver (dlmalloc.c): for words of 4 bytes without a C library
dalvik         the same (heap_source.c), under what decides over Dalvik's spaces
"""

import os
import re
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.references.c_program import executable

ART, DLMALLOC = "HEAPWRIGHT_ART", "HEAPWRIGHT_DLMALLOC"  # folders, with colons between
INSTALLED = "/usr/lib/x86_64-linux-gnu/android"
LIBRARY = "libart.so.0"
# What libart asks for and does not name; then it.
BEFORE = ("liblz4.so.1", "libsigchain.so.0", "libbase.so.0", "liblog.so.0", "libbacktrace.so.0")
AFTER = ("libziparchive.so.0", "libnativebridge.so.0", "libnativeloader.so.0", LIBRARY)
ART_VERSION = "11.0"  # of Debian's package: the library does not say its own
DALVIK_VERSION = "4.4"  # whose rules heap_source.c has
SOURCES = ("malloc.c", "dlmalloc/src/malloc.c")  # in the folder that is named
FLAGS = ("-O2", "-std=gnu11", "-w")
BARE_FLAGS = (
    *("-m32", "-DBARE", "-ffreestanding", "-fno-builtin", "-nostdlib", "-static"),
    *("-fno-stack-protector", "-fno-pic", "-no-pie"),
)


def folders(variable: str, usual: str = "") -> list[Path]:
    """Where to look."""
    return [Path(one) for one in (os.environ.get(variable) or usual).split(":") if one]


def library() -> Path | None:
    """ART's library, if it is here."""
    found = [folder / LIBRARY for folder in folders(ART, INSTALLED)]
    return next((path for path in found if path.exists()), None)


def source() -> Path | None:
    """dlmalloc's malloc.c, if it is here."""
    found = [folder / name for folder in folders(DLMALLOC) for name in SOURCES]
    return next((path for path in found if path.exists()), None)


def missing(name: str) -> str:
    """What to do so that it can be driven; "" when nothing is missing."""
    variable, wanted = (ART, LIBRARY) if name == "art-rosalloc" else (DLMALLOC, SOURCES[0])
    if library() if variable == ART else source():
        return ""
    if named := os.environ.get(variable):
        return f"{variable} names {named}, which has no {wanted}"
    if variable == ART:
        return (
            "ART's library is not here; install it, on Debian and Ubuntu by apt install dexdump, "
            f"or unpack it and let {ART} name the folders"
        )
    return (
        "dlmalloc's source is not here; unpack a package that has it, on Debian and Ubuntu by apt "
        f"source wasi-libc, and let {DLMALLOC} name the folder"
    )


def environment(name: str) -> dict[str, str]:
    """What the process is told."""
    if name != "art-rosalloc":
        return {}
    return {
        "LD_LIBRARY_PATH": ":".join(map(str, folders(ART, INSTALLED))),
        "LIBRARIES": ":".join([*BEFORE, *AFTER]),
    }


def version(name: str) -> str:
    """Of the real one that is here; "unknown" where there is none."""
    if name == "art-rosalloc":
        return ART_VERSION if library() else "unknown"
    path = source()
    found = re.search(r"Version (\d+(\.\d+)+)", path.read_text()[:4096]) if path else None
    if not found:
        return "unknown"
    return f"{DALVIK_VERSION} over dlmalloc {found[1]}" if name == "dalvik" else found[1]


def driver(name: str, word: int = 8, align: int = 16) -> Path:
    """The executable; HeapwrightError without the real one or a compiler. `word` and `align` are
    dlmalloc's, bytes."""
    if why := missing(name):
        raise HeapwrightError(f"driving the real {name}: {why}.")
    here = Path(__file__).parent
    headers = [here / "drive.h", here / "bare.h"]
    if name == "art-rosalloc":
        return executable(name, name, [here / "rosalloc.c"], headers, FLAGS)
    given = source()
    assert given
    program = "heap_source.c" if name == "dalvik" else "dlmalloc.c"
    headers.append(here / "dlmalloc.h")
    flags = [*FLAGS, *(BARE_FLAGS if word == 4 else ()), f"-DMALLOC_ALIGNMENT={align}"]
    return executable(
        name, name, [here / program], [*headers, given], [*flags, f'-DDLMALLOC="{given}"']
    )
