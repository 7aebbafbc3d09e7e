"""No test hangs the suite: a kernel that never returns ends its run, or its worker, in time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LOOPING = """
import ctypes
import numpy as np
import pytest
from heapwright.compiler import kernel

@kernel
def check(words):
    while words[0] == 0:
        words[1] += 1
    return words[1]

def test_before():
    assert True

@pytest.mark.timeout(3)
def test_a_check_that_never_returns():
    check(np.zeros(2, np.int64))

@pytest.mark.timeout(1)
def test_code_that_keeps_the_interpreters_lock():
    ctypes.PyDLL(None).pause()

def test_after():
    assert True
"""


def run(folder, *options):
    """pytest over LOOPING, with the settings and the conftest of this suite."""
    (folder / "conftest.py").write_text(
        (TESTS / "conftest.py").read_text().replace("PATIENCE_SECONDS = 30", "PATIENCE_SECONDS = 4")
    )
    (folder / "test_looping.py").write_text(LOOPING)
    settings = ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, str(folder / "test_looping.py")],
        env={**os.environ, "HEAPWRIGHT_CACHE": str(folder / "cache"), "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("test_a_check_that_never_returns", "+ Timeout +"),
        ("test_code_that_keeps_the_interpreters_lock", "Timeout (0:00:05)!"),
    ],
)
def test_a_hanging_test_ends_the_run_and_is_named(tmp_path, name, says):
    status, told = run(tmp_path, "-k", f"before or {name}")
    assert status != 0
    assert says in told
    assert re.search(rf"line \d+,? in {name}", told), told


def test_with_workers_the_others_go_on(tmp_path):
    status, told = run(tmp_path, "-n", "1")
    assert status == 1
    for name in ("test_a_check_that_never_returns", "test_code_that_keeps_the_interpreters_lock"):
        assert re.search(rf"worker 'gw\d' crashed while running '\S*{name}'", told), told
    assert "2 failed, 2 passed" in told
