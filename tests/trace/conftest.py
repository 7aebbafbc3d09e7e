"""A small trace for the tests of trace files, and a program that repeats a recording."""

import pytest

from recorded import REPLAY, compiled
from small_traces import SMALL, write


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "small.heap.parquet", SMALL, heap_start=4096, notes=["A note."])


@pytest.fixture(scope="session")
def replay(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    (folder / "replay.c").write_text(REPLAY)
    return compiled(folder, folder / "replay.c")
