"""A small trace for the tests of trace files."""

import pytest

from small_traces import SMALL, write


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small.heap.parquet", SMALL, heap_start=4096, notes=["A note."])
