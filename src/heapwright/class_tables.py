"""Tables of size classes that were made for a program: read from a file, kept under a number.

A knob is an integer, and a table is many: so `classes=FILE` keeps the table in the cache under a
number made from its sizes, and that number is the knob's value. Whoever boots the manager looks the
table up again; equal tables have equal numbers everywhere.

    best.json   {"sizes": [48, 112, ...]}, or what `heapwright size-classes --json` prints
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from heapwright.cache import cache_home
from heapwright.errors import HeapwrightError

MOST_CLASSES = 4096  # of a file; a manager takes fewer
MOST_BYTES = 1 << 40
FILE_BYTES = 1 << 24


def read_table(path: Path) -> list[int]:
    """The sizes of a table's file, ascending; HeapwrightError for one that is none."""
    try:
        if path.stat().st_size > FILE_BYTES:
            raise HeapwrightError(f"{path} is longer than any table of size classes.")
        found: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise HeapwrightError(
            f"cannot read the table of size classes {path}: {error.strerror}"
        ) from None
    except ValueError:
        found = None
    if isinstance(found, dict):
        found = found.get("sizes", found.get("best", {}))
    if isinstance(found, dict):
        found = found.get("sizes")
    if not isinstance(found, list) or not all(type(size) is int for size in found):
        raise HeapwrightError(
            f'{path} holds no table of size classes: write {{"sizes": [16, 32, ...]}}, as '
            "`heapwright size-classes TRACE -o FILE` does."
        )
    sizes = sorted(set(found))
    if not 0 < len(sizes) <= MOST_CLASSES or sizes[0] <= 0 or sizes[-1] > MOST_BYTES:
        raise HeapwrightError(f"{path} holds no classes, too many, or one of no sensible size.")
    return sizes


def keep(sizes: Sequence[int]) -> int:
    """Keep a table; its number."""
    text = json.dumps(sorted(sizes))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
    path = _place(number)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
        beside.write_text(text)
        os.replace(beside, path)
    return number


def kept(number: int) -> list[int]:
    """The sizes of a table that was kept."""
    with contextlib.suppress(OSError, ValueError):
        return [int(size) for size in json.loads(_place(number).read_text())]
    raise HeapwrightError(
        f"no table of size classes is kept here under {number:#x}: set classes to the file."
    )


def _place(number: int) -> Path:
    return cache_home() / "classes" / f"{number:012x}.json"
