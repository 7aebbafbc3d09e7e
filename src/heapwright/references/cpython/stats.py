"""What sys._debugmallocstats() says, by name, of the real pymalloc and of its twin.

Source     CPython Objects/obmalloc.c, _PyObject_DebugMallocStats
Omits      the radix tree's nodes, whose number depends on where arenas lie
"""

import re
from typing import Any

from heapwright.managers.runtime.pymalloc.state import ARENA, COUNT, HEADER_BYTES, OWNER, POOLS

TOTALS = re.compile(r"^(?:# )?(.+?) += +([\d,]+)$", re.MULTILINE)
CLASS = re.compile(r"^ +(\d+) +\d+ +(\d+) +(\d+) +(\d+)$", re.MULTILINE)
ARENA_MAP = "arena map counts"  # what follows is omitted


def said_by(text: str) -> dict[str, int]:
    """The figures of its text; those of size classes as "class 3 pools"."""
    text = text.partition(ARENA_MAP)[0]
    found: dict[str, int] = {}
    for index, pools, used, free in CLASS.findall(text):
        found |= _of_class(int(index), int(pools), int(used), int(free))
    for name, figure in TOTALS.findall(text):
        found[re.sub(r"^\d+ ", "", name)] = int(figure.replace(",", ""))
    return found


def _of_class(index: int, pools: int, used: int, free: int) -> dict[str, int]:
    figures = {"pools": pools, "blocks in use": used, "avail blocks": free}
    return {f"class {index} {name}": figure for name, figure in figures.items()}


def stats_of(heap: Any) -> dict[str, int]:
    """The same of the twin's heap."""
    pool_bytes, words = int(heap.pool_bytes), heap.machine.words
    classes: dict[int, list[int]] = {}
    unused = lost = 0
    for row in range(1, int(heap.rows) + 1):
        if base := int(heap.arenas.base[row]):
            unused += int(heap.arenas.free[row])
            first = -(-base // pool_bytes) * pool_bytes
            lost += pool_bytes if first != base else 0
            for pool in range(first, int(heap.arenas.next_pool[row]), pool_bytes):
                if count := int(words[pool + COUNT >> 3]):
                    index = int(words[pool + OWNER >> 3]) >> 32
                    pools = classes.setdefault(index, [0, 0])
                    pools[0] += 1
                    pools[1] += count
    found: dict[str, int] = {}
    blocks = free = tails = in_use = 0
    for index, (held, used) in classes.items():
        size = 16 * (index + 1)
        capacity, tail = divmod(pool_bytes - HEADER_BYTES, size)
        found |= _of_class(index, held, used, held * capacity - used)
        blocks += used * size
        free += (held * capacity - used) * size
        tails += held * tail
        in_use += held
    current, made = int(heap.mapped), int(heap.paths[ARENA])
    return found | {
        "arenas allocated total": made,
        "arenas reclaimed": made - current,
        "arenas highwater mark": int(heap.most),
        "arenas allocated current": current,
        f"arenas * {pool_bytes * POOLS} bytes/arena": current * pool_bytes * POOLS,
        "bytes in allocated blocks": blocks,
        "bytes in available blocks": free,
        f"unused pools * {pool_bytes} bytes": unused * pool_bytes,
        "bytes lost to pool headers": in_use * HEADER_BYTES,
        "bytes lost to quantization": tails,
        "bytes lost to arena alignment": lost,
        "Total": current * pool_bytes * POOLS,
    }
