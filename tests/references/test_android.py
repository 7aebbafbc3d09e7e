"""Android's own allocators, where they are, and their twins beside them."""

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.references import reference
from heapwright.references.android import build
from heapwright.references.android.agreement import Agreement, validate
from malloc_programs import trace


def test_the_library_is_looked_for_where_it_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "INSTALLED", str(tmp_path / "nowhere"))
    monkeypatch.delenv(build.ART, raising=False)
    monkeypatch.delenv(build.DLMALLOC, raising=False)
    of_android = reference("heapwright.references.android")
    assert "apt install dexdump" in of_android.missing("art-rosalloc")
    assert "apt source wasi-libc" in of_android.missing("dlmalloc")
    for name, variable, wanted in (
        ("art-rosalloc", build.ART, r"libart\.so\.0"),
        ("dlmalloc", build.DLMALLOC, r"malloc\.c"),
        ("dalvik", build.DLMALLOC, r"malloc\.c"),
    ):
        monkeypatch.setenv(variable, str(tmp_path))
        assert build.version(name) == "unknown"
        with pytest.raises(HeapwrightError, match=f"driving the real {name}: .* has no {wanted}"):
            build.driver(name)


def test_a_difference_is_told():
    found = Agreement("art-rosalloc", 3, ("11.0", "12.0"))
    ours = np.array([[-1, 0], [64, 64], [128, 64]])
    found.enter(ours, np.array([[-1, 0], [64, 48], [4096, 64]]), first=7)
    assert not found.agrees and found.offsets.compared == 2
    said = " ".join(found.sentences())
    assert "event 9: 128 (twin) and 4,096 (real)" in said and "12.0" in said
    assert found.to_json()["usable_sizes"] == {"compared": 2, "equal": 1}
    assert len(found.rows()) == 4 and "3 events" in found.title


def test_collections_are_told_and_held_to_each_other():
    found = Agreement("dalvik", 3, ("4.4", "4.4 over dlmalloc 2.8.6"), footprint=(8, 8))
    found.collections, found.digests = ((2, 1, 0), (2, 1, 0)), (7, 7)
    assert found.agrees and ["GC_CONCURRENT", "1", "1", "equal"] in [list(r) for r in found.rows()]
    assert "no Dalvik ran" in " ".join(found.sentences())
    found.digests = (7, 8)
    assert not found.agrees and found.rows()[2][3] == "differs"


def test_the_wrong_kind_of_trace_is_a_sentence(tmp_path):
    with pytest.raises(HeapwrightError, match="is no object graph, whose deaths dalvik"):
        validate("dalvik", trace("small", tmp_path))


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("art-rosalloc", ({}, {"capacity_bytes": 1 << 20, "page_release_mode": 4})),
        ("dlmalloc", ({}, {"word_bytes": 4, "alignment": 16, "granularity": 1 << 16})),
    ],
)
def test_the_twin_agrees_with_the_real_one_that_is_here(name, variants, tmp_path):
    if build.missing(name):
        pytest.skip(build.missing(name))
    for settings in variants:
        found = validate(name, trace("threads", tmp_path), settings)
        assert found.agrees, found.sentences()
        assert found.resident[0] == found.resident[1] and found.offsets.compared > 2000
        assert (found.footprint is None) == (name == "art-rosalloc")
