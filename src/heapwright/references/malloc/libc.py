"""glibc in versions that are not this machine's: packages unpacked beside the work, not installed.

    HEAPWRIGHT_GLIBC=/tmp/bullseye:/tmp/trixie ─► loader and libc.so.6 ─► the harness, linked so

    dpkg -x libc6_2.41-12_amd64.deb /tmp/trixie

A folder is such a package, or holds several. The executable names that version's own loader and
finds its libraries by that folder alone; nothing of this machine's libc is in the process.
Source     ld.so(8), gcc(1): --dynamic-linker, -rpath
"""

import functools
import os
import re
import subprocess
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.versions import version_number

VARIABLE = "HEAPWRIGHT_GLIBC"
MEND = (
    f"To drive another version, unpack its libc6 package (dpkg -x FILE FOLDER) and name the "
    f"folder in {VARIABLE}."
)
LOADER = "ld-linux-x86-64.so.2"
PLACES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib64", "lib64", "usr/lib", ".")
BEFORE_2_34 = ("libpthread.so.0", "libdl.so.2")  # what libc.so.6 had not in it
# When a thread ends glibc 2.31 drops all of its stack but PTHREAD_STACK_MIN bytes, though the stack
# is ours, and that would be counted; of so little it drops nothing.
STACK_BYTES = 20 << 10


def here() -> str:
    """This machine's version of glibc, as "2.36"; "" of another C library."""
    known = "CS_GNU_LIBC_VERSION" in os.confstr_names
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2] if known else ""


def unpacked() -> dict[str, Path]:
    """The versions whose files the environment names, and where their libraries lie."""
    return _found(os.environ.get(VARIABLE, ""))


def libraries(version: str) -> Path | None:
    """Where that version's libraries lie; None for this machine's own; HeapwrightError where its
    files are not given."""
    if version == here():
        return None
    if version not in (known := unpacked()):
        others = f" {VARIABLE} names {', '.join(sorted(known))}." if known else ""
        raise HeapwrightError(
            f"the real glibc here is {here()}, so {version} cannot be driven. {MEND}{others}"
        )
    return known[version]


def linked(folder: Path) -> tuple[str, ...]:
    """Flags of the compiler for an executable that runs on the libraries in `folder` alone."""
    libraries = ("libc.so.6", *BEFORE_2_34)
    return (
        f"-DSTACK={STACK_BYTES}",
        "-nodefaultlibs",
        *("-Wl,--no-as-needed", "-Wl,--disable-new-dtags"),
        f"-Wl,--dynamic-linker={folder / LOADER}",
        *(f"-Wl,{option}={folder}" for option in ("-rpath", "-rpath-link")),
        *(str(folder / name) for name in libraries if (folder / name).exists()),
        "-lgcc",
    )


def loader(folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it runs on the libraries in `folder`."""
    return str(folder / LOADER), "--library-path", str(folder)


def serves_here(version: str) -> bool:
    """Whether a program of this machine may run on that version: one that is no older."""
    return version_number(version) >= version_number(here())


@functools.cache
def _found(told: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in filter(None, told.split(":")):
        folder = Path(text).absolute()
        if not folder.is_dir():
            raise HeapwrightError(f"{VARIABLE} names {text}, which is no folder.")
        packages = [folder, *sorted(filter(Path.is_dir, folder.iterdir()))]
        libraries = [each / place for each in packages for place in PLACES]
        for each in libraries:
            if (each / LOADER).exists() and (each / "libc.so.6").exists():
                if version := _version(each):
                    found.setdefault(version, each.resolve())
    return found


def _version(libraries: Path) -> str:
    """What the library itself says its version is; "" where it does not run here."""
    try:
        asked = subprocess.run(
            [*loader(libraries), str(libraries / "libc.so.6")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except OSError:
        return ""
    told = re.search(r"release version (\d+\.\d+)", asked.stdout)
    return told[1] if told else ""
