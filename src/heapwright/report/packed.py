"""Columns of integers as short text: bytes in planes, compressed, base64. `draw.js` reads them.

A column is written as all its lowest bytes, then all its second ones, and so on: the high planes
of small numbers are zeros, which compress to nothing. A sorted column is first turned into
differences, and these into naturals (0, -1, 1, -2, ... become 0, 1, 2, 3, ...).
"""

import base64
import zlib

import numpy as np


class Packed:
    """Collects columns of one text."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def add(self, column: np.ndarray, *, delta: bool = False) -> list[int]:
        """Append integers, natural unless `delta`; what `column()` of draw.js wants to be told:
        where, how many, bytes each, whether differences."""
        values = column.astype(np.int64)
        if delta:
            values = np.diff(values, prepend=0)
            values = (values << 1) ^ (values >> 63)
        width = max(1, (int(values.max(initial=0)).bit_length() + 7) // 8)
        planes = values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width]
        place = [self._length, len(column), width, int(delta)]
        self._append(np.ascontiguousarray(planes.T).tobytes())
        return place

    def add_frames(self, frames: np.ndarray) -> list[int]:
        """Append uint8[frame, cell], each frame as its difference from the one before."""
        changes = np.diff(frames, axis=0, prepend=np.zeros((1, frames.shape[1]), np.uint8))
        place = [self._length, *frames.shape]
        self._append(changes.tobytes())
        return place

    def text(self) -> str:
        """All columns."""
        return base64.b64encode(zlib.compress(b"".join(self._pieces))).decode()

    def _append(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._length += len(piece)
