"""The real pymalloc in a fresh process, and its twin beside it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import heapwright as hw
from heapwright.errors import HeapwrightError
from heapwright.references.cpython import agreement, build
from heapwright.references.cpython.agreement import NOWHERE, OUTSIDE, Arenas
from heapwright.references.cpython.driver import Drive
from heapwright.references.cpython.stats import said_by
from heapwright.references.malloc import agreement as mallocs
from heapwright.references.nginx import agreement as nginx
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, REALLOC, events
from small_traces import churn, write

MISSING = build.missing()
installed = pytest.mark.skipif(bool(MISSING), reason=MISSING or "is here")


@installed
def test_the_twin_agrees_with_the_python_that_is_here(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.heap.parquet", churn(3000))
    found = hw.validate("pymalloc", trace)
    assert found.agrees, found.sentences()
    said = found.to_json()
    assert said["addresses"]["compared"] > 50 and said["passed"]["compared"] > 500
    assert said["stats"]["compared"] >= 12 and said["arenas_made"]["real"] >= 1
    assert said["versions"]["twin"] == said["versions"]["real"]


@installed
def test_mappings_of_malloc_between_arenas_do_not_move_them(tmp_path: Path) -> None:
    """As they do in the twin's space, where an arena is given the real one's place in a MiB."""
    op, slot, size = [], [], []
    for number in range(9000):
        large = number % 1000 == 999
        op, slot = [*op, MALLOC], [*slot, number]
        size.append(135_000 + 4096 * (number // 1000) if large else 500)
    trace = write(tmp_path / "t.heap.parquet", events(op=op, slot=slot, size=size))
    found = hw.validate("pymalloc", trace)
    assert found.agrees, found.sentences()
    assert found.to_json()["arenas_made"]["twin"] >= 5


@installed
def test_another_version_does_not_agree(tmp_path: Path) -> None:
    trace = write(tmp_path / "t.heap.parquet", churn(3000))
    found = hw.validate("pymalloc", trace, {"version": 3_009_000})
    assert not found.agrees
    assert "The twin is of version 3.9 and the real one here is" in found.sentences()[-1]
    assert found.first_difference is not None


@installed
def test_the_first_block_follows_the_header_and_nothing_of_pythons_is_before() -> None:
    with Drive(4) as drive:
        asked = events(
            op=[MALLOC, MALLOC, MALLOC, FREE, MALLOC, REALLOC, MEMALIGN],
            slot=[0, 1, 2, 0, 3, 1, 0],
            size=[20, 20, 600, 0, 32, 33, 100],
            align=[0, 0, 0, 0, 0, 0, 8],
        )
        placed, arenas = drive.replay(asked)
        base, bytes_ = arenas[0, 1:].tolist()
        assert len(arenas) == 1 and bytes_ in (1 << 18, 1 << 20)
        inside = (placed >= base) & (placed < base + bytes_)
        assert inside.tolist() == [True, True, False, False, True, True, False]
        assert placed[0] % 4096 == 48 and placed[1] - placed[0] == 32
        assert placed[4] == placed[0] and placed[6] % 256 == 0
        told = said_by(drive.finish())
    assert told["arenas allocated total"] == 1
    assert told["class 1 blocks in use"] == 1 and told["class 2 blocks in use"] == 1


def test_places_are_offsets_in_arenas_in_the_order_they_were_made() -> None:
    arenas = Arenas(100)
    assert arenas.places(np.array([0, 7])).tolist() == [NOWHERE, OUTSIDE]
    arenas.make(5000)
    arenas.make(1000)
    told = arenas.places(np.array([999, 1000, 1099, 1100, 5005])).tolist()
    assert told == [OUTSIDE, 1 << 32, (1 << 32) + 99, OUTSIDE, 5]


def test_without_a_library_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    build.library.cache_clear()
    try:
        monkeypatch.setenv(build.VARIABLE, "/nowhere/libpython3.so")
        with pytest.raises(HeapwrightError, match=r"names /nowhere/libpython3.so, which is not"):
            Drive(1)
    finally:
        build.library.cache_clear()


def test_a_graph_is_refused() -> None:
    graph: Any = SimpleNamespace(graph=True, path="g.heap.parquet", origin={}, java="")
    with pytest.raises(HeapwrightError, match=r"g\.heap\.parquet is an object graph"):
        agreement.validate(graph)


@pytest.mark.parametrize(("origin", "runtime"), [({"python": "3.11.7"}, "cpython"), ({}, "go")])
def test_a_graph_is_sent_to_the_runtime_that_it_is_of(origin: dict[str, str], runtime: str) -> None:
    graph: Any = SimpleNamespace(graph=True, path="g.heap.parquet", origin=origin, java="")
    for given in (lambda: mallocs.validate("jemalloc", graph), lambda: nginx.validate(graph)):
        with pytest.raises(HeapwrightError, match=f"object graph.*validate {runtime} with it"):
            given()
