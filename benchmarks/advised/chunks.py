"""As of a scheduler of arrays: threads make chunks of a task graph, which die at its end, while
small results are kept among them."""

import time
from concurrent.futures import ThreadPoolExecutor

results = []


def task(number):
    """A chunk, and the small result that is made of it."""
    chunk = bytearray(60_000 + number * 997 % 60_000)
    return chunk, bytes(600 + number % 300)


with ThreadPoolExecutor(1) as pool:
    for graph in range(4):
        done = list(pool.map(task, range(graph * 900, graph * 900 + 900)))
        results += [small for _, small in done[::20]]
        time.sleep(0.1)
        del done
time.sleep(0.8)
