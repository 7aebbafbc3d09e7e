"""The machine's verbs against Linux: the same calls made for real in a fresh process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.machine import address_space as space
from heapwright.machine.address_space import (
    ADVISE_DONTNEED,
    ADVISE_FREE,
    ADVISE_HUGEPAGE,
    FAULTS,
    HUGE_ADVISE,
    HUGE_FAULTS,
    HUGE_NEVER,
    MAPPED,
    PAGE_BYTES,
    PAGE_SHIFT,
    RESIDENT,
    RESIDENT_PAGES,
    STRAY_TOUCHES,
    ZERO,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux")

FAULT_NOISE = 12  # the measuring interpreter's own faults during an operation, at most
HUGE_PAGES_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
HAS_HUGE_PAGES = HUGE_PAGES_SETTING.exists() and "[never]" not in HUGE_PAGES_SETTING.read_text()


def really(operations):
    """What Linux answers: see linux_space.py."""
    program = Path(__file__).parent / "linux_space.py"
    done = subprocess.run(
        [sys.executable, program],
        input=json.dumps(operations),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONMALLOC": "malloc"},  # no arenas mapped behind the test's back
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def modelled(operations):
    """The same answer from the machine, whose check holds after each operation."""
    machine, areas = space.machine(HUGE_NEVER), {}
    answer = {"pages": [], "faults": [], "smaps": []}
    for verb, area, first, pages, *rest in operations:
        address = areas[area][0] + first * PAGE_BYTES if area in areas else 0
        length = pages * PAGE_BYTES
        before = int(machine.meters[FAULTS])
        if verb == "thp":
            machine.meters[space.HUGE_PAGES] = HUGE_ADVISE if pages else HUGE_NEVER
        elif verb == "mmap":
            spare = space.HUGE_PAGE_BYTES if rest and rest[0] else 0
            base = space.mmap(machine, 0, length + spare)
            if spare:
                aligned = -(-base // spare) * spare
                space.munmap(machine, base, aligned - base)
                space.munmap(machine, aligned + length, base + spare - aligned)
                base = aligned
            areas[area] = (base, pages)
        elif verb == "touch":
            space.touch(machine, address, length)
        elif verb == "read":
            space.read(machine, address, length)
        elif verb == "munmap":
            space.munmap(machine, address, length)
        elif verb == "mremap":
            old = areas[area][1] * PAGE_BYTES
            areas[area] = (space.mremap(machine, address, old, length), pages)
        elif verb == "move":
            target = areas[area][0] + rest[0] * PAGE_BYTES
            assert space.move(machine, address, target, length)
        elif verb == "madvise":
            space.madvise(machine, address, length, rest[0])
        elif verb == "sbrk":
            start, held = areas.get(area, (space.BREAK_BASE, 0))
            areas[area] = (start, held + pages)
            end = start + (held + pages) * PAGE_BYTES
            assert space.brk(machine, end) == end
        answer["faults"].append(int(machine.meters[FAULTS]) - before)
        strings = []
        for name in sorted(areas):
            base, count = areas[name]
            flags = machine.pages[base >> PAGE_SHIFT : (base >> PAGE_SHIFT) + count]
            present = flags & (RESIDENT | ZERO)
            kinds = np.where(present, "R", np.where(flags & MAPPED, "m", "."))
            strings += ["".join(kinds)] if count else []
        answer["pages"].append(strings)
        assert space.check(machine) == 0
        assert machine.meters[STRAY_TOUCHES] == 0
        if verb == "smaps":
            small = int(machine.meters[RESIDENT_PAGES]) * PAGE_BYTES
            answer["smaps"].append((small, int(machine.meters[HUGE_FAULTS])))
    return answer


def agree(operations):
    """Both answers, after comparing them page by page and fault by fault."""
    real, model = really(operations), modelled(operations)
    for number, operation in enumerate(operations):
        assert model["pages"][number] == real["pages"][number], f"{number}: {operation}"
        noise = real["faults"][number] - model["faults"][number]
        assert 0 <= noise <= FAULT_NOISE, f"{number}: {operation}: {noise} more faults"
    return real, model


MIB = 256  # pages


def test_64_mib_are_16384_faults():
    _, model = agree([["thp", "", 0, 0], ["mmap", "a", 0, 64 * MIB], ["touch", "a", 0, 64 * MIB]])
    assert model["faults"][2] == 16_384


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="transparent huge pages are off")
def test_64_mib_are_32_faults_with_huge_pages():
    operations = [
        ["thp", "", 0, 1],
        ["mmap", "a", 0, 64 * MIB, True],
        ["madvise", "a", 0, 64 * MIB, ADVISE_HUGEPAGE],
        ["touch", "a", 0, 64 * MIB],
        ["smaps", "a", 0, 0],
    ]
    real, model = agree(operations)
    assert model["faults"][3] == 32
    assert real["smaps"] == [{"Rss": 64 << 20, "AnonHugePages": 64 << 20}]
    assert model["smaps"] == [(64 << 20, 32)]


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="transparent huge pages are off")
def test_a_huge_page_needs_two_whole_free_mebibytes():
    agree(
        [
            ["thp", "", 0, 1],
            ["mmap", "a", 0, 8 * MIB, True],
            ["touch", "a", 0, 1],  # a small page before the advice
            ["madvise", "a", 0, 8 * MIB - 1, ADVISE_HUGEPAGE],
            ["touch", "a", 5, 1],  # its neighbourhood stays small
            ["touch", "a", 2 * MIB + 7, 1],  # huge
            ["touch", "a", 8 * MIB - 3, 1],  # its last page has no advice: small
            ["madvise", "a", 2 * MIB, 2 * MIB, ADVISE_DONTNEED],  # a whole one given up
            ["touch", "a", 3 * MIB, 1],  # huge again
            ["madvise", "a", 2 * MIB, 10, ADVISE_DONTNEED],  # the first pages of it
            ["touch", "a", 2 * MIB, 5],
            ["touch", "a", 4 * MIB, 1],
            ["munmap", "a", 5 * MIB, 10],  # a hole in a huge page
            ["touch", "a", 4 * MIB, MIB],
        ]
    )


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="transparent huge pages are off")
def test_an_area_that_grows_keeps_its_advice():
    agree(
        [
            ["thp", "", 0, 1],
            ["mmap", "a", 0, 12 * MIB, True],
            ["madvise", "a", 0, 4 * MIB, ADVISE_HUGEPAGE],
            ["mremap", "a", 0, 4 * MIB],  # cut, so that there is room above
            ["touch", "a", 0, 1],
            ["mremap", "a", 0, 8 * MIB],
            ["touch", "a", 6 * MIB, 1],
        ]
    )


def test_a_page_that_was_only_read_is_the_zero_page():
    """A fault and no memory; its first write is another fault."""
    real, model = agree(
        [
            ["thp", "", 0, 0],
            ["mmap", "a", 0, 100],
            ["read", "a", 0, 60],
            ["smaps", "a", 0, 0],
            ["read", "a", 0, 100],
            ["touch", "a", 30, 60],
            ["read", "a", 0, 100],
            ["smaps", "a", 0, 0],
            ["madvise", "a", 0, 100, ADVISE_FREE],
            ["madvise", "a", 20, 30, ADVISE_DONTNEED],
            ["read", "a", 0, 100],
            ["mremap", "a", 0, 300],
            ["touch", "a", 0, 100],
        ]
    )
    assert [model["faults"][i] for i in (2, 4, 5, 6, 10, 12)] == [60, 40, 60, 0, 30, 60]
    assert [each["Rss"] for each in real["smaps"]] == [each[0] for each in model["smaps"]]


@pytest.mark.skipif(not HAS_HUGE_PAGES, reason="transparent huge pages are off")
def test_there_is_a_huge_page_of_zeros():
    agree(
        [
            ["thp", "", 0, 1],
            ["mmap", "a", 0, 4 * MIB, True],
            ["madvise", "a", 0, 4 * MIB, ADVISE_HUGEPAGE],
            ["read", "a", 10, 1],
            ["read", "a", 0, 2 * MIB],
            ["touch", "a", 2 * MIB, 1],
            ["read", "a", 2 * MIB, 2 * MIB],
            # Its first write is given a huge page at once by Linux 6.18; older ones split it
            *([["touch", "a", 7, 3]] if KERNEL >= (6, 18) else []),
        ]
    )


def test_given_up_pages_fault_again_and_lazily_freed_ones_do_not():
    _, model = agree(
        [
            ["thp", "", 0, 0],
            ["mmap", "a", 0, 100],
            ["touch", "a", 0, 100],
            ["madvise", "a", 10, 50, ADVISE_DONTNEED],
            ["touch", "a", 0, 100],
            ["madvise", "a", 10, 50, ADVISE_FREE],
            ["touch", "a", 0, 100],
            ["madvise", "a", 0, 100, ADVISE_FREE],
            ["madvise", "a", 20, 30, ADVISE_DONTNEED],
            ["touch", "a", 0, 100],
        ]
    )
    assert [model["faults"][i] for i in (2, 4, 6, 9)] == [100, 50, 0, 30]


def test_unmapping_splits_and_remapping_keeps_pages():
    agree(
        [
            ["thp", "", 0, 0],
            ["mmap", "a", 0, 64],
            ["mmap", "b", 0, 64],
            ["touch", "a", 0, 64],
            ["touch", "b", 30, 34],
            ["munmap", "a", 20, 10],
            ["munmap", "a", 10, 40],
            ["mremap", "b", 0, 300],
            ["touch", "b", 10, 200],
            ["mremap", "b", 0, 50],
            ["mremap", "b", 0, 400],
            ["touch", "b", 0, 400],
            ["munmap", "b", 0, 400],
        ]
    )


def test_moved_pages_leave_mapped_pages_behind():
    _, model = agree(
        [
            ["thp", "", 0, 0],
            ["mmap", "a", 0, 100],
            ["touch", "a", 0, 10],
            ["touch", "a", 45, 10],
            ["move", "a", 0, 20, 40],
            ["touch", "a", 0, 100],
        ]
    )
    assert model["faults"][-1] == 90


def test_the_break_rises_and_falls():
    agree(
        [
            ["thp", "", 0, 0],
            ["sbrk", "heap", 0, 50],
            ["touch", "heap", 0, 30],
            ["sbrk", "heap", 0, -35],
            ["sbrk", "heap", 0, 60],
            ["touch", "heap", 0, 75],
            ["madvise", "heap", 5, 20, ADVISE_DONTNEED],
            ["touch", "heap", 20, 10],
        ]
    )


VERBS = ("madvise", "munmap", "mremap", "sbrk")


def random_operations(seed, count):
    """Calls on a few areas. Holes come in the second half, when nothing is mapped any more: Linux
    would place a new area in one of them, and the machine in another."""
    random = np.random.default_rng(seed)
    areas, operations = {}, [["thp", "", 0, 0], ["sbrk", "heap", 0, 40]]
    areas["heap"] = np.ones(40, bool)
    for number in range(count):
        name = str(random.choice(list(areas)))
        held = areas[name]
        first = int(random.integers(0, len(held)))
        pages = int(random.integers(1, len(held) - first + 1))
        verb = str(random.choice(["mmap", "touch", "touch", "read", *VERBS]))
        early = number < count // 2
        if verb == "mmap" and early and len(areas) < 8:
            name, pages = f"area{number}", int(random.integers(1, 200))
            areas[name] = np.ones(pages, bool)
            operations.append(["mmap", name, 0, pages])
        elif verb == "sbrk":
            change = int(random.integers(-len(areas["heap"]) + 1, 80))
            areas["heap"] = np.ones(len(areas["heap"]) + change, bool)
            operations.append(["sbrk", "heap", 0, change])
        elif verb == "mremap" and early and name != "heap":
            pages = int(random.integers(1, 300))
            areas[name] = np.ones(pages, bool)
            operations.append(["mremap", name, 0, pages])
        elif (
            verb == "munmap" and not early and name != "heap" and held[first : first + pages].all()
        ):
            held[first : first + pages] = False
            operations.append(["munmap", name, first, pages])
        elif verb in ("touch", "read", "madvise") and held[first : first + pages].all():
            advice = [int(random.choice([ADVISE_DONTNEED, ADVISE_FREE]))] * (verb == "madvise")
            operations.append([verb, name, first, pages, *advice])
    return operations


@pytest.mark.parametrize("seed", range(12))
def test_random_calls(seed):
    agree(random_operations(seed, 120))
