"""The arenas that a recorded Python's own allocator made and gave back, as the footer keeps them.

rows    event, base, bytes: made during that event; bytes negative: given back by it
stored  base64 of zlib of int64 rows, little-endian
"""

import base64
import zlib

import numpy as np

ROWS = 1 << 18  # at most


def stored(rows: np.ndarray) -> bytes:
    """int64[row, 3] as the footer keeps it."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(rows, "<i8").tobytes(), 6))


def loaded(text: bytes, rows: int, events: int) -> np.ndarray:
    """int64[row, 3] of a footer that promises `rows`; a ValueError says what is wrong."""
    if not 0 <= rows <= ROWS:
        raise ValueError("it has more arenas than are kept")
    stream = zlib.decompressobj()
    try:
        packed = stream.decompress(base64.b64decode(text, validate=True), 24 * rows + 1)
    except (ValueError, zlib.error):
        raise ValueError("its arenas cannot be unpacked") from None
    if len(packed) != 24 * rows or not stream.eof:
        raise ValueError("its arenas are not those that its facts count")
    found = np.frombuffer(packed, "<i8").reshape(rows, 3).astype(np.int64)
    if ((found[:, 0] < 0) | (found[:, 0] > events) | (np.diff(found[:, 0], prepend=0) < 0)).any():
        raise ValueError("its arenas are not in the order of its events")
    return found
