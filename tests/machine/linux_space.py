"""A program: does memory calls for real and says which pages are mapped and resident.

Reads a JSON list of operations from standard input, each [verb, area, first_page, pages, ...], and
writes one JSON object: `pages`, for each operation a list of areas' page strings
("." unmapped, "m" mapped, "R" resident or on the zero page), and `faults`, minor faults of each
operation's touches.
An area is a name for a mapping, wherever Linux has put it. Run in a fresh process.
"""

import ctypes
import json
import resource
import sys

PAGE = 4096
HUGE = 2 << 20
PROT_READ_WRITE, PRIVATE_ANONYMOUS = 3, 0x22
MAYMOVE, FIXED, DONTUNMAP = 1, 2, 4
PR_SET_THP_DISABLE = 41
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mremap.argtypes = [*libc.munmap.argtypes, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
libc.sbrk.argtypes = [ctypes.c_long]


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def page_string(address, pages):
    """One character a page."""
    vector = ctypes.create_string_buffer(pages)
    if libc.mincore(address, pages * PAGE, vector) == 0:
        return "".join("R" if byte & 1 else "m" for byte in vector.raw)
    text = ""
    for page in range(pages):
        mapped = libc.mincore(address + page * PAGE, PAGE, vector) == 0
        text += "." if not mapped else "R" if vector.raw[0] & 1 else "m"
    return text


def smaps(address, length):
    """{Rss, AnonHugePages: bytes} of the mappings that lie within a range."""
    totals, inside = {"Rss": 0, "AnonHugePages": 0}, False
    with open("/proc/self/smaps") as file:
        for line in file:
            fields = line.split()
            if "-" in fields[0] and not fields[0].endswith(":"):
                start, end = (int(part, 16) for part in fields[0].split("-"))
                inside = start < address + length and address < end
            elif inside and fields[0][:-1] in totals:
                totals[fields[0][:-1]] += int(fields[1]) * 1024
    return totals


def leave_the_break_alone():
    """Give the interpreter's malloc a top so large that only this program moves the break."""
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    libc.malloc.argtypes = [ctypes.c_size_t]
    for option, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 1 << 30)):
        libc.mallopt(option, value)
    libc.free(libc.malloc(24 << 20))


def main():
    leave_the_break_alone()
    areas = {}  # name: (address, pages ever)
    answer = {"pages": [], "faults": [], "smaps": []}
    faults(), page_string(id(areas) & ~(PAGE - 1), 1)
    for verb, area, first, pages, *rest in json.load(sys.stdin):
        address = areas[area][0] + first * PAGE if area in areas else 0
        taken = 0
        if verb == "thp":
            libc.prctl(PR_SET_THP_DISABLE, int(not pages), 0, 0, 0)
        elif verb == "mmap":  # with `aligned`: at a multiple of a huge page
            spare = HUGE if rest and rest[0] else 0
            base = libc.mmap(None, pages * PAGE + spare, PROT_READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
            if spare:
                aligned = (base + HUGE - 1) & ~(HUGE - 1)
                if aligned > base:
                    libc.munmap(base, aligned - base)
                libc.munmap(aligned + pages * PAGE, base + spare - aligned)
                base = aligned
            areas[area] = (base, pages)
        elif verb == "touch":
            before = faults()
            for page in range(pages):
                libc.memset(address + page * PAGE, 1, 1)
            taken = faults() - before
        elif verb == "read":
            before = faults()
            for page in range(pages):
                libc.memcmp(address + page * PAGE, address + page * PAGE, 1)
            taken = faults() - before
        elif verb == "munmap":
            assert libc.munmap(address, pages * PAGE) == 0
        elif verb == "mremap":  # the whole area to `pages`
            old = areas[area][1]
            moved = libc.mremap(address, old * PAGE, pages * PAGE, MAYMOVE, None)
            assert moved not in (None, ctypes.c_void_p(-1).value)
            areas[area] = (moved, pages)
        elif verb == "move":  # to pages of the same area
            target = areas[area][0] + rest[0] * PAGE
            flags = MAYMOVE | FIXED | DONTUNMAP
            assert libc.mremap(address, pages * PAGE, pages * PAGE, flags, target) == target
        elif verb == "madvise":
            assert libc.madvise(address, pages * PAGE, rest[0]) == 0
        elif verb == "sbrk":  # area "heap" begins at the break's first whole page
            if area not in areas:
                end = libc.sbrk(0)
                libc.sbrk(-end % PAGE)
                areas[area] = (end + -end % PAGE, 0)
            libc.sbrk(pages * PAGE)
            areas[area] = (areas[area][0], (libc.sbrk(0) - areas[area][0]) // PAGE)
        answer["faults"].append(taken)
        answer["pages"].append(
            [page_string(*areas[name]) for name in sorted(areas) if areas[name][1]]
        )
        if verb == "smaps":
            answer["smaps"].append(smaps(areas[area][0], areas[area][1] * PAGE))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
