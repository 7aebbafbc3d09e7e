"""Recordings of bytehound: recognised, and led through its own export to heaptrack's format.

    1  LENGTH (uint32)  LZ4 block ─► LENGTH (uint32)  KIND (uint32)  body     the first KIND is 0

Its events name addresses of a process whose files bytehound itself looks up, and its export writes
them with whole stacks as `heaptrack.py` reads them. Sizes in it are what the blocks had room for.

Source     bytehound: common/src/lz4_stream.rs, common/src/event.rs, cli/src/main.rs
"""

import struct
from collections.abc import Callable
from pathlib import Path

from heapwright.errors import HeapwrightError

TITLE = "recordings of bytehound (memory-profiling_*.dat)"
CHUNK_BYTES = 600 << 10  # of a block: 512 KiB, and what LZ4 adds to data that does not shrink


def recognises(head: bytes, path: Path) -> bool:
    """The first block begins with the length and the kind of a header, which LZ4 keeps as is."""
    try:
        first, block, token = struct.unpack_from("<BIB", head)
        at = 6 if token < 0xF0 else 7  # a long run has its length in another byte
        header, kind = struct.unpack_from("<II", head, at)
    except struct.error:
        return False
    sound = 0 < block <= CHUNK_BYTES and 0 < header < CHUNK_BYTES
    return sound and first == 1 and token >= 0x80 and kind == 0


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Say how such a recording is imported."""
    raise HeapwrightError(
        f"{path} is a recording of bytehound, which only bytehound reads: run `bytehound "
        f"export-heaptrack -o {path.stem}.heaptrack {path.name}` and import that file, stacks "
        "included; its sizes are what the blocks had room for, not what was asked for"
    )
