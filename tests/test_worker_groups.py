"""Tests of one manager run in one worker."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker_groups import SLOW, group_of, slow_first

TESTS = Path(__file__).parent
KNOWN = {"go", "glibc", "region", "region-gc", "first-fit", "best-fit"}


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("tests/managers/test_go.py::test_a", "go"),
        ("tests/managers/test_go_heap.py::test_a[1]", "go"),
        ("tests/managers/test_region_gc.py::test_a", "region-gc"),
        ("tests/managers/test_good_fit.py::test_a", "tests/managers/test_good_fit.py"),
        ("tests/a/test_x.py::test_conforms[best-fit-order=1]", "best-fit"),
        ("tests/a/test_x.py::test_flies[100-region-gc]", "region-gc"),
        ("tests/a/test_x.py::test_flies[100-region-minimum_bytes=1]", "region"),
        ("tests/a/test_x.py::test_flies[cargo-1]", "tests/a/test_x.py"),
        ("tests/a/test_x.py::test_a[first-fit over glibc-knobs0]", "tests/a/test_x.py"),
        ("tests/managers/test_glibc.py::test_a[x]", "glibc"),
        ("tests/test_docs.py::test_a_page_runs[docs/mallocs.md]", "tests/test_docs.py 0"),
        ("tests/test_docs.py::test_a_page_runs[docs/hotspot.md]", "tests/test_docs.py 1"),
        ("tests/test_docs.py::test_there_are_examples", "tests/test_docs.py"),
    ],
)
def test_a_group_is_the_manager_or_the_file(test, group):
    assert group_of(test, KNOWN) == group


def test_slow_files_are_begun_first():
    paths = [TESTS / name for name in ("test_cache.py", "test_docs.py", "test_words.py")]
    tests = [SimpleNamespace(path=path) for path in paths]
    slow_first(tests)
    assert [test.path.name for test in tests] == ["test_docs.py", "test_cache.py", "test_words.py"]
    assert all((TESTS / name).exists() for name in SLOW)


MADE = """
import os, pathlib, pytest

@pytest.mark.parametrize("name", [m + v for v in ("", "-x=1") for m in ("go", "glibc", "slots")])
@pytest.mark.parametrize("turn", range(4))
def test_who(name, turn):
    worker = os.environ["PYTEST_XDIST_WORKER"]
    manager = name.partition("-x=")[0]
    (pathlib.Path(__file__).parent / f"{manager} {worker}").touch()
"""


def test_each_manager_has_one_worker(tmp_path):
    """With the xdist and the pytest that are installed."""
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "test_made.py").write_text(MADE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup"]
    command += ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = [path.name.split() for path in tmp_path.glob("* gw*")]
    assert sorted(manager for manager, _ in seen) == ["glibc", "go", "slots"]
    assert {worker for _, worker in seen} == {"gw0", "gw1"}
