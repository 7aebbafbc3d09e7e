"""The front door: sizes to caches, larger ones to frames."""

import json
from pathlib import Path

from heapwright.linux.geometry import room_of

ROOT = Path(__file__).parents[2]


def test_the_room_of_every_request_of_a_boot_is_the_kernels():
    """bytes_req and bytes_alloc of a real 6.1's kmalloc events, each pair once."""
    key = (Path(__file__).parent / "keys" / "debian-kmalloc.txt").read_text()
    pairs = [tuple(map(int, line.split())) for line in key.splitlines()]
    assert len(pairs) > 200
    assert [(size, room_of(size)) for size, _ in pairs] == pairs


def test_room_is_a_general_cache_or_whole_frames():
    assert [room_of(n) for n in (1, 8, 9, 65, 97, 129, 193, 8192)] == [
        *(8, 8, 16, 96, 128, 192, 256, 8192)
    ]
    assert [room_of(n) for n in (8193, 16385, 40000)] == [16384, 32768, 65536]


def test_of_a_program_that_is_no_kernel_it_is_slub():
    """Which has no cache by name then: the same addresses, whatever way they are run."""
    kept = [
        json.loads((ROOT / "tests" / "golden" / f"{name}.json").read_text())["default"]
        for name in ("kmalloc", "slub")
    ]
    assert kept[0] == kept[1]
