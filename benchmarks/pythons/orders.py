"""A service with pandas: four threads answer requests, each of which joins, groups, sorts, writes
and reads a table of another length. It looks at its own memory after each dozen of requests.

Prints what keeping.c prints: seconds of processor and of wall time, and in KiB the peak of resident
memory, its mean over the looks, and what stays.
"""

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

THREADS, LOOKS, REQUESTS = 4, 12, 12
TOWNS, LONGEST = 500, 40_000
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024

towns = pd.DataFrame(
    {
        "town": [f"town {number}" for number in range(TOWNS)],
        "country": [f"country {number % 40}" for number in range(TOWNS)],
        "people": np.random.default_rng(7).integers(1000, 10**7, TOWNS),
    }
)


def answer(seed):
    """One request; the length of what is sent."""
    random = np.random.default_rng(seed)
    rows = int(random.integers(1000, LONGEST))
    orders = pd.DataFrame(
        {
            "town": [f"town {number}" for number in random.integers(0, TOWNS, rows)],
            "paid": random.random(rows) * 100,
            "pieces": random.integers(1, 20, rows),
        }
    )
    joined = orders.merge(towns, on="town")
    sums = joined.groupby("country").agg({"paid": ["sum", "mean"], "pieces": "max"})
    dearest = joined.sort_values("paid").tail(100)
    text = io.StringIO(orders.head(2000).to_csv(index=False))
    return len(dearest.to_json()) + len(sums) + len(pd.read_csv(text))


def resident_kb():
    """What is resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KB


began, looks = time.monotonic(), []
with ThreadPoolExecutor(THREADS) as pool:
    for look in range(LOOKS):
        list(pool.map(answer, range(look * REQUESTS, (look + 1) * REQUESTS)))
        looks.append(resident_kb())
status = Path("/proc/self/status").read_text()
peak_kb = int(status.partition("VmHWM:")[2].split()[0])
seconds = time.process_time(), time.monotonic() - began
print(*(f"{each:.3f}" for each in seconds), peak_kb, round(sum(looks) / len(looks)), looks[-1])
