"""What a recording asks of the recorder: the file `control` beside the logs, see control.h.

`record` and the recorders of all its processes map the same page.
"""

import contextlib
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = 0x314C544E4F435748
BYTES = 4096
CHUNK_BYTES = 1 << 16  # by which a log grows, as in log.h
# Words of the page, as struct control has them.
_MAGIC, DEPTH, STATE, MOST, USED, SEGMENT, OWNER, NO_PYTHON = range(8)
RECORD, WAIT, STOP = range(3)  # STATE


class Control:
    """The page, mapped; words are read and written at once."""

    def __init__(self, folder: Path) -> None:
        path = folder / "control"
        if not path.exists():
            path.write_bytes(struct.pack("=Q", MAGIC).ljust(BYTES, b"\0"))
            path.chmod(0o600)
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), BYTES)
        self._words = memoryview(self._page).cast("Q")

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def __setitem__(self, word: int, value: int) -> None:
        self._words[word] = value

    def close(self) -> None:
        """Unmap it."""
        self._words.release()
        self._page.close()


@contextlib.contextmanager
def controlled(folder: Path) -> Iterator[Control]:
    """The page of a recording's folder, made if there is none."""
    page = Control(folder)
    try:
        yield page
    finally:
        page.close()
