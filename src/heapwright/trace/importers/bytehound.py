"""Recordings of bytehound: recognised, and led through its own export to heaptrack's format.

    1  LENGTH (uint32)  LZ4 block ─► LENGTH (uint32)  KIND (uint32)  body     the first KIND is 0

Its events name addresses of a process whose files bytehound itself looks up, and its export writes
them with whole stacks as `heaptrack.py` reads them. Sizes in it are what the blocks had room for.

Source     bytehound: common/src/lz4_stream.rs, common/src/event.rs, cli/src/main.rs
"""

from collections.abc import Callable
from pathlib import Path

from heapwright.errors import HeapwrightError

TITLE = "recordings of bytehound (memory-profiling_*.dat)"
CHUNK_BYTES = 600 << 10  # of a block: 512 KiB, and what LZ4 adds to data that does not shrink


def recognises(head: bytes, path: Path) -> bool:
    """The first block begins with the length and the kind of a header, which LZ4 keeps as is."""
    literals = 6 if head[5:6] < b"\xf0" else 7  # a long run has its length in another byte
    return (
        head[:1] == b"\x01"
        and 0 < int.from_bytes(head[1:5], "little") <= CHUNK_BYTES
        and head[5:6] >= b"\x80"
        and 0 < int.from_bytes(head[literals : literals + 4], "little") < CHUNK_BYTES
        and head[literals + 4 : literals + 8] == bytes(4)
    )


def import_trace(path: Path, output: Path, advance: Callable[[float], None]) -> None:
    """Say how such a recording is imported."""
    raise HeapwrightError(
        f"{path} is a recording of bytehound, which only bytehound reads: run `bytehound "
        f"export-heaptrack -o {path.stem}.heaptrack {path.name}` and import that file, stacks "
        "included; its sizes are what the blocks had room for, not what was asked for"
    )
