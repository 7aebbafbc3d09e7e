"""What the copies of /proc/PID tell: where the heap began, and the names of call sites.

    caller ─ /proc/PID/maps as the recorder noted it ─► file+0xoffset ─ when asked for ─► label

The offset is the virtual address that the file's own symbol table uses. The file's build-id goes
with it, so that a file replaced since is not asked for names.
"""

import bisect
import re
import struct
import subprocess
from functools import lru_cache
from pathlib import Path

ELF_BYTES = 1 << 20  # of a file's start that are read for its headers and its build-id
_STORED = re.compile(r"(?P<file>/.*)\+0x(?P<offset>[0-9a-f]{1,16})")
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+ +(/.*)")
_PT_LOAD, _PT_NOTE, _NT_GNU_BUILD_ID = 1, 4, 3


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
        segments, build_id = _elf(path)
        in_file = call - start + offset
        address = next(
            (in_file - at + virtual for at, virtual, size in segments if at <= in_file < at + size),
            in_file,
        )
        sites.append(f"{path}+0x{address:x}")
        modules[path] = build_id
    return sites, modules


def labels(stored: list[str], modules: dict[str, str]) -> list[str]:
    """Function, and file and line where the debug information is installed, of each stored site.

    Asks `addr2line` where there is one, else `nm`; what neither knows is `libfoo.so+0x1234`.
    """
    answer = list(stored)
    rows: dict[str, list[tuple[int, int]]] = {}
    for row, text in enumerate(stored):
        match = _STORED.fullmatch(text)
        if match and match["file"] in modules:
            rows.setdefault(match["file"], []).append((row, int(match["offset"], 16)))
    for path, wanted in rows.items():
        offsets = [offset for _, offset in wanted]
        same = Path(path).is_file() and _elf(path)[1] == modules[path]
        names = _lines(path, offsets) if same else [""] * len(offsets)
        symbols = _symbols(path) if same else []
        for (row, offset), name in zip(wanted, names, strict=True):
            answer[row] = name or _nearest(symbols, path, offset)
    return answer


def _nearest(symbols: list[tuple[int, int, str]], path: str, offset: int) -> str:
    row = bisect.bisect_right(symbols, (offset, 1 << 62, "")) - 1
    name = Path(path).name
    if row >= 0 and offset < symbols[row][0] + max(symbols[row][1], 1):
        return f"{symbols[row][2]} ({name})"
    return f"{name}+0x{offset:x}"


def _run(command: list[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _lines(path: str, offsets: list[int]) -> list[str]:
    """`function (file.c:12)` of each offset by addr2line; empty where it knows no line."""
    asked = "".join(f"0x{offset:x}\n" for offset in offsets)
    answer = _run(["addr2line", "-f", "-C", "-s", "-e", path], asked).splitlines()
    if len(answer) != 2 * len(offsets):
        return [""] * len(offsets)
    return [
        f"{function} ({place.split(' ')[0]})" if not place.startswith(("?", ":")) else ""
        for function, place in zip(answer[::2], answer[1::2], strict=True)
    ]


def _symbols(path: str) -> list[tuple[int, int, str]]:
    """(address, size, name) of each function that `nm` lists, by address."""
    found = []
    for options in ([], ["-D"]):
        for line in _run(["nm", "-S", "-C", "--defined-only", *options, path]).splitlines():
            parts = line.split(maxsplit=3)
            if len(parts) == 4 and parts[2] in "tTwWiuV":
                found.append((int(parts[0], 16), int(parts[1], 16), parts[3].split("@@")[0]))
    return sorted(found)


@lru_cache(maxsize=4096)
def _elf(path: str) -> tuple[list[tuple[int, int, int]], str]:
    """(offset in the file, virtual address, bytes) of each loaded segment, and the build-id.

    Nothing, for a file that is gone or is no 64-bit ELF file.
    """
    segments: list[tuple[int, int, int]] = []
    build_id = ""
    try:
        with open(path, "rb") as file:
            head = file.read(ELF_BYTES)
        if head[:5] != b"\x7fELF\x02":
            return [], ""
        table, size, count = struct.unpack_from("<Q14xHH", head, 32)
        for row in range(count):
            kind, _, at, virtual, _, length = struct.unpack_from("<II4Q", head, table + row * size)
            if kind == _PT_LOAD:
                segments.append((at, virtual, length))
            elif kind == _PT_NOTE and not build_id:
                build_id = _build_id(head[at : at + length])
    except (OSError, struct.error):
        return [], ""
    return segments, build_id


def _build_id(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        name, length, kind = struct.unpack_from("<3I", notes, at)
        text = at + 12 + (name + 3) // 4 * 4
        if kind == _NT_GNU_BUILD_ID:
            return notes[text : text + length].hex()
        at = text + (length + 3) // 4 * 4
    return ""
