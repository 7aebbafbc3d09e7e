"""The versions of glibc that Debian's suites carry, unpacked beside the work; nothing is installed.

    python -m benchmarks.glibc_packages [FOLDER]        build/glibc by default

Where a package cannot be had, one line says so and the rest goes on.
"""

import sys
from pathlib import Path

from benchmarks.debian import unpack

SUITES = {"2.31": "bullseye", "2.36": "bookworm", "2.41": "trixie", "2.43": "unstable"}
FOLDER = Path("build/glibc")


def unpacked(folder: Path = FOLDER) -> Path:
    """The folder with every suite's glibc that could be had; says on stderr what could not."""
    folder.mkdir(parents=True, exist_ok=True)
    for version, suite in SUITES.items():
        if why := unpack(suite, ["libc6"], folder / suite):
            print(f"glibc {version} of Debian's {suite} is left out: {why}", file=sys.stderr)
    return folder


if __name__ == "__main__":
    print(unpacked(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
