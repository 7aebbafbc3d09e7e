"""Small keys of a real Linux's allocators, cut from full dumps of two kernels.

    python -m benchmarks.linux_keys SAMPLES [-o tests/linux/keys]

SAMPLES/scripted holds debian.dump.gz and uml.dump.gz: what a module in the kernel wrote of its own
lists and of scripted requests (see docs/linux.md). A key is the first sequence of page requests
with all lists before and after it, and every other sequence whole, packed by xz.
"""

import argparse
import gzip
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

KERNELS = ("debian", "uml")


def sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """A dump by its commands: what was asked, and the lines that it wrote."""
    command, held = "", list[str]()
    for line in lines:
        if line.startswith("CMD "):
            if command:
                yield command, held
            command, held = line[4:].strip(), []
        held.append(line)
    if command:
        yield command, held


def cut(dump: Path, folder: Path, kernel: str) -> list[Path]:
    """The keys of one kernel: KERNEL-pages.xz and KERNEL-objects.xz."""
    with gzip.open(dump, "rt", errors="replace") as text:
        found = list(sections(text.read().replace("\0", "").splitlines()))
    pages = next(held for command, held in found if command.startswith("pages"))
    others = [line for command, held in found if command[:5] != "pages" for line in held]
    made = []
    for name, kept in (("pages", pages), ("objects", others)):
        path = folder / f"{kernel}-{name}.xz"
        path.write_bytes(lzma.compress("\n".join([*kept, ""]).encode(), preset=9))
        made.append(path)
    return made


def main() -> int:
    """Cut the keys."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("tests/linux/keys"))
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    for kernel in KERNELS:
        dump = chosen.samples / "scripted" / f"{kernel}.dump.gz"
        if not dump.is_file():
            print(f"{dump} is not there: give the folder of the full samples.", file=sys.stderr)
            return 1
        for path in cut(dump, chosen.output, kernel):
            print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
