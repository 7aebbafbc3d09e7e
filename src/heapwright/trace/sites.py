"""The names of call sites, kept as file+0xoffset and looked up when asked for.

    file+0xoffset, its build-id ─ addr2line, else nm ─► label        known_names keeps a system's

The offset is the virtual address that the file's own symbol table uses. A file replaced since it
was recorded is not asked for names; so those of files that are likely to be, which are the
program's own and no system's, are looked up and kept when it is recorded (`own_names`).
"""

import bisect
import re
import struct
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from heapwright.trace.known_names import known
from heapwright.trace.stacks import asker

SYSTEM_FOLDERS = ("/usr/", "/lib/", "/lib64/", "/bin/", "/sbin/", "/nix/store/")
ELF_BYTES = 1 << 20  # of a file's start that are read for its headers and its build-id
_STORED = re.compile(r"(?P<file>/.*)\+0x(?P<offset>[0-9a-f]{1,16})")
_PT_LOAD, _PT_NOTE, _NT_GNU_BUILD_ID = 1, 4, 3


def labels(
    stored: list[str], modules: dict[str, str], names: Sequence[str] = (), *, inlined: bool = False
) -> list[str]:
    """Function, and file and line where the debug information is installed, of each stored site.

    `names` are those that were kept, "" of what has none. With `inlined` a line for each function
    that was inlined there, the outermost first; without, whoever of them asked. Asks `addr2line`
    where there is one, else `nm`; what neither knows is `libfoo.so+0x1234`.
    """
    answer = [name or text for name, text in zip(names or [""] * len(stored), stored, strict=True)]
    for path, wanted in _by_file(answer, modules).items():
        for row, name in zip(wanted, _named(path, modules[path], wanted), strict=True):
            answer[row] = name if inlined else _alone(name)
    return answer


def own_names(stored: list[str], modules: dict[str, str], *, inlined: bool = False) -> list[str]:
    """The names of the sites in files of the program's own, "" of the others; [] if there are none.

    Those of a system lie in SYSTEM_FOLDERS and are there as long as it is.
    """
    own = {path: build for path, build in modules.items() if not path.startswith(SYSTEM_FOLDERS)}
    files = _by_file(stored, own)
    names = [""] * len(stored)
    for path, wanted in files.items():
        for row, name in zip(wanted, _named(path, own[path], wanted), strict=True):
            names[row] = name if inlined else _alone(name)
    return names if any(names) else []


def _by_file(stored: Sequence[str], modules: dict[str, str]) -> dict[str, dict[int, int]]:
    """Of each file its rows, and the offset of each."""
    rows: dict[str, dict[int, int]] = {}
    for row, text in enumerate(stored):
        match = _STORED.fullmatch(text)
        if match and match["file"] in modules:
            rows.setdefault(match["file"], {})[row] = int(match["offset"], 16)
    return rows


def _alone(frame: str) -> str:
    """Who asked, of the functions of a frame; that of the frame itself where all hand on."""
    return asker(frame) or frame.partition("\n")[0]


def _named(path: str, build: str, wanted: dict[int, int]) -> list[str]:
    """The name of each wanted offset of a file."""
    offsets = list(wanted.values())
    if not (Path(path).is_file() and elf(path)[1] == build):
        return [_nearest([], path, offset) for offset in offsets]

    def ask(some: Sequence[int]) -> list[str]:
        names = _lines(path, list(some))
        symbols = _symbols(path) if not all(names) else []
        return [
            name or _nearest(symbols, path, offset)
            for name, offset in zip(names, some, strict=True)
        ]

    if not path.startswith(SYSTEM_FOLDERS):  # the trace keeps its names, and it is built anew
        return ask(offsets)
    return known(build, offsets, ask)


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
    """`function (file.c:12)` of each offset by addr2line, a line for each function that was inlined
    there, the outermost first; empty where it knows none."""
    asked = "".join(f"0x{offset:x}\n" for offset in offsets)
    options = ["-a", "-f", "-C", "-s", "-i"]
    found: list[list[str]] = []  # lines after each address
    for line in _run(["addr2line", *options, "-e", path], asked).splitlines():
        if line.startswith("0x"):
            found.append([])
        elif found:
            found[-1].append(line)
    if len(found) != len(offsets):
        return [""] * len(offsets)
    answer = []
    for lines in found:
        frames = [
            f"{function} ({place.split(' ')[0]})"
            for function, place in zip(lines[::2], lines[1::2], strict=False)
            if not place.startswith(("?", ":"))
        ]
        answer.append("\n".join(reversed(frames)))
    return answer


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
def elf(path: str) -> tuple[list[tuple[int, int, int]], str]:
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
