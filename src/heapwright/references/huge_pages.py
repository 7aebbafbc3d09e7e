"""Random calls on huge pages, done for real and by the twin of an address space.

    HugeScript ─► address_space.differences ─► a sentence, or none
    Luck ─► whether the real process got each huge page that it asked for, and only those

Source     Documentation/admin-guide/mm/transhuge.rst: the counters of /proc/vmstat
Omits      MADV_COLLAPSE of shared memory and files
"""

from collections.abc import Iterator
from pathlib import Path

from heapwright.linux.areas import PAGE_BYTES, READ, WRITE
from heapwright.linux.calls import COLLAPSE, DONTDUMP, DONTNEED, FIXED, FREE, HUGEPAGE, NOHUGEPAGE
from heapwright.linux.page_table import HUGE_BYTES, PAGES
from heapwright.references.address_space import (
    MADVISE,
    MMAP,
    MPROTECT,
    MREMAP,
    Call,
    Script,
    differences,
)

SYSTEM = Path("/sys/kernel/mm/transparent_hugepage")
UNLUCKY = ("thp_fault_fallback", "thp_collapse_alloc_failed")
TRIES = 5


class HugeScript(Script):
    """Calls on areas of some MiB, which ask for huge pages and break them."""

    weights = (2, 1, 2, 2, 6, 0, 3, 5)
    huge_pages = "madvise"
    _fresh: tuple[int, int] | None = None  # made by the call before

    def next(self) -> Call:
        """The next call; most fresh memory asks for huge pages first."""
        fresh, self._fresh = self._fresh, None
        if fresh and self._random.random() < 0.8:
            return Call((MADVISE, *fresh, HUGEPAGE))
        areas = self._twin.process.areas
        self._made = [made for made in self._made if areas.at(made[0])]
        return super().next()

    def answered(self, call: Call, answer: int) -> None:
        """As any script, and what is fresh."""
        super().answered(call, answer)
        if call.words[0] == MMAP and answer > 0:
            self._fresh = answer, call.words[2]

    def _protect(self) -> Call:
        address, pages = self._place()
        protection = self._random.choice([0, READ, *[READ | WRITE] * 6])
        return Call((MPROTECT, address, pages * PAGE_BYTES, protection))

    def _map(self) -> Call:
        if self._random.random() < 0.2:
            return super()._map()
        pages = self._random.choice([2, 4, 3]) * PAGES + self._random.choice([0, 0, 1, 40])
        hint, flags = 0, 0x22
        if self._made and self._random.random() < 0.2:
            hint, _ = self._place()
            if any(at <= hint < at + n * PAGE_BYTES for at, n in self._made):
                flags |= FIXED * self._free(hint, pages, 0)
        return Call((MMAP, hint, pages * PAGE_BYTES, READ | WRITE, flags, 0, 0))

    def _resize(self) -> Call:
        address, pages = self._place()
        if self._made and self._random.random() < 0.6:
            address, pages = self._random.choice(self._made)
        whole = -(-pages // PAGES) * PAGES
        new = self._random.choice([pages // 2 or 1, pages + 1, whole + PAGES, 2 * whole])
        return Call((MREMAP, address, pages * PAGE_BYTES, new * PAGE_BYTES, 1))

    def _place(self) -> tuple[int, int]:
        """Most often of a huge page: a few of its pages, or it and what lies about it."""
        huge = sorted(self._twin.process.table.huge)
        if huge and self._random.random() < 0.6:
            address, pages = self._random.choice(huge) * HUGE_BYTES, PAGES
            if self._random.random() < 0.5:
                skip = self._random.randrange(PAGES)
                address += skip * PAGE_BYTES
                pages = min(PAGES - skip, self._random.randint(1, 20))
            return address, pages
        address, pages = super()._place()
        if self._random.random() < 0.5:
            return address, min(pages, self._random.randint(1, 20))
        return address, pages

    def _advise(self) -> Call:
        address, pages = self._place()
        advices = [DONTNEED, DONTNEED, FREE, FREE, *[HUGEPAGE] * 3, NOHUGEPAGE, *[COLLAPSE] * 3]
        advice = self._random.choice([*advices, DONTDUMP])
        process = self._twin.process
        if advice == COLLAPSE and self._random.random() < 0.8:
            tables = sorted(process.table.tables.lowest)
            address, pages = self._random.choice(tables) * HUGE_BYTES, PAGES
        end = address + pages * PAGE_BYTES
        if advice == COLLAPSE and not (
            self._free(address, pages, 0)
            and all(area.anonymous for area in process.areas.within(address, end))
        ):
            advice = HUGEPAGE
            address, pages = self._place()
        return Call((MADVISE, address, pages * PAGE_BYTES, advice))


def policy() -> str:
    """What the system does: always, madvise or never; "" where it has no huge pages."""
    try:
        return (SYSTEM / "enabled").read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return ""


def _luck() -> list[int]:
    """How often the system had no huge page to give, or collapsed one of itself."""
    told = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    of_itself = (SYSTEM / "khugepaged" / "pages_collapsed").read_text()
    return [*(int(told[name]) for name in UNLUCKY), int(of_itself)]


def huge_differences(seed: int, calls: int = 80, forks: int = 0) -> Iterator[str]:
    """As `differences`, of a script in which the real process got each huge page it asked for."""
    for _ in range(TRIES):
        before = _luck()
        found = list(differences(seed, calls, forks, HugeScript))
        if _luck() == before:
            yield from found
            return
    yield f"script {seed}: not compared: the system had too few huge pages, {TRIES} times"
