"""Many small objects of which every 300th outlives the rest: CPython's own arenas, which malloc
never sees, and a table of strings that it does."""

import gc
import time

objects = [{"id": i, "name": f"n{i}", "tags": (i, i + 1)} for i in range(150_000)]
texts = ["x" * (600 + i % 3000) for i in range(10_000)]
time.sleep(0.2)
kept = objects[::300]
some = texts[::50]
del objects, texts
gc.collect()
time.sleep(0.8)
