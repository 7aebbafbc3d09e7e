"""Whole programs and parts, across processes that share a cache."""

import os
import subprocess
import sys

import pytest

from heapwright.compiler import INTERPRETED

MODULE = """
from heapwright.compiler import kernel
from heapwright.compiler import bare

@kernel
def double(number):
    return 2 * number

@kernel
def part(words):
    words[0] = double(words[1])

@kernel
def whole(words):
    part(bare(words))
"""
CALL = "import doubling; assert doubling.double(21) == 42"
COMPILE_THEN_CALL = (
    "import doubling, numpy; words = numpy.array([0, 4]); doubling.whole(words);"
    f"assert words[0] == 8; {CALL}"
)


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_kernel_from_the_cache_is_whole_though_a_part_asked_for_it(tmp_path):
    (tmp_path / "doubling.py").write_text(MODULE)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": paths}
    for program in (CALL, COMPILE_THEN_CALL):
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)


SHARED = """
from heapwright.compiler import kernel

@kernel
def first(pair):
    return pair.words[0]
"""
CLASS = """
from typing import NamedTuple
import numpy as np

class Pair(NamedTuple):
    words: np.ndarray
"""
CALL_WITH = "import numpy, shared, {0}; print(shared.first({0}.Pair(numpy.array([7]))))"


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_process_without_the_copy_of_a_module_loads_what_its_own_classes_need(tmp_path):
    """A kernel compiled for a class that another process does not have."""
    for name, text in (("shared", SHARED), ("mine", CLASS), ("copied", CLASS)):
        (tmp_path / f"{name}.py").write_text(text)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": paths}

    def call(name):
        command = [sys.executable, "-c", CALL_WITH.format(name)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert call("copied").stdout == "7\n"
    (tmp_path / "copied.py").unlink()
    done = call("mine")
    assert done.stdout == "7\n", done.stderr
