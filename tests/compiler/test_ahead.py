"""Kernels compiled ahead of time: a shared object, called as C would call it."""

import ctypes
import shutil
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED, kernel, unsigned
from heapwright.compiler.atomics import atomic_add
from heapwright.compiler.record import record

if INTERPRETED:
    pytest.skip("compiled ahead of time", allow_module_level=True)

from heapwright.compiler.ahead import Export, Fixed, Forgotten, Static, object_file
from heapwright.compiler.process import set_thread_word, thread_word

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the object is Linux's"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
]


@record("sum", "second", "third", "halved", array="counts")
class State(NamedTuple):
    counts: Any  # int64[4]
    bytes: Any  # int8[4]
    table: Any  # int64[...]  at a fixed address
    forgotten: Any  # int64[...]


@kernel(cold=True)
def halves(state, number):
    """Two results, from a function set apart."""
    state.halved += 1
    return number >> 32, number & 0xFFFF_FFFF


@kernel
def add(state, number, more):
    state.forgotten[7] += number  # goes nowhere
    high, low = halves(state, number)
    if high:
        return high
    atomic_add(state.counts, 0, low)
    return state.sum + more + state.forgotten[7]


@kernel
def byte(state, row):
    return np.int64(state.bytes[unsigned(row)])


@kernel
def table(state, row):
    return state.table[unsigned(row)]


@kernel
def calls(state):
    return state.counts[3]


@kernel
def own(state, value):
    """This thread's word before, which becomes `value`."""
    before = thread_word()
    set_thread_word(value)
    return before


@kernel
def nothing(state):
    """A hook."""


@kernel
def ends(state, unused):
    """The hook of a thread."""


HOOKS = {
    name: f"on_{name}" for name in ("thread_exit", "fork_prepare", "fork_parent", "fork_child")
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ahead")
    numbers = np.arange(100, 104)
    state = State(
        Static("counts", np.array([10, 0, 0, 0])),
        Static("bytes", np.array([1, -2, 3, 0], np.int8)),
        Fixed(np.int64, numbers.ctypes.data),
        Forgotten(),
    )
    exports = [
        Export("add", add, 2),
        Export("byte", byte, 1),
        Export("table", table, 1),
        Export("calls", calls, 0),
        Export("own", own, 1),
        Export(HOOKS["thread_exit"], ends, 1, is_void=True, is_hidden=True),
        *(
            Export(HOOKS[name], nothing, 0, is_void=True, is_hidden=True)
            for name in list(HOOKS)[1:]
        ),
    ]
    code = folder / "code.o"
    code.write_bytes(object_file(state, exports, HOOKS))
    linked = folder / "libcode.so"
    subprocess.run(["ld", "-shared", "-z", "now", "-o", str(linked), str(code)], check=True)
    loaded = ctypes.CDLL(str(linked))
    for name in ("add", "byte", "table", "calls", "own"):
        getattr(loaded, name).restype = ctypes.c_int64
    loaded.numbers = numbers  # the table, kept alive
    return loaded


def word(value):
    return ctypes.c_int64(value)


def test_state_begins_with_its_content_and_keeps_what_is_written(library):
    assert library.add(word(5), word(100)) == 115
    assert library.add(word(1), word(0)) == 16
    assert library.add(word(3 << 32 | 1), word(0)) == 3
    assert library.calls() == 3
    assert [library.byte(word(row)) for row in range(4)] == [1, -2, 3, 0]


def test_a_table_lies_where_it_was_said_to(library):
    library.numbers[2] = 7
    assert [library.table(word(row)) for row in range(4)] == [100, 101, 7, 103]


def test_each_thread_has_a_word_of_its_own(library):
    import threading

    assert library.own(word(5)) == -1 and library.own(word(6)) == 5
    seen = []
    thread = threading.Thread(target=lambda: seen.append(library.own(word(9))))
    thread.start()
    thread.join()
    assert seen == [-1] and library.own(word(7)) == 6


def test_only_exports_are_seen_and_nothing_of_numba_is_left(library):
    lines = subprocess.check_output(["nm", "-D", library._name], text=True).splitlines()
    defined = {line.split()[-1] for line in lines if line.split()[-2] in "TDB"}
    assert defined == {"add", "byte", "table", "calls", "own"}
    assert not [line for line in lines if "numba" in line.lower() or "Py" in line]
