"""The names in heaptrack's recordings: program, files, functions; and the frames made of them.

    raw          x PATH / m PATH BASE (OFFSET BYTES)*       a file and where it was mapped
    interpreted  s STRING, i IP FILE FUNCTION (SOURCE LINE (FUNCTION SOURCE LINE)*)
    both         X COMMAND

From version 3 on a string or path comes after its length. Indices count from 1, 0 is none.
"""

import bisect
import contextlib

KEPT = 1 << 12  # lines with names that one call of the scan kernel can mark
NAMES_BYTES = 1 << 26  # of names that are kept at most
SEGMENTS = 1 << 14  # mapped by a process at most; Linux allows 65,530 mappings of all kinds
FRAMES_BYTES = 1 << 24  # of the whole table of frames
NAME_BYTES = 160  # of one function


class Names:
    """What the lines with names have told so far."""

    def __init__(self) -> None:
        self.program = ""
        self._strings: list[str] = []
        self._frames: list[bytes] = []  # `i` lines, read when a label wants them
        self._starts: list[int] = []  # of mapped segments, ascending
        self._files: list[tuple[int, str]] = []  # base address and file of each
        self._executable = ""
        self._bytes = 0
        self.left_out = 0  # lines with names past NAMES_BYTES

    def read(self, line: bytes) -> None:
        """Take in a line; one that is not understood names nothing."""
        self._bytes += len(line) + 64
        if self._bytes > NAMES_BYTES:
            self.left_out += 1
            return
        kind, rest = line[:1], line[2:].replace(b"\t", b" ").strip(b" ")
        with contextlib.suppress(ValueError, IndexError):
            if kind == b"X":
                self.program = rest.decode(errors="replace")[:NAME_BYTES]
            elif kind == b"x":
                self._executable = _counted(rest)[0]
            elif kind == b"s":
                self._strings.append(_counted(rest)[0])
            elif kind == b"i":
                self._frames.append(rest)
            elif kind == b"m":
                self._mapped(rest)

    def _mapped(self, rest: bytes) -> None:
        path, after = _counted(rest)
        if path == "-":
            self._starts, self._files = [], []
            return
        numbers = [int(word, 16) for word in after.split()]
        name = (self._executable if path == "x" else path).rpartition("/")[2]
        for offset, size in zip(numbers[1::2], numbers[2::2], strict=False):
            if size and len(self._starts) < SEGMENTS:
                place = bisect.bisect(self._starts, numbers[0] + offset)
                self._starts.insert(place, numbers[0] + offset)
                self._files.insert(place, (numbers[0], name))

    def frames(self, places: list[int]) -> list[str]:
        """The name of each address or `i` line; see `Trace.frames` for inlined functions."""
        names: list[str] = []
        total = 0
        for where in places:
            names.append("\n".join(reversed(self._frame(where))) if total < FRAMES_BYTES else "?")
            total += len(names[-1])
        return names

    def _frame(self, where: int) -> list[str]:
        """The functions at an address (raw) or of an `i` line (interpreted), inlined ones first."""
        if not self._frames:
            place = bisect.bisect(self._starts, where) - 1
            if place < 0:
                return [f"{where:#x}"]
            base, name = self._files[place]
            return [f"{name}+{where - base:#x}"[:NAME_BYTES]]
        if not 0 < where <= len(self._frames):
            return ["unknown"]
        try:
            entry = [int(word, 16) for word in self._frames[where - 1].split()]
        except ValueError:
            return ["unknown"]
        if len(entry) < 3:
            file = self._string(entry[1]).rpartition("/")[2] if len(entry) > 1 else ""
            return [f"{file or 'unknown'} {entry[0] if entry else 0:#x}"]
        found = []
        for first in range(2, len(entry), 3):
            name, rest = self._string(entry[first]), entry[first + 1 : first + 3]
            source = "/".join(self._string(rest[0]).split("/")[-2:]) if len(rest) == 2 else ""
            found.append(f"{name} ({source}:{rest[1]})" if source else name)
        return [text[:NAME_BYTES] for text in found]

    def _string(self, index: int) -> str:
        return self._strings[index - 1] if 0 < index <= len(self._strings) else "unknown"


def _counted(rest: bytes) -> tuple[str, bytes]:
    """(string, what follows) of `LENGTH STRING ...`, or of an old `STRING ...` without length."""
    length, space, after = rest.partition(b" ")
    after = after.lstrip(b" ")
    if space:
        with contextlib.suppress(ValueError):
            count = int(length, 16)
            if 0 < count <= len(after) and after[count : count + 1] in (b"", b" "):
                return after[:count].decode(errors="replace"), after[count:]
    return rest.decode(errors="replace"), b""
