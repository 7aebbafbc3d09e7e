"""What ART writes to the log of a collection.

    Background concurrent copying GC freed 12(480B) AllocSpace objects, 3(60KB) LOS objects,
    49% free, 3072KB/6144KB, paused 100us total 5.200ms                      (one line)

Source     ART 11 runtime/gc/heap.cc (LogGC), libartbase/base/utils.cc (PrettySize), time_utils.cc
           (PrettyDuration)
"""

import numpy as np

from heapwright.collectors.android.history import rows
from heapwright.managers.runtime.art.state import CAUSES, CLAMP, LARGE_SHIFT, OOM

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNITS = ((10 * GIB, GIB, "GB"), (10 * MIB, MIB, "MB"), (10 * KIB, KIB, "KB"), (0, 1, "B"))
TIMES = ((10**9, "s"), (10**6, "ms"), (10**3, "us"))


def size_text(size):
    """As "9999KB": a unit from ten of it on."""
    _least, unit, name = next(row for row in UNITS if size >= row[0])
    return f"{size // unit}{name}"


def time_text(ns):
    """As "5.200ms": to the microsecond, three digits at most."""
    ns = ns // 1000 * 1000
    if not ns:
        return "0"
    divisor, name = next(row for row in TIMES if ns >= row[0])
    whole, rest = divmod(ns, divisor)
    digits = f"{rest:0{len(str(divisor)) - 1}d}"[:3]
    return f"{whole}.{digits}{name}" if rest else f"{whole}{name}"


def line(what, figures, paused_ms):
    """One line: the row's figures, and how long it stood still."""
    if what == CLAMP:
        before, after = map(size_text, figures[:2])
        return f"Clamp target GC heap from {before} to {after}"
    if what == OOM:
        need, free, left, target, limit = figures[:5]
        return (
            f'Throwing OutOfMemoryError "Failed to allocate a {need} byte allocation with {free} '
            f"free bytes and {size_text(left)} until OOM, target footprint {target}, growth limit "
            f'{limit}"'
        )
    freed, objects, of_large, allocated, target = figures[:5]
    large_freed, large = of_large >> LARGE_SHIFT, of_large & ((1 << LARGE_SHIFT) - 1)
    total = max(target, allocated)
    share = int(np.float32(100) * np.float32(total - allocated) / np.float32(target))
    paused = time_text(round(paused_ms * 1e6))
    return (
        f"{CAUSES[what]} concurrent copying GC freed {objects}({size_text(freed)}) AllocSpace "
        f"objects, {large}({size_text(large_freed)}) LOS objects, {share}% free, "
        f"{size_text(allocated)}/{size_text(total)}, paused {paused} total {paused}"
    )


def lines(heap, pauses_ms):
    """(event, line) of each; the pauses are those of the twin on this machine."""
    told = []
    for event, what, *figures in rows(heap).tolist():
        pause = figures[5]
        told.append((event, line(what, figures, pauses_ms[pause] if pause < len(pauses_ms) else 0)))
    return told
