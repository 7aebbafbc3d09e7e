"""Snapshots as PyTorch dumps them, made of what its own library answered (managers/keys)."""

import numpy as np

from cuda_programs import CASES, FOLDER, rows_of
from heapwright.trace.schema import FREE

MIB = 1 << 20
BASE = 0x7F00_0000_0000
FRAMES = [
    {"name": "forward", "filename": "/app/model.py", "line": 12},
    {"name": "main", "filename": "/app/train.py", "line": 40},
]


def history(name="default"):
    """Events, and what each one left: live blocks (bytes, asked for, stream) and segments."""
    with np.load(FOLDER / f"cuda-caching-{name}.npz") as kept:
        offset, states = kept["offset"] << 9, kept["states"]
    told, live, segments = [], {}, {}
    allocated = reserved = 0
    at = {}
    for number, (op, slot, size, stream) in enumerate(rows_of(name)):
        more, grown = states[number, 0] - allocated, states[number, 1] - reserved
        allocated, reserved = states[number, :2]
        when = {"time_us": 10**15 + 50 * number, "stream": 16 * stream}
        if op == FREE:
            address = at.pop(slot)
            length, asked_for, _ = live.pop(address)
            assert -more == length
            for action in ("free_requested", "free_completed"):
                told.append({"action": action, "addr": address, "size": asked_for} | when)
            continue
        address = BASE + int(offset[number])
        if grown:
            segments[address] = (int(grown), 16 * stream)
            made = {"action": "segment_alloc", "addr": address, "size": int(grown)}
            told.append(made | when | {"frames": FRAMES})
        asked = {"action": "alloc", "addr": address, "size": size, "frames": FRAMES}
        told.append(asked | when)
        at[slot], live[address] = address, (int(more), size, 16 * stream)
    return told, live, segments


def snapshot(name="default", keep=1.0):
    """A snapshot whose history has the last share `keep` of the events."""
    told, live, segments = history(name)
    listed = []
    for start, (size, stream) in segments.items():
        blocks, here = [], start
        for address in sorted(each for each in live if start <= each < start + size):
            if address > here:
                blocks.append({"size": address - here, "state": "inactive"})
            blocks.append({"size": live[address][0], "state": "active_allocated"})
            here = address + live[address][0]
        if here < start + size:
            blocks.append({"size": start + size - here, "state": "inactive"})
        kind = "small" if size == 2 * MIB else "large"
        told_of = {"address": start, "total_size": size, "stream": stream, "segment_type": kind}
        listed.append(told_of | {"blocks": blocks, "device": 0})
    return {"segments": listed, "device_traces": [told[int(len(told) * (1 - keep)) :]]}


__all__ = ["BASE", "CASES", "history", "snapshot"]
