"""The bytes of a recording, plain or compressed, in pieces of bounded size.

    path ─► plain | gzip | zstd | zip with one file ─► Source.read(count)

A compressed stream that breaks off (its program was killed) yields what it holds, and
`broken_off` says so; one that is damaged is a sentence. A file that expands without end is refused.
"""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from heapwright.errors import HeapwrightError
from heapwright.trace.layout import first_line

PIECE_BYTES = 1 << 22
EXPANDED_BYTES = 1 << 30  # up to here a file may expand as it likes
EXPANSION = 1000  # past that, at most so many times; text of recordings does 10 to 40
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # begins text of two bytes a character
_FAULTS = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)


class Source:
    """An open recording. `share` tells how much of the file has been read."""

    def __init__(self, path: Path, raw: BinaryIO, size: int) -> None:
        self.path, self.size = path, size
        self.broken_off = False
        self.expanded = 0  # bytes given out so far
        self._raw = raw
        self._stream: Any = raw
        self._ahead = b""
        self._kind = next(
            (kind for magic, kind in _COMPRESSIONS.items() if _starts(raw, magic)), ""
        )
        try:
            if self._kind == "zip":
                self._stream = self._only_member()
            elif self._kind:
                self._stream = pa.CompressedInputStream(raw, self._kind)
        except _FAULTS as error:
            raise self._damaged(error) from None

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    @property
    def parquet(self) -> BinaryIO | None:
        """The file itself if it is a Parquet file, which is not read from front to back."""
        return self._raw if not self._kind and self.peek(4) == b"PAR1" else None

    def most(self, record_bytes: int, limit: int) -> int:
        """How many records of `record_bytes` the recording can hold, at most `limit`."""
        return limit if self._kind else min(limit, self.size // record_bytes + 2)

    @property
    def share(self) -> float:
        """Share of the file that has been read."""
        return min(self._raw.tell() / self.size, 1.0) if self.size else 1.0

    def peek(self, count: int) -> bytes:
        """The next bytes, which `read` gives again."""
        while len(self._ahead) < count and (more := self._read(count - len(self._ahead))):
            self._ahead += more
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """The next bytes, at most `count`, none at the end; HeapwrightError for damaged ones."""
        if self._ahead:
            piece, self._ahead = self._ahead[:count], self._ahead[count:]
            return piece
        return self._read(count)

    def _read(self, count: int) -> bytes:
        try:
            piece = bytes(self._stream.read(count))
        except _FAULTS as error:
            words = str(error).lower()
            if isinstance(error, EOFError) or "truncated" in words or "end of" in words:
                self.broken_off = True
                return b""
            raise self._damaged(error) from None
        if self.expanded == 0:
            if piece.startswith(_WIDE):
                raise HeapwrightError(
                    f"{self.path} is UTF-16 text, as some tools of Windows write it: save it as "
                    "UTF-8 and import that"
                )
            piece = piece.removeprefix(_BYTE_ORDER_MARK)
        self.expanded += len(piece)
        if self._kind and self.expanded > max(EXPANDED_BYTES, EXPANSION * self.size):
            raise HeapwrightError(
                f"{self.path} expands to more than {EXPANSION:,} times its size, which no "
                "recording does; unpack it yourself if you trust it"
            )
        return piece

    def _only_member(self) -> Any:
        archive = zipfile.ZipFile(self._raw)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise HeapwrightError(
                f"{self.path} holds {len(members)} files: unpack it and import one of them"
            )
        if members[0].flag_bits & 1:
            raise HeapwrightError(f"{self.path} is encrypted: unpack it first")
        return archive.open(members[0])

    def _damaged(self, error: Exception) -> HeapwrightError:
        reason = first_line(error)
        where = "expanded, " if self._kind else ""
        return HeapwrightError(
            f"{self.path} is damaged after byte {self.expanded:,} ({where}{reason}); "
            "copy or record it again"
        )


def open_source(path: Path) -> Source:
    """The recording `path`, to be read once."""
    try:
        raw = path.open("rb")
        return Source(path, raw, path.stat().st_size)
    except OSError as error:
        raise HeapwrightError(f"cannot open {path}: {error.strerror}") from None


def plain(head: bytes) -> bytes:
    """The head of a text as its format's pattern wants it, however it was spaced.

    One space for any run of spaces and tabs, none at the ends of a line, no empty lines, no
    carriage returns and no byte order mark.
    """
    lines = [b" ".join(line.split()) for line in head.removeprefix(_BYTE_ORDER_MARK).split(b"\n")]
    return b"\n".join([*filter(None, lines[:-1]), lines[-1]])


def in_memory(content: bytes, path: Path = Path("recording")) -> Source:
    """`content` as if it were a file."""
    return Source(path, io.BytesIO(content), len(content))


def _starts(raw: BinaryIO, magic: bytes) -> bool:
    found = raw.read(len(magic)) == magic
    raw.seek(0)
    return found
