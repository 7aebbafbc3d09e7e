"""Every benchmark can be imported: what it takes from the house is still there."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(f"benchmarks.{found.stem}" for found in (ROOT / "benchmarks").glob("*.py"))


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("module", MODULES)
def test_it_imports(module):
    importlib.import_module(module)


def test_twins_of_real_mallocs_are_compared_with_them():
    assert "glibc" in importlib.import_module("benchmarks.agreement").twins()
