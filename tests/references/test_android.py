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
    monkeypatch.delenv(build.VARIABLE, raising=False)
    of_android = reference("heapwright.references.android")
    assert "apt install dexdump" in of_android.missing("art-rosalloc")
    monkeypatch.setenv(build.VARIABLE, str(tmp_path))
    assert str(tmp_path) in build.missing("art-rosalloc")
    assert build.version("art-rosalloc") == "unknown"
    with pytest.raises(HeapwrightError, match=r"driving the real art-rosalloc: .* has no libart"):
        build.driver("art-rosalloc")


def test_a_difference_is_told():
    found = Agreement("art-rosalloc", 3, ("11.0", "12.0"))
    ours = np.array([[-1, 0], [64, 64], [128, 64]])
    found.enter(ours, np.array([[-1, 0], [64, 48], [4096, 64]]), first=7)
    assert not found.agrees and found.offsets.compared == 2
    said = " ".join(found.sentences())
    assert "event 9: 128 (twin) and 4,096 (real)" in said and "12.0" in said
    assert found.to_json()["usable_sizes"] == {"compared": 2, "equal": 1}
    assert len(found.rows()) == 4 and "3 events" in found.title


def test_the_twin_agrees_with_the_library_that_is_here(tmp_path):
    if build.missing("art-rosalloc"):
        pytest.skip(build.missing("art-rosalloc"))
    for settings in ({}, {"capacity_bytes": 1 << 20, "page_release_mode": 4}):
        found = validate("art-rosalloc", trace("mixed", tmp_path), settings)
        assert found.agrees, found.sentences()
        assert found.resident[0] == found.resident[1] and found.offsets.compared > 2000
