"""The twin of an address space beside real processes: random calls, compared after each.

python -m benchmarks.agreement_space [-o docs/agreement-space.md] [--scripts 200]
"""

import argparse
import datetime
import sys
from pathlib import Path

from benchmarks.tables import kernel
from heapwright.references.address_space import differences
from heapwright.references.huge_pages import huge_differences, policy
from heapwright.report.atomic import atomic

CALLS = 120
ROWS = (
    ("calls alone", 0, differences),
    ("with two forks, each child going on", 2, differences),
    ("huge pages asked for", 0, huge_differences),
    ("huge pages, with two forks", 2, huge_differences),
)


def main() -> int:
    """Drive them and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-space.md"))
    parser.add_argument("--scripts", type=int, default=200)
    chosen = parser.parse_args()
    lines, told = [], []
    for what, forks, compared in ROWS:
        if compared is huge_differences and policy() != "madvise":
            told.append(f"{what}: not compared: this system's policy is not madvise")
            continue
        equal = 0
        for seed in range(chosen.scripts):
            found = list(compared(seed, CALLS, forks))
            equal += not found
            told += found
            if sys.stderr.isatty():
                print(f"\r{what}: {seed + 1} of {chosen.scripts}", end="", file=sys.stderr)
        share = f"{equal / chosen.scripts:.1%}"
        lines.append(f"| {what} | {chosen.scripts} | {CALLS} | {equal} | {share} |")
    today = datetime.datetime.now(datetime.UTC).date()
    text = f"""# Agreement of the address space

Written by `python -m benchmarks.agreement_space` on {today}: {kernel()}.

A script is a row of random calls (mmap with and without hints and MAP_FIXED, private, shared, of a
file, without reservation; munmap, mprotect, mremap, madvise, brk, reads and writes of ranges) on a
real process and on the twin. It is equal where after every call the answer, the minor faults of an
access, the memory of the page tables (VmPTE), and of every area that the calls made the bounds,
permissions, flags, resident, anonymous, dirty and huge bytes of `/proc/self/smaps` are. Scripts of
huge pages make areas of some MiB, ask for huge pages, refuse and collapse them. Where Linux had
none to give, or collapsed one of itself meanwhile, a script is run again.

| scripts | number | calls each | equal | |
| --- | ---: | ---: | ---: | ---: |
{chr(10).join(lines)}
"""
    if told:
        text += "\nWhat differs or was not compared:\n\n" + "".join(f"- {one}\n" for one in told)
    with atomic(chosen.output) as beside:
        beside.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
