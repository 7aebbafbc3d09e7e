"""A real Python program recorded once: its own collections, and what other thresholds would do.

The program is recorded with a low threshold, so that the trace knows of a cycle soon after it was
dropped; then each of THRESHOLDS is predicted from that, and really run.
"""

import subprocess
import sys
from pathlib import Path
from typing import cast

import heapwright as hw
from benchmarks.tables import table
from heapwright.references.cpython.collections import Agreement
from heapwright.references.cpython.collector import interpreter
from heapwright.references.tally import percent
from heapwright.trace.recorder.graph import record_graph
from heapwright.words import bytes_text

RECORDED_AT = 100
THRESHOLDS = (700, 5_000, 20_000, 100_000)
TIMES = 20_000
PROGRAM = """
import gc, sys
gc.set_threshold(int(sys.argv[1]), 10, 10)
start = [one["collections"] for one in gc.get_stats()]
import json
class Node:
    def __init__(self, value):
        self.value, self.peers, self.named = value, [], {"me": self, "pad": "x" * 200}
def resident(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
kept, before = [], resident("VmRSS")
for i in range(int(sys.argv[2])):
    one, other = Node(i), Node(i + 1)
    one.peers.append(other)
    other.peers.append(one)
    if i % 7 == 0:
        kept.append(one)
    del kept[:-300]
    json.loads('{"x": [1, 2, {"y": 3}]}')
made = [one["collections"] - was for one, was in zip(gc.get_stats(), start)]
print(*made, resident("VmHWM") - before)
"""


def tables(folder: Path) -> str:
    """Both tables as Markdown."""
    script, trace = folder / "cycles.py", folder / "cycles.heap.parquet"
    script.write_text(PROGRAM)
    record_graph([*interpreter(), str(script), str(RECORDED_AT), str(TIMES)], trace)
    own = cast(Agreement, hw.validate("cpython", trace))
    made = " / ".join(f"{twin:,}" for twin, _ in own.made.values())
    real = " / ".join(f"{real:,}" for _, real in own.made.values())
    runs = own.runs
    row = [
        own.versions[1],
        f"{percent(runs.equal, runs.compared)} of {runs.compared:,}",
        made,
        real,
    ]
    first = table(
        ("CPython", "collections equal", "young / middle / old: twin", "real"),
        [row],
    )
    rows, least = [], (0, 0)
    for threshold in THRESHOLDS:
        print(f"cpython with threshold0={threshold}, predicted and run", file=sys.stderr)
        found = hw.replay("cpython", trace, {"threshold0": threshold})
        command = [*interpreter(), str(script), str(threshold), str(TIMES)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        seen = [int(word) for word in said]
        peaks = found.peak["resident_bytes"], seen[3]
        least = least if least[0] else peaks
        more = [f"{bytes_text(peak - low)}" for peak, low in zip(peaks, least, strict=True)]
        paths = " / ".join(f"{found.paths[name]:,}" for name in ("young", "middle", "old"))
        ran = " / ".join(f"{count:,}" for count in seen[:3])
        rows.append([f"`threshold0={threshold}`", paths, ran, *more])
    second = table(
        (
            "setting",
            "young / middle / old: predicted",
            "really run",
            f"peak over that at {THRESHOLDS[0]}: predicted",
            "really run",
        ),
        rows,
    )
    return f"{first}\n\n{second}"
