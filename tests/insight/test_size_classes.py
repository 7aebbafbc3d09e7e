"""The best size classes: against brute force, a naive count, and what real libraries answer."""

import json
import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heapwright as hw
from heapwright.errors import HeapwrightError
from heapwright.insight.class_rules import RULES
from heapwright.insight.class_search import best_classes
from heapwright.insight.size_classes import LARGEST, size_classes
from heapwright.references.malloc import systems
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, REALLOC, events
from small_traces import churn, write


def taken(classes, sizes, blocks):
    """Bytes that the blocks take, each in the least class that holds it."""
    return sum(
        count * min(c for c in classes if c >= size)
        for size, count in zip(sizes, blocks, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30)), min_size=1, max_size=8),
    st.integers(1, 5),
)
def test_no_table_of_so_many_classes_takes_less(demands, most):
    demands = dict(demands)
    sizes = np.array(sorted(demands), np.int64) * 16
    blocks = np.array([demands[size // 16] for size in sizes.tolist()], np.int64)
    found = best_classes(sizes, blocks, most)
    assert len(found) <= most and found[-1] == sizes[-1]
    least = min(
        taken(chosen, sizes.tolist(), blocks.tolist())
        for count in range(1, min(most, len(sizes)) + 1)
        for chosen in combinations(sizes.tolist(), count)
        if chosen[-1] == sizes[-1]
    )
    assert taken(found, sizes.tolist(), blocks.tolist()) == least


def naive(trace, measure):
    """Live blocks by size: at the peak, summed over events, or every request."""
    live, found, most = {}, {}, -1
    for batch in trace.batches(("op", "slot", "size")):
        for op, slot, size in zip(
            batch.op.tolist(), batch.slot.tolist(), batch.size.tolist(), strict=True
        ):
            live.pop(slot, None)
            if op != FREE:
                live[slot] = size
            counted = list(live.values()) if measure != "requests" else [size] * (op != FREE)
            if measure == "peak":
                if sum(counted) <= most:
                    continue
                most, found = sum(counted), {}
            for one in counted:
                found[one] = found.get(one, 0) + 1
    return found


@pytest.mark.parametrize("measure", ["peak", "mean", "requests"])
def test_what_a_table_loses_is_what_a_naive_count_says(measure, tmp_path):
    trace = write(tmp_path / "t.heap.parquet", churn(700))
    found = size_classes(trace, most=7, by=measure)
    assert len(found.sizes) == 7 and all(size % 16 == 0 for size in found.sizes)
    demands = naive(trace, measure)
    scale = trace.events if measure == "mean" else 1
    for table in found.tables:
        sizes, blocks = list(demands), list(demands.values())
        lost = taken(table.sizes, sizes, blocks) - sum(s * b for s, b in demands.items())
        assert table.lost_bytes[measure] == pytest.approx(lost / scale)
    best, *others = (table.lost_bytes[measure] for table in found.tables)
    assert all(
        best <= size_classes(trace, 7, by=by).tables[0].lost_bytes[measure]
        for by in ("peak", "mean", "requests")
    )
    assert others


def test_a_resize_and_an_alignment_and_what_is_larger(tmp_path):
    trace = write(
        tmp_path / "t.heap.parquet",
        events(
            op=[MALLOC, REALLOC, MEMALIGN, MALLOC],
            slot=[0, 0, 1, 2],
            size=[10, 100, 33, LARGEST + 1],
            align=[0, 0, 6, 0],
        ),
    )
    found = size_classes(trace)
    assert (found.sizes, found.requests, found.larger_requests) == ([48, 112], 3, 1)
    assert found.tables[0].lost_bytes == {
        "peak": 12 + 15,
        "mean": (38 * 1 + 12 * 3 + 15 * 2) / 4,
        "requests": 38 + 12 + 15,
    }
    assert found.notes == ["1 request for an alignment counted by size alone."]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"by": "luck"}, "one of peak, mean, requests"),
        ({"granule": 24}, "a power of two from 8"),
        ({"most": 0}, "--most is 1 to"),
        ({"largest": 100}, "a multiple of the granule"),
        ({"largest": 16}, "asks for no block of up to 16 bytes"),
    ],
)
def test_mistakes_are_sentences(options, sentence, tmp_path):
    trace = write(tmp_path / "t.heap.parquet", events(op=[MALLOC], slot=[0], size=[1000]))
    with pytest.raises(HeapwrightError, match=sentence):
        size_classes(trace, **options)


ASK = """
import ctypes, json, sys
library, prefix = ctypes.CDLL(sys.argv[1]), sys.argv[2]
malloc, free = getattr(library, prefix + "malloc"), getattr(library, prefix + "free")
usable = getattr(library, sys.argv[3])
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
usable.restype, usable.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
free.argtypes = [ctypes.c_void_p]
found = set()
for size in [*range(1, 4096), *range(4096, 262145, 64)]:
    block = malloc(size)
    found.add(usable(block))
    free(block)
print(json.dumps(sorted(found)))
"""


@pytest.mark.parametrize("name", ["jemalloc", "mimalloc", "tcmalloc"])
def test_the_rules_are_what_the_libraries_answer(name):
    presence = systems.presence(name)
    if presence.missing:
        pytest.skip(presence.missing)
    system = systems.SYSTEMS[name]
    words = [str(presence.library), system.prefix, system.usable]
    tunables = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=16384"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, *words],
        env=os.environ | tunables | system.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(asked.stdout) == [size for size in RULES[name](LARGEST) if size <= LARGEST]


def test_a_program_gets_the_table_and_its_file(tmp_path):
    trace = write(tmp_path / "t.heap.parquet", churn(300))
    found = hw.size_classes(trace, 5, output=tmp_path / "best.json")
    assert json.loads((tmp_path / "best.json").read_text())["sizes"] == found.sizes
