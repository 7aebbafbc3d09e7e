"""What the charts about collectors are given."""

import json

import numpy as np

from heapwright.report.collector_charts import chart_data, collected
from heapwright.result import CYCLE
from made_results import collecting, generations, made


def test_those_with_a_collector_stand_by_name_and_settings():
    did = collecting()
    order = [
        made("tri-colour", collecting=did, settings={"barrier": 2}),
        made("buddy"),
        made("semispace", collecting=did),
        made("tri-colour", collecting=did, settings={"barrier": 1}),
    ]
    found = collected(order)
    assert [result for result, _ in found] == [order[2], order[3], order[0]]
    assert all(each is did for _, each in found)


def test_each_column_of_the_cycles_has_its_name():
    cycles = np.arange(2 * len(CYCLE)).reshape(2, len(CYCLE))
    told = chart_data("semispace", collecting(cycles=cycles))
    assert told["cycles"] == {name: [n, n + len(CYCLE)] for n, name in enumerate(CYCLE)}
    assert (told["title"], told["kinds"], told["collections"]) == (
        "semispace",
        ["full", "minor"],
        1255,
    )
    assert told["pauses"] == [0, 0, 5]
    assert told["utilisation"] == [(1000, 0.0), (2000, 0.5)]
    assert told["survival"] == {"full": 0.5, "minor": 0.031}


def test_the_generations_stand_by_column_on_the_page_and_in_json():
    assert chart_data("semispace", collecting())["generations"] is None
    assert "generations" not in collecting().to_json()
    did = collecting(generations=generations())
    told = chart_data("hotspot-serial", did)["generations"]
    assert told == did.to_json()["generations"]
    assert told["collections"]["old_before"] == [10, 60, 260]
    assert told["collections"]["promoted"] == [50, 200, 0]
    assert told["ages"] == [60, 40, 0] and told["threshold"] == 2
    json.dumps(did.to_json())
