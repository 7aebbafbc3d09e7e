"""Whole programs and parts, across processes that share a cache."""

import importlib
import multiprocessing
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
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


KEPT = """
from heapwright.compiler import bare, kernel

@kernel
def larger(words, number):
    return max(words[0], number) + 1

@kernel
def one(words):
    return larger(words, 1)

@kernel
def two(words):
    return larger(words, 2)

def doubled(inner):
    @kernel
    def twice(words):
        return 2 * inner(words)

    return twice

ones, twos = doubled(one), doubled(two)
"""
CALLER = """
from heapwright.compiler import bare, kernel
from kept import ones, twos

@kernel
def {name}(words):
    return 100 * ones(bare(words)) + twos(bare(words))
"""

AGAIN = """
from heapwright.compiler import bare, kernel
from kept import larger, ones

@kernel
def {name}(words):
    return larger(bare(words), 1) + ones(bare(words))
"""


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_part_is_compiled_once_whatever_calls_it_and_again_when_it_was_edited(tmp_path):
    """Two closures of one function stay apart; what Numba compiles for `max` goes with its part."""
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": paths}

    def call(name, text=CALLER):
        (tmp_path / f"{name}.py").write_text(text.format(name=name))
        program = f"import numpy, {name}; print({name}.{name}(numpy.array([0])))"
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    def kept():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.part")}

    (tmp_path / "kept.py").write_text(KEPT)
    assert call("before").stdout == "406\n"
    first = kept()
    assert {path.name.partition("-")[0] for path in first} == {
        "kept.larger", "kept.one", "kept.two", "kept.doubled.locals.twice"
    }  # fmt: skip
    assert call("after").stdout == "406\n"
    assert kept() == first
    for inner in (path for path in first if path.name.startswith("kept.larger")):
        inner.unlink()  # as if two processes compiled at once: it is new here, its callers are not
    assert call("again", AGAIN).stdout == "6\n"
    (tmp_path / "kept.py").write_text(KEPT.replace("+ 1", "+ 2"))
    assert call("edited").stdout == "608\n"
    assert len(set(kept()) - set(first)) == len(first)


HELPED = """
from heapwright.compiler import bare, kernel

@kernel
def first(number):
    return number in (1, 5)

@kernel
def holds(words, number):
    return words[0] + (number in (1, 5))

@kernel
def never(words, number):
    found = holds(bare(words), number)
    if number * 0 == 1:
        found += number in (1, 5)
    return found
"""


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_what_numba_compiled_for_a_kernel_is_linked_behind_all_that_call_it(tmp_path):
    """The linker drops it while nothing refers to it: the whole names it and never calls it."""
    (tmp_path / "helped.py").write_text(HELPED)
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "HEAPWRIGHT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": paths}
    program = (
        "import numpy; from helped import first, never; "
        "print(first(3), never(numpy.array([2]), 5), never(numpy.array([2]), 4))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "False 3 2\n", done.stderr


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_a_kernel_is_kept_by_the_order_of_words_and_members():
    """Its own module need not import the one that says them, so that an edit there is not seen."""
    from numba import types

    from heapwright.compiler.record import record
    from heapwright.compiler.whole_program import _told

    array = types.int64[::1]
    kept = set()
    for words, members in [("ab", "xy"), ("ba", "xy"), ("abc", "xy"), ("ab", "yx")]:
        heap = NamedTuple("heap", [(name, object) for name in ("fields", *members)])
        record(*(f"word_{letter}" for letter in words))(heap)
        kept.add(_told((types.NamedTuple((array,) * 3, heap),)))
    assert len(kept) == 4


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_what_two_processes_call_at_once_is_compiled_once(tmp_path, monkeypatch):
    """As two workers of a comparison do, forked from one process."""
    source = tmp_path / "doubling_at_once.py"
    source.write_text(MODULE + f"# {tmp_path}\n")  # of no other run
    os.utime(source, (0, 0))  # older than this process: what it compiles is kept
    monkeypatch.syspath_prepend(tmp_path)
    module, context = importlib.import_module(source.stem), multiprocessing.get_context("fork")
    both, misses = context.Barrier(2), context.SimpleQueue()

    def call():
        words = np.array([0, 4])
        both.wait()
        module.whole(words)
        misses.put((int(words[0]), sum(module.whole._cache_misses.values())))

    callers = [context.Process(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    found = sorted(misses.get() for _ in callers)
    for caller in callers:
        caller.join()
    assert found == [(8, 0), (8, 1)]


def test_of_a_whole_that_is_kept_the_names_are_all_the_text():
    import llvmlite.binding as llvm

    from heapwright.compiler import parts

    module = llvm.parse_assembly("""
        @seen = common global ptr null
        @unseen = private constant i64 7
        define i64 @entry(i64 %a) { %b = call i64 @inner(i64 %a) ret i64 %b }
        define internal i64 @inner(i64 %a) { %b = call i64 @other(i64 %a) ret i64 %b }
        declare i64 @other(i64)
    """)
    kept = llvm.parse_bitcode(parts.names_in(module))
    named = [*kept.functions, *kept.global_variables]
    assert {value.name for value in named} == {"entry", "seen"}
    assert not any(value.is_declaration for value in named)
