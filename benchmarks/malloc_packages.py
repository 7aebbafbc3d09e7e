"""What the other mallocs' table drives beside this machine's libraries, as Debian's suites have it:
musl's archive, gperftools in newer versions, nginx's sources. Nothing is installed.

    python -m benchmarks.malloc_packages [FOLDER]       build/mallocs by default

prints what to set in the environment. Where a package cannot be had, one line says so and the rest
goes on.
"""

import os
import sys
import tarfile
from pathlib import Path

from benchmarks.debian import fetch, unpack
from heapwright.references.malloc import gperftools, musl
from heapwright.references.nginx import build as nginx

STABLE = "bookworm"
NEWER = ("trixie", "unstable")  # gperftools 2.16 and later
TCMALLOC = ["libtcmalloc-minimal4t64", "libc6", "libstdc++6", "libgcc-s1"]
FOLDER = Path("build/mallocs")


def _musl(folder: Path) -> tuple[str, str]:
    """The folder with musl's libc.a, and why it could not be had."""
    why = unpack(STABLE, ["musl-dev"], folder / "musl")
    return "" if why else str(folder / "musl"), why


def _gperftools(folder: Path) -> tuple[str, str]:
    """The folders with gperftools and what it was made for."""
    made = {suite: folder / f"tcmalloc-{suite}" for suite in NEWER}
    said = [unpack(suite, TCMALLOC, target) for suite, target in made.items()]
    return ":".join(str(each) for each in made.values() if each.exists()), "; ".join(
        filter(None, said)
    )


def _nginx(folder: Path) -> tuple[str, str]:
    """The folder of nginx's sources."""
    package = folder / ".nginx" / "package"
    if not (found := sorted(folder.glob("nginx-*/src/core"))):
        command = ["source", "--download-only", "nginx"]
        if why := fetch(STABLE, package.parent, command, source=True):
            return "", why
        for file in package.glob("nginx_*.orig.tar.*"):
            with tarfile.open(file) as archive:
                archive.extractall(folder, filter="data")
        found = sorted(folder.glob("nginx-*/src/core"))
    return (str(found[-1].parents[1]), "") if found else ("", "apt-get downloaded no source")


PLACES = {musl.VARIABLE: _musl, gperftools.VARIABLE: _gperftools, nginx.VARIABLE: _nginx}


def prepare(folder: Path = FOLDER) -> dict[str, str]:
    """Fetch what the environment does not name, and let it name that; what it names now."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for variable, found in PLACES.items():
        if not os.environ.get(variable):
            os.environ[variable], why = found(folder)
            if why:
                print(f"what {variable} would name is left out: {why}", file=sys.stderr)
    return {variable: os.environ[variable] for variable in PLACES}


if __name__ == "__main__":
    for variable, place in prepare(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER).items():
        print(f"{variable}={place}")
