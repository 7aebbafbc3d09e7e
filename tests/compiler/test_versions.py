"""The Numba that is used: tried, or beyond; the slow way that needs nothing private."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from heapwright.compiler import INTERPRETED, versions

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, numba, numpy
numba.__version__ = "{version}"
from heapwright.compiler import bare, kernel, compiled

@kernel(inline=True)
def part(words, step):
    words[0] += step

@kernel(cold=True)
def slow(words):
    part(words, 100)

@kernel
def whole(words, steps):
    words = bare(words)
    for step in range(steps):
        part(words, step)
    slow(words)

words = numpy.zeros(4, numpy.int64)
whole(words, 5)
print(json.dumps([compiled.WHOLE, int(words[0])]))
"""


def run(tmp_path, version, **settings):
    (tmp_path / "program.py").write_text(PROGRAM.format(version=version))
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path / "cache"), **settings}
    environment.pop("HEAPWRIGHT_INTERPRET", None)
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr, list((tmp_path / "cache").rglob("*.nbc"))


@pytest.mark.parametrize(
    ("version", "setting", "whole", "said"),
    [
        ("0.61.0", "", True, False),
        (numba.__version__, "", True, False),
        ("0.68.9", "", True, False),
        ("0.69.0dev0+12.gabc", "", False, True),
        ("1.0", "", False, True),
        ("0.60.2", "", False, True),
        ("0.99.0", "1", True, False),
        ("0.61.0", "0", False, False),
    ],
)
def test_whole_programs_with_a_numba_that_was_tried(
    version, setting, whole, said, monkeypatch, capsys
):
    monkeypatch.setenv(versions.SWITCH, setting)
    assert versions.whole_programs(version) is whole
    sentence = capsys.readouterr().err
    assert bool(sentence) is said
    if said:
        assert f"Numba {version} is not one of those tried, 0.61 to 0.68" in sentence


def test_the_package_asks_for_what_was_tried():
    text = (ROOT / "pyproject.toml").read_text()
    least, below = re.search(r'"numba>=0\.(\d+),<0\.(\d+)"', text).groups()
    assert ((0, int(least)), (0, int(below) - 1)) == (versions.LEAST, versions.NEWEST)


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_an_untried_numba_compiles_the_slow_way_and_says_so(tmp_path):
    told, said, kept = run(tmp_path, "0.99.0")
    assert told == [False, 110]
    assert said.count("\n") == 1 and "Numba 0.99.0 is not one of those tried" in said
    assert kept == [], "Numba's own cache would not notice an edited callee"
    told, said, kept = run(tmp_path, "0.99.0", HEAPWRIGHT_WHOLE_PROGRAM="1")
    assert told == [True, 110]
    assert said == "" and len(kept) == 1


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_manager_runs_the_slow_way(tmp_path):
    program = (
        "import golden_addresses as golden; from heapwright.managers import managers;"
        "assert golden.figures(managers()['linear'], {}) == golden.kept('linear')['default']"
    )
    environment = {**os.environ, "HEAPWRIGHT_WHOLE_PROGRAM": "0", "NUMBA_BOUNDSCHECK": "0"}
    environment["PYTHONPATH"] = str(ROOT / "tests")
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


def test_a_flight_needs_whole_programs():
    environment = {**os.environ, "HEAPWRIGHT_WHOLE_PROGRAM": "0", "HEAPWRIGHT_MACHINE": "linux"}
    environment.pop("HEAPWRIGHT_INTERPRET", None)
    command = [sys.executable, "-c", "import heapwright.compiler"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("a flight is compiled as a whole program")
