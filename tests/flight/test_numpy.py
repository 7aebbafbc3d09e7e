"""NumPy's arrays in a pool: which handler makes and frees them, content, threads. In a process of
its own each, since a process has one pool."""

import subprocess
import sys
import textwrap

import pytest

from heapwright.compiler import INTERPRETED

pytestmark = pytest.mark.skipif(
    INTERPRETED or sys.platform != "linux", reason="a flight is compiled code for Linux"
)

MANAGER = "segregated-fit"
PRELUDE = """
import threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import pytest
from heapwright.errors import HeapwrightError
from heapwright.flight.numpy import install, pool

def home(array):
    return np._core.multiarray.get_handler_name(array)
"""


def run(body):
    """Run the statements after PRELUDE in a new process."""
    script = PRELUDE + textwrap.dedent(body).replace("MANAGER", repr(MANAGER))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_arrays_made_in_the_block_lie_in_the_pool_and_outlive_it():
    run("""
        before = np.arange(10_000)
        with pool(MANAGER):
            inside = before * 2
            assert home(inside) == "heapwright"
            del before
        after = np.ones(10)
        assert home(after) == "default_allocator"
        assert home(inside) == "heapwright" and int(inside.sum()) == 9_999 * 10_000
    """)


def test_blocks_nest_and_survive_an_exception():
    run("""
        with pool(MANAGER):
            with pytest.raises(ZeroDivisionError):
                with pool(MANAGER):
                    1 / 0
            assert home(np.ones(3)) == "heapwright"
        assert home(np.ones(3)) == "default_allocator"
    """)


def test_content_survives_growth_and_zeroed_arrays_are_zero():
    run("""
        draw = np.random.default_rng(5)
        with pool(MANAGER):
            kept = []
            for round in range(300):
                size = int(draw.integers(1, 200_000))
                zeroed = np.zeros(size, np.uint8)
                assert not zeroed.any()
                zeroed[:] = round % 251
                zeroed.resize(size + int(draw.integers(1, 100_000)), refcheck=False)
                assert (zeroed[:size] == round % 251).all() and not zeroed[size:].any()
                kept.append((zeroed, round % 251, size))
                if len(kept) > 20:
                    old, value, length = kept.pop(int(draw.integers(len(kept))))
                    assert (old[:length] == value).all()
    """)


def test_threads_begun_after_install_use_the_pool():
    run("""
        install(MANAGER)
        install(MANAGER)
        assert home(np.ones(3)) == "heapwright"
        with ThreadPoolExecutor(4) as workers:
            made = list(workers.map(lambda n: np.full(n * 1000, n), range(1, 200)))
        assert all(home(array) == "heapwright" for array in made)
        assert all((array == n + 1).all() for n, array in enumerate(made))

        class Worker(threading.Thread):
            def run(self):
                self.array = np.ones(5)
        worker = Worker()
        worker.start()
        worker.join()
        assert home(worker.array) == "heapwright"
    """)


def test_a_thread_of_its_own_is_not_drawn_into_the_block():
    run("""
        with pool(MANAGER), ThreadPoolExecutor(1) as workers:
            assert home(workers.submit(np.ones, 3).result()) == "default_allocator"
    """)


def test_a_process_has_one_pool():
    run("""
        install(MANAGER)
        with pytest.raises(HeapwrightError, match="a process has one"):
            install("first-fit")
    """)


def test_an_unknown_manager_is_told():
    run("""
        with pytest.raises(HeapwrightError, match="no manager is named"):
            install("no-such-manager")
        install(MANAGER)
        assert home(np.ones(3)) == "heapwright"
    """)


def test_the_pool_brings_no_compiler_into_the_process():
    """A pool is for programs that want less memory: Numba and LLVM would be 60 MB more."""
    run("""
        import sys

        install(MANAGER)
        assert home(np.ones(3)) == "heapwright"
        loaded = {"numba", "llvmlite", "pyarrow", "heapwright.compiler"} & set(sys.modules)
        assert not loaded, loaded
    """)


def test_a_knob_that_is_none_is_found_by_the_process_that_compiles():
    run("""
        import sys

        with pytest.raises(HeapwrightError, match="segregated-fit has no knob named 'colour'"):
            install(MANAGER, {"colour": 1})
        assert "numba" not in sys.modules
    """)
