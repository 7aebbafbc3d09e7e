"""Small keys of a real Linux's allocators, cut from full dumps of two kernels.

    python -m benchmarks.linux_keys SAMPLES [--memblock memblock.so] [-o tests/linux/keys]

SAMPLES is what `benchmarks.linux_boot` makes; its scripted/ holds debian.dump.gz and uml.dump.gz:
what a module in the kernel wrote of its own lists and of scripted requests. A key is the first
sequence of page requests with all lists before and after it, and every other sequence whole, packed
by xz. Beside them the lines of memblock in a boot's log, what its kmalloc gave, what programs under
a memory limit did and, of the real mm/memblock.c as a library, what it answered to random programs.
"""

import argparse
import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.agreement_linux import booted
from heapwright.linux.recorded.boot import ALLOC, Real, program
from heapwright.linux.recorded.events import section
from heapwright.linux.recorded.reclaim import READ

KERNELS = ("debian", "uml")
PROGRAMS = 60


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


def boot_log(console: Path, folder: Path) -> Path:
    """The lines of a boot's log that tell of memblock."""
    with gzip.open(console, "rt", errors="replace") as text:
        kept = [line.strip() for line in text if "memblock" in line.lower() or "[0x" in line]
    path = folder / "debian-boot.xz"
    path.write_bytes(lzma.compress("\n".join([*kept, ""]).encode(), preset=9))
    return path


def slabinfo(console: Path, folder: Path) -> Path:
    """/proc/slabinfo of a kernel, as its console has it."""
    with gzip.open(console, "rt", errors="replace") as text:
        kept = section(text.read().replace("\r", ""), "proc/slabinfo")
    path = folder / "debian-slabinfo.xz"
    path.write_bytes(lzma.compress(kept.encode(), preset=9))
    return path


def of_library(library: Path, folder: Path) -> Path:
    """What the real memblock answers to PROGRAMS programs: each allocation, and digests of both
    lists and of the hand-over at each one's end."""
    real, answers, digests = Real(library), list[int](), list[tuple[int, int]]()
    for seed in range(PROGRAMS):
        bottom_up, operations = program(seed)
        real.reset(bottom_up=bottom_up)
        told = [(real.apply(each), each[0]) for each in operations]
        answers += [answer for answer, kind in told if kind == ALLOC]
        digests.append((digest(real.ranges()), digest(real.handed_over())))
    path = folder / "memblock.npz"
    np.savez_compressed(path, answers=np.array(answers), digests=np.array(digests))
    return path


def of_groups(text: Path, folder: Path) -> Path:
    """What a kernel counted of each program under a memory limit: the lines that are compared."""
    with gzip.open(text, "rt", errors="replace") as told:
        found = told.read().replace("\r", "")
    kept = [
        line
        for line in found.splitlines()
        if line.startswith("=== reclaim ") or line.split(" ")[0] in READ
    ]
    path = folder / "debian-reclaim.txt"
    path.write_text("\n".join([*kept, ""]))
    return path


def of_kmalloc(folder: Path, output: Path) -> Path:
    """bytes_req and bytes_alloc of a boot's kmalloc events, each pair once."""
    found = {
        (fields["bytes_req"], fields["bytes_alloc"])
        for _, name, fields in booted(folder).events
        if name == "kmalloc" and fields["ptr"]
    }
    path = output / "debian-kmalloc.txt"
    path.write_text("".join(f"{size} {room}\n" for size, room in sorted(found)))
    return path


def digest(what: object) -> int:
    """A number for a list of tuples."""
    return zlib.crc32(repr(what).encode())


def main() -> int:
    """Cut the keys."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("tests/linux/keys"))
    parser.add_argument("--memblock", type=Path, help="the real mm/memblock.c as a library")
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    for kernel in KERNELS:
        dump = chosen.samples / "scripted" / f"{kernel}.dump.gz"
        if not dump.is_file():
            print(f"{dump} is not there: give the folder of the full samples.", file=sys.stderr)
            return 1
        for path in cut(dump, chosen.output, kernel):
            print(f"{path}: {path.stat().st_size:,} bytes")
    boot, groups = (
        next(chosen.samples.glob(f"debian-*-{job}"), None) for job in ("boot", "reclaim")
    )
    if boot is None or groups is None:
        print(
            f"{chosen.samples} lacks a boot or a reclaim: see benchmarks.linux_boot.",
            file=sys.stderr,
        )
        return 1
    boot_log(boot / "console.gz", chosen.output)
    slabinfo(boot / "ttyS1.gz", chosen.output)
    of_kmalloc(boot, chosen.output)
    of_groups(groups / "reclaim.gz", chosen.output)
    if chosen.memblock:
        of_library(chosen.memblock, chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
