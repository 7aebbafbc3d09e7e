"""What Dalvik writes to the log: a line for each collection, and for what led to it.

    GC_FOR_ALLOC freed 702K, 35% free 1344K/2048K, paused 3ms, total 3ms

Source     Android 4.4 dalvik/vm/alloc/Heap.cpp, HeapSource.cpp
"""

import numpy as np

from heapwright.collectors.android.history import rows
from heapwright.managers.runtime.dalvik.state import (
    BEFORE_OOM,
    CAUSES,
    CLAMP,
    COLLECT,
    CONCURRENT,
    FOR_ALLOC,
    FORCE,
    GROW,
    OOM,
)

KIB, MIB = 1 << 10, 1 << 20
PRIME = 1099511628211


def mib(size):
    """As "4.776MB"."""
    return f"{size // MIB}.{size // KIB % KIB * 1000 // KIB:03d}MB"


def line(what, values, paused_ms):
    """One line: (four figures), and how long it stood still."""
    if what == CLAMP:
        return f"Clamp target GC heap from {mib(values[0])} to {mib(values[1])}"
    if what == GROW:
        return f"Grow heap (frag case) to {mib(values[0])} for {values[1]}-byte allocation"
    if what == FORCE:
        return f"Forcing collection of SoftReferences for {values[0]}-byte allocation"
    if what == OOM:
        return f"Out of memory on a {values[0]}-byte allocation."
    freed, live, footprint = values[:3]
    small = "<" if 0 < freed < KIB else ""
    shown = max(freed // KIB, 1) if freed else 0
    share = np.float32(100) * np.float32(live) / np.float32(footprint)
    paused = f"{paused_ms}ms+0ms" if what == CONCURRENT else f"{paused_ms}ms"
    return (
        f"{CAUSES[what]} freed {small}{shown}K, {100 - int(share)}% free "
        f"{live // KIB}K/{footprint // KIB}K, paused {paused}, total {paused_ms}ms"
    )


def summary(heap):
    """(collections for an allocation, beside the program, before it is out of memory), and a digest
    of what each freed, left, had taken and aims at: as heap_source.c of the references has it."""
    digest = 0
    for _, what, *values in rows(heap).tolist():
        if what <= BEFORE_OOM:
            for value in values[:4]:
                digest = ((digest ^ value) * PRIME & (1 << 64) - 1) >> 1
    counts = [int(heap.paths[COLLECT + what]) for what in (FOR_ALLOC, CONCURRENT, BEFORE_OOM)]
    return tuple(counts), digest


def lines(heap, pauses_ms):
    """(event, line) of each; the pauses are those of the twin on this machine."""
    told = []
    for event, what, *values in rows(heap).tolist():
        paused = pauses_ms[values[5]] if values[5] < len(pauses_ms) else 0
        told.append((event, line(what, values, round(paused))))
    return told
