"""Packed columns, unpacked the slow way."""

import base64
import zlib

import numpy as np
import pytest

from heapwright.report.packed import Packed


def unpacked(text, place):
    """What `column` of draw.js makes of it."""
    raw = zlib.decompress(base64.b64decode(text))
    start, count, width, delta = place
    planes = [raw[start + k * count : start + (k + 1) * count] for k in range(width)]
    values = [sum(plane[n] << 8 * k for k, plane in enumerate(planes)) for n in range(count)]
    if not delta:
        return values
    steps = [-(v + 1) // 2 if v % 2 else v // 2 for v in values]
    return np.cumsum(steps).tolist()


@pytest.mark.parametrize("delta", [False, True])
def test_columns_come_back(delta):
    draw = np.random.default_rng(4)
    columns = [
        draw.integers(0, 1 << bits, 500) >> draw.integers(0, bits + 1, 500) for bits in (3, 16, 36)
    ]
    columns += [np.zeros(0, np.int64), np.zeros(9, np.uint8), np.arange(1 << 30, (1 << 30) + 50)]
    packed = Packed()
    places = [packed.add(column, delta=delta) for column in columns]
    text = packed.text()
    assert [unpacked(text, place) for place in places] == [c.tolist() for c in columns]
    assert places[0][2] == 1
    values = np.array([0, 255, 256, 1 << 16, (1 << 24) - 1])
    assert [packed.add(values[:n])[2] for n in (0, 1, 2, 3, 4, 5)] == [1, 1, 1, 2, 3, 3]


def test_frames_are_kept_as_changes():
    frames = np.random.default_rng(5).integers(0, 19, (7, 40)).astype(np.uint8)
    packed = Packed()
    start, count, cells = packed.add_frames(frames)
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed.text())), np.uint8)
    changes = raw[start : start + count * cells].reshape(count, cells)
    assert (np.cumsum(changes, axis=0, dtype=np.uint8) == frames).all()
