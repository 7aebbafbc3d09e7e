"""Whose malloc and operator new a recorded program had, as the files that it mapped tell.

    mapped files ─► dynamic symbols that they define ─► a note where requests may have passed by

A program's own definitions come before a preloaded library's, so what it asks of itself is not
seen; a library's come behind, so that the program ran on glibc's malloc instead of its own.
"""

import mmap
import os
import struct
from collections.abc import Iterable

import numpy as np

from heapwright.trace.notes import ELSEWHERE, Note
from heapwright.trace.recorder.sites import executable_mappings

NEW = "_Znwm"  # operator new(unsigned long)
USUAL = ("libc.so", "libc-", "ld-linux", "libstdc++", "libc++", "recorder")  # beginnings of names
DYNSYM, SYMBOL_BYTES = 11, 24  # SHT_DYNSYM; sizeof(Elf64_Sym)
SYMBOLS = 1 << 22  # of a file; one that claims more is not read


def defined(path: str, names: Iterable[str]) -> set[str]:
    """Those of `names` that the ELF file at `path` defines for others; nothing where it cannot be
    read."""
    wanted = {name.encode(): name for name in names}
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if text[:5] != b"\x7fELF\x02":
                return set()
            (table,) = struct.unpack_from("<Q", text, 40)
            entry, count = struct.unpack_from("<HH", text, 58)
            sections = [
                struct.unpack_from("<IIQQQQII", text, table + i * entry) for i in range(count)
            ]
            found = set()
            for _, kind, _, _, offset, size, link, _ in sections:
                if kind != DYNSYM or size > SYMBOLS * SYMBOL_BYTES:
                    continue
                strings = text[sections[link][4] : sections[link][4] + sections[link][5]]
                rows = np.frombuffer(text[offset : offset + size - size % SYMBOL_BYTES], np.uint8)
                rows = rows.reshape(-1, SYMBOL_BYTES)
                name = rows[:, :4].copy().view("<u4")[:, 0]
                section = rows[:, 6:8].copy().view("<u2")[:, 0]
                for text_of, told in wanted.items():
                    at = strings.find(b"\0" + text_of + b"\0") + 1
                    if at and ((name == at) & (section != 0)).any():
                        found.add(told)
            return found
    except (OSError, ValueError, struct.error, IndexError):
        return set()


def owners(process: str, executable: str) -> list[str]:
    """Notes on who else serves requests in a process, by its copies of /proc/PID/maps."""
    found: list[str] = []
    paths = dict.fromkeys(mapping[3] for mapping in executable_mappings(process))
    for path in paths:
        name = os.path.basename(path)
        if name.startswith(USUAL):
            continue
        its = defined(path, ("malloc", NEW))
        if "malloc" in its and os.path.realpath(path) == os.path.realpath(executable):
            text = (
                f"{name} defines malloc itself: what it and its libraries ask of that is not in "
                "the recording."
            )
        elif "malloc" in its:
            text = (
                f"{name} defines malloc too, and would have served the program: it was recorded on "
                "glibc's malloc instead."
            )
        elif NEW in its:
            text = (
                f"{name} defines operator new itself: what that serves without asking malloc is "
                "not in the recording."
            )
        else:
            continue
        found.append(Note(text, ELSEWHERE, 1))
    return found
