"""The records that processes of a flight leave behind, read."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from heapwright.result import PARTS
from heapwright.tunnel.ledger import RESIDENT_BYTES


@dataclass(frozen=True)
class ProcessStatistics:
    """What one process said when it ended."""

    program: str  # path of its executable
    process: int
    parent: int
    objects: int  # alive at the end
    resident_bytes: int
    parts: dict[str, int]  # <part>_bytes, which sum to resident_bytes; empty if not known
    mapped_bytes: int
    mapped_bytes_peak: int
    system_calls: int  # made by the manager
    paths: dict[str, int]  # times each was taken


def read_records(folder: Path, account: ModuleType) -> list[ProcessStatistics]:
    """Every record in a folder, in the order of process numbers, then of time.

    `account` is the module bound to the manager that flew. A record cut short is left out.
    """
    found = []
    for path in sorted(folder.iterdir(), key=lambda path: int(path.name)):
        words = np.fromfile(path, np.int64)
        while len(words) >= account.RECORD and words[account.WORDS] == account.RECORD:
            found.append(_read(words[: account.RECORD], account))
            words = words[account.RECORD :]
    return found


def _read(record: np.ndarray, account: ModuleType) -> ProcessStatistics:
    sample = record[account.SAMPLE : account.PATH_COUNTS].tolist()
    resident, *parts = sample[RESIDENT_BYTES:]
    counts = record[account.PATH_COUNTS : account.PROGRAM].tolist()
    name = record[account.PROGRAM :].tobytes().split(b"\0")[0]
    known = not record[account.LACKING]
    return ProcessStatistics(
        program=name.decode(errors="replace"),
        process=int(record[account.PROCESS]),
        parent=int(record[account.PARENT]),
        objects=int(record[account.OBJECTS]),
        resident_bytes=resident if known else 0,
        parts=dict(zip((f"{part}_bytes" for part in PARTS), parts, strict=True)) if known else {},
        mapped_bytes=int(record[account.MAPPED_NOW]),
        mapped_bytes_peak=int(record[account.MAPPED_PEAK]),
        system_calls=int(record[account.SYSTEM_CALLS]),
        paths=dict(zip(account.loop.manager.PATHS, counts, strict=True)),
    )
