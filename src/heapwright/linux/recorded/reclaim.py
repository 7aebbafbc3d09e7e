"""The reclaim of a real kernel's memory groups: what it counted beside what the twin counts.

    a program of known accesses ─► group of 20 MiB, swap on a RAM disk ─► memory.stat
    the same accesses           ─► linux/reclaim.py                    ─► its counts

Source     benchmarks/linux/pages.c is the program, benchmarks/linux/reclaim.job what was run
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heapwright.linux.lru import check
from heapwright.linux.reclaim import access_mixed, group
from heapwright.linux.shrink import COUNTS

OWN_PAGES = 10  # of a static program, its tables and the kernel for it
READ = {  # of memory.stat, and what the twin calls it
    "pgscan": ("scanned", "file_scanned"),
    "pgsteal": ("stolen", "file_stolen"),
    "pgfault": ("minor_faults", "major_faults"),
    "pgmajfault": ("major_faults",),
    "workingset_refault_anon": ("refaults",),
    "workingset_refault_file": ("file_refaults",),
    "pgrefill": ("refilled",),
    "oom_kill": ("killed",),
}
FILE_BIT = 1 << 40  # of an access


@dataclass(frozen=True)
class Job:
    """One program under one limit."""

    limit_mib: int
    swap_mib: int
    anon_mib: int
    file_mib: int
    rounds: int
    random: bool

    @property
    def words(self) -> str:
        """As it was run."""
        pattern = "rand" if self.random else "seq"
        swap = f" and {self.swap_mib} MiB of swap" if self.swap_mib < 64 else ""
        return (
            f"{self.anon_mib} MiB of memory, {self.file_mib} MiB of a file, {self.rounds} rounds "
            f"{pattern}, under {self.limit_mib} MiB{swap}"
        )


def accesses(job: Job) -> np.ndarray:
    """int64[access]: a page's number, FILE_BIT set of one of the file's; as pages.c makes them."""
    anon, file = job.anon_mib << 8, job.file_mib << 8
    found, state = [], 1
    for _ in range(job.rounds):
        for step in range(max(anon, file)):
            for pages, bit in ((anon, 0), (file, FILE_BIT)):
                if not pages:
                    continue
                at = step % pages
                if job.random:
                    state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
                    at = (state >> 8) % pages
                found.append(at | bit)
    return np.array(found, np.int64)


def read(text: str) -> Iterator[tuple[Job, dict[str, int]]]:
    """The jobs that a guest wrote down, and the figures of each."""
    for part in text.replace("\r", "").split("=== reclaim ")[1:]:
        first, *lines = part.splitlines()
        *numbers, pattern = first.split()
        told = dict(line.split() for line in lines if len(line.split()) == 2)
        known = {name: int(told[name]) for name in READ if name in told}
        yield Job(*map(int, numbers), pattern == "rand"), known


def mallocs(text: str) -> Iterator[tuple[int, int, dict[str, int]]]:
    """Limits and swap in MiB of a program on a real malloc, and what the kernel counted of it;
    `done` operations before its end."""
    for part in text.replace("\r", "").split("=== malloc ")[1:]:
        first, *lines = part.splitlines()
        limit, swap = map(int, first.split())
        told = dict(line.split() for line in lines if len(line.split()) == 2)
        names = ("done", "oom_kill", "pgmajfault", "pgsteal")
        yield limit, swap, {name: int(told[name]) for name in names if name in told}


def counted(job: Job) -> dict[str, int]:
    """What the twin counts of a job, under the kernel's names."""
    order = accesses(job)
    file = job.anon_mib << 8
    memory = group(file + (job.file_mib << 8) + 1, job.limit_mib << 8, job.swap_mib << 8, OWN_PAGES)
    done = access_mixed(memory, order, file)
    assert not check(memory)
    counts = dict(zip(COUNTS, memory.counts.tolist(), strict=True))
    counts["killed"] = int(done < len(order))
    return {name: sum(counts[each] for each in mine) for name, mine in READ.items()}


def furthest(real: Mapping[str, int], mine: Mapping[str, int], names: Sequence[str]) -> float:
    """The largest share by which a figure of the twin differs; of small ones it does not matter."""
    large = [name for name in names if real[name] >= 1000]
    return max((abs(mine[name] / real[name] - 1) for name in large), default=0.0)
