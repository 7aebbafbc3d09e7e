"""Records itself again and again; prints what the traces hold, as JSON."""

import json
import sys
import threading
import tracemalloc
from pathlib import Path

import heapwright as hw

folder = Path(sys.argv[1])
told = {}


def grow(count):
    return [bytearray(1000) for _ in range(count)]


def described(trace):
    import collections

    lines = collections.Counter()
    for batch in trace.batches(["site", "size"]):
        for site, size in zip(batch.site.tolist(), batch.size.tolist(), strict=True):
            if size == 1001:  # a bytearray keeps a byte more
                lines[trace.stack(site)[-1] if site >= 0 else "?"] += 1
    return {
        "python": trace.python,
        "threads": trace.threads,
        "live": trace.peak_live_bytes,
        "lines": lines.most_common(2),
        "notes": trace.notes,
    }


# A thread that lives through all of them has its part in each.
begin, done = threading.Barrier(2), threading.Barrier(2)


def beside():
    for count in (0, 200, 300):
        begin.wait()
        kept = grow(count)
        done.wait()
        del kept


thread = threading.Thread(target=beside)
thread.start()
for turn in range(3):
    with hw.recording(folder / f"{turn}.heap.parquet") as here:
        begin.wait()
        kept = grow(1000 + turn)
        done.wait()
    told[f"turn {turn}"] = described(here.trace)
thread.join()


# It lives on after so many events that their numbers have more than 16 bits.
def long():
    for count in (40_000, 300):
        begin.wait()
        kept = grow(count)
        done.wait()
        del kept


thread = threading.Thread(target=long)
thread.start()
for _ in range(2):
    with hw.recording(folder / "long.heap.parquet") as here:
        begin.wait()
        done.wait()
told["after a long one"] = described(here.trace)
thread.join()
try:
    with hw.recording(folder / "raised.heap.parquet") as here:
        kept = grow(10)
        raise KeyError("left early")
except KeyError:
    told["raised"] = described(here.trace)
try:
    with hw.recording(folder / "outer"), hw.recording(folder / "inner"):
        pass
except hw.HeapwrightError as error:
    told["nested"] = str(error)
with hw.recording(folder / "wrapped.heap.parquet") as here:
    tracemalloc.start()  # over the recorder's hooks, and left there
with hw.recording(folder / "after.heap.parquet") as here:
    kept = grow(10)
told["after tracemalloc"] = described(here.trace)
tracemalloc.stop()
with hw.recording(folder / "last.heap.parquet") as here:
    kept = grow(10)
told["at last"] = described(here.trace)
told["left behind"] = sorted(path.name for path in folder.iterdir())
print(json.dumps(told))
