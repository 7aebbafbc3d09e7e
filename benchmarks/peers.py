"""The mallocs that flights are measured beside: those installed, and newer ones beside the work.

    python -m benchmarks.peers [FOLDER]          build/peers by default; prints what is there

A newer one is fetched once and unpacked into the folder; nothing is installed. A library of another
suite of Debian needs that suite's C library, so a program on it is run by that suite's own loader.
What cannot be had is left out, and one line says so.

Terms      peer: a malloc that is not ours
"""

import ctypes.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.debian import unpack

FOLDER = Path("build/peers")
INSTALLED = {  # the libraries to preload
    "glibc": "c",
    "jemalloc": "jemalloc",
    "mimalloc": "mimalloc",
    "tcmalloc": "tcmalloc_minimal",
}
OF_SUITE = {  # of Debian's unstable, by package
    "tcmalloc 2.18": ("libtcmalloc-minimal4t64", "libtcmalloc_minimal.so.4"),
    "rpmalloc": ("librpmalloc1", "librpmalloc.so.1"),
}
SUITE = "unstable"
BESIDE = ("libc6", "libstdc++6", "libgcc-s1")  # what these need of their suite
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
OF_PYPI = {"mimalloc 3": ("cmeel-mimalloc", "cmeel.prefix/lib/libmimalloc.so.3")}
NAMES = (*INSTALLED, *OF_PYPI, *OF_SUITE)


class Served(NamedTuple):
    """How a program is run on a malloc."""

    library: str
    loader: tuple[str, ...] = ()  # command before the program's; it preloads the library itself

    @property
    def preload(self) -> str:
        """For LD_PRELOAD."""
        return "" if self.loader else self.library

    def command(self, program: Sequence[str]) -> list[str]:
        """The program, which is named by its path, and its arguments."""
        return [*self.loader, *program]

    def environment(self) -> dict[str, str]:
        """For the program."""
        return {**os.environ, "LD_PRELOAD": self.preload}


def peers(folder: Path = FOLDER) -> dict[str, Served]:
    """Every peer that is here or can be had."""
    found = {name: ctypes.util.find_library(library) for name, library in INSTALLED.items()}
    here = {name: Served(library) for name, library in found.items() if library}
    return {**here, **_of_pypi(folder), **_of_suite(folder)}


def _of_pypi(folder: Path) -> dict[str, Served]:
    found = {}
    for name, (package, inside) in OF_PYPI.items():
        target = (folder / package).absolute()
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as beside:
                made = Path(beside) / "made"
                command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
                command += ["--disable-pip-version-check", "--target", str(made), package]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    made.rename(target)
        if (target / inside).is_file():
            found[name] = Served(str(target / inside))
        else:
            print(f"{name} is left out: pip has no {package} with {inside}", file=sys.stderr)
    return found


def _of_suite(folder: Path) -> dict[str, Served]:
    packages = [*BESIDE, *(package for package, _ in OF_SUITE.values())]
    why = unpack(SUITE, packages, folder / SUITE)
    if why:
        print(f"{', '.join(OF_SUITE)} are left out: {why}", file=sys.stderr)
        return {}
    root = (folder / SUITE).absolute()
    libraries = root / LIBRARIES
    loader = str(libraries / "ld-linux-x86-64.so.2")
    found = {}
    for name, (_, library) in OF_SUITE.items():
        path = str(libraries / library)
        found[name] = Served(path, (loader, "--library-path", str(libraries), "--preload", path))
    return found


if __name__ == "__main__":
    for name, served in peers(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER).items():
        print(name, *served.loader[:1], served.library)
