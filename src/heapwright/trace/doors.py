"""By which door a kernel's own requests came: kmalloc, a cache by name, or whole pages; and flags.

    event.field - 1 ─► row of the table of doors      0: kmalloc with the usual flags

Stored in the trace's footer as JSON, a list of [call, gfp, cache, object bytes, align].
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

KMALLOC, CACHE, PAGES = CALLS = ("kmalloc", "cache", "pages")
MOST_DOORS = 1 << 16
OBJECT_LIMIT = 1 << 22  # bytes: no slab is larger


@dataclass(frozen=True)
class Door:
    """One way in."""

    call: str  # one of CALLS
    gfp: int  # flags, as Linux 6.1 numbers them
    cache: str = ""  # its name
    object_size: int = 0  # bytes of a cache's objects
    align: int = 0  # of them, bytes; 0 a word


def stored(doors: Sequence[Door]) -> bytes:
    """The table as it is kept."""
    return json.dumps([astuple(door) for door in doors]).encode()


def loaded(text: bytes) -> list[Door]:
    """A stored table; ValueError where it is none."""
    rows = json.loads(text)
    if not isinstance(rows, list) or len(rows) > MOST_DOORS:
        raise ValueError("its table of doors is none")
    found = []
    for row in rows:
        if not isinstance(row, list) or [type(each) for each in row] != [str, int, str, int, int]:
            raise ValueError("its table of doors has a row of another form")
        door = Door(*row)
        sized = 0 < door.object_size <= OBJECT_LIMIT if door.call == CACHE else True
        aligned = door.align in range(OBJECT_LIMIT) and not door.align & (door.align - 1)
        if door.call not in CALLS or not 0 <= door.gfp < 1 << 32 or not sized or not aligned:
            raise ValueError(f"its table of doors has an unknown door {door.call!r}")
        found.append(door)
    return found
