"""The copies of /proc/PID that the recorder keeps: where the heap began, which file a caller is in.

    caller ─ /proc/PID/maps as the recorder noted it ─► file+0xoffset, as `sites.py` keeps it

The offset is the virtual address that the file's own symbol table uses. The file's build-id goes
with it, so that a file replaced since is not asked for names.
"""

import bisect
import re

from heapwright.trace.sites import elf

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+ +(/.*)")


def heap_start(process: str) -> int:
    """Where the break began, from the copy of /proc/PID/stat that stands first (proc(5), field 47).

    The heap has grown when the recorder can first look at the break itself. 0 when not known.
    """
    fields = process.partition("\n")[0].rpartition(")")[2].split()
    return int(fields[44]) if len(fields) > 44 and fields[44].isdecimal() else 0


def executable_mappings(process: str) -> list[tuple[int, int, int, str]]:
    """(start, end, offset in the file, path) of executable mappings in copies of /proc/PID/maps.

    Where copies differ the later one counts.
    """
    found: dict[int, tuple[int, int, int, str]] = {}
    for line in process.splitlines():
        match = _MAPPING.fullmatch(line)
        if match:
            start, end, offset = (int(text, 16) for text in match.groups()[:3])
            found[start] = (start, end, offset, match[4].removesuffix(" (deleted)"))
    return sorted(found.values())


def stored_sites(callers: list[int], process: str) -> tuple[list[str], dict[str, str]]:
    """`file+0xoffset` of each return address, and the build-id of each of those files.

    The offset is that of the call itself, a byte before the return address. An address in no
    known file stays a number.
    """
    mappings = executable_mappings(process)
    starts = [mapping[0] for mapping in mappings]
    sites, modules = [], {}
    for caller in callers:
        call = caller - 1
        row = bisect.bisect_right(starts, call) - 1
        if row < 0 or call >= mappings[row][1]:
            sites.append(f"0x{call:x}")
            continue
        start, _, offset, path = mappings[row]
        segments, build_id = elf(path)
        in_file = call - start + offset
        address = next(
            (in_file - at + virtual for at, virtual, size in segments if at <= in_file < at + size),
            in_file,
        )
        sites.append(f"{path}+0x{address:x}")
        modules[path] = build_id
    return sites, modules
