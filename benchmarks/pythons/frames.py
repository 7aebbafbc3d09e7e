"""Tables of pandas: made, joined, grouped, sorted, written as text and read again; a small result
of each is kept."""

import io
import time

import numpy as np
import pandas as pd

ROWS, TURNS = 120_000, 5

kept = []
random = np.random.default_rng(7)
for _turn in range(TURNS):
    sales = pd.DataFrame(
        {
            "shop": random.integers(0, 400, ROWS),
            "item": [f"item {n}" for n in random.integers(0, 900, ROWS)],
            "paid": random.random(ROWS) * 100,
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 90, ROWS), "D"),
        }
    )
    shops = pd.DataFrame({"shop": range(400), "town": [f"town {n % 37}" for n in range(400)]})
    joined = sales.merge(shops, on="shop").sort_values(["town", "day", "paid"])
    table = joined.pivot_table(index="town", columns="day", values="paid", aggfunc="sum")
    best = joined.groupby(["town", "item"], observed=True)["paid"].agg(["sum", "max", "count"])
    text = io.StringIO()
    joined.head(20_000).to_csv(text)
    text.seek(0)
    again = pd.read_csv(text, parse_dates=["day"])
    kept.append((table, best.nlargest(500, "sum"), again.describe()))
    del sales, joined, best, again, text
time.sleep(1.5)
