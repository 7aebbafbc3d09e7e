"""gperftools in versions that are not this machine's: packages of a suite, unpacked, not installed.

    HEAPWRIGHT_GPERFTOOLS=/tmp/trixie:/tmp/sid ─► libtcmalloc_minimal.so.4, and beside it the loader
                                                  and libraries that it was made for

    dpkg -x libtcmalloc-minimal4t64_2.16-1_amd64.deb /tmp/trixie    and libc6, libstdc++6, libgcc-s1

Source     what the library itself says of its version, tc_version(), stands in it as a string
"""

import functools
import os
import re
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.references.malloc.libc import LOADER
from heapwright.versions import version_number, version_text

VARIABLE = "HEAPWRIGHT_GPERFTOOLS"
LIBRARY = "libtcmalloc_minimal.so.4"
PLACE = "usr/lib/x86_64-linux-gnu"
NEEDED = (LOADER, "libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1")
MEND = (
    "To drive another version, unpack its libtcmalloc-minimal4t64 package and libc6, libstdc++6 "
    f"and libgcc-s1 of the same suite (dpkg -x FILE FOLDER) and name the folder in {VARIABLE}."
)


def unpacked() -> dict[str, Path]:
    """The versions whose files the environment names, and where their libraries lie."""
    return _found(os.environ.get(VARIABLE, ""))


def libraries(number: int, here: str) -> Path | None:
    """Where that version's library lies and what it was made for; None for this machine's own, or
    of no version; HeapwrightError where its files are not given."""
    version = version_text(number) if number else here
    if version == here:
        return None
    if version not in (known := unpacked()):
        others = f" {VARIABLE} names {', '.join(sorted(known))}." if known else ""
        raise HeapwrightError(
            f"the real tcmalloc here is {here or 'missing'}, so {version} cannot be driven. "
            f"{MEND}{others}"
        )
    return known[version]


@functools.cache
def _found(told: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in filter(None, told.split(":")):
        folder = Path(text).absolute()
        if not folder.is_dir():
            raise HeapwrightError(f"{VARIABLE} names {text}, which is no folder.")
        for each in (folder, *sorted(filter(Path.is_dir, folder.iterdir()))):
            library = each / PLACE / LIBRARY
            if not library.exists():
                continue
            if lacking := [name for name in NEEDED if not (each / PLACE / name).exists()]:
                raise HeapwrightError(f"{each} has {LIBRARY} and not {lacking[0]}. {MEND}")
            said = re.search(rb"gperftools (\d+\.\d+(?:\.\d+)?)", library.read_bytes())
            if said:
                version = version_text(version_number(said[1].decode()))
                found.setdefault(version, (each / PLACE).resolve())
    return found
