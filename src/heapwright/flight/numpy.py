"""NumPy's arrays on a manager of the registry, in this process, without preloading anything.

    from heapwright.flight.numpy import install, pool

    with pool():                 # arrays made here lie in the pool, wherever they are used later
        c = a * b + 1

    install()                    # from now on, in this thread and in those that start later

    np.empty ─► handler of the context ─► heapwright_array_malloc of the shared object

An array remembers the handler that made it and is given back to it, so arrays of both kinds mix
freely. Arrays that exist already stay where they are. A process has one pool; what preloads the
same manager (`heapwright fly`) is the pool.

Threads    the handler is a context variable, so a thread begins with NumPy's default. `install`
           has each `threading.Thread` that starts later begin with the pool, executors' too;
           `pool()` is for the thread that enters it
Source     NEP 49; numpy/core/include/numpy/ndarraytypes.h (PyDataMem_Handler), PyDataMem_SetHandler
Omits      Windows and macOS; threads that C code makes
"""

import ctypes
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.flight.build import build

DEFAULT = "wright"
SET_HANDLER = 304  # entry of NumPy's table of C functions
CAPSULE_NAME = ctypes.create_string_buffer(b"mem_handler")  # a capsule keeps the pointer
FUNCTIONS = ("malloc", "calloc", "realloc", "free")

_pythonapi = ctypes.pythonapi
_pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
_pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_pythonapi.PyCapsule_New.restype = ctypes.py_object
_pythonapi.PyCapsule_New.argtypes = [ctypes.c_void_p] * 3


class _Allocator(ctypes.Structure):
    """PyDataMemAllocator."""

    _fields_ = (("context", ctypes.c_void_p), *((name, ctypes.c_void_p) for name in FUNCTIONS))


class _Handler(ctypes.Structure):
    """PyDataMem_Handler."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    )


class _Pool:
    """The one pool of this process."""

    def __init__(self, manager: str, settings: dict[str, int]) -> None:
        self.made_of = (manager, settings)
        library = ctypes.CDLL(None)
        if not hasattr(library, "heapwright_array_malloc"):  # it is not preloaded
            library = ctypes.CDLL(str(build(manager, settings)))
        addresses = (
            ctypes.cast(getattr(library, f"heapwright_array_{name}"), ctypes.c_void_p).value
            for name in FUNCTIONS
        )
        self._library = library
        self._handler = _Handler(b"heapwright", 1, _Allocator(None, *addresses))
        self.capsule = _pythonapi.PyCapsule_New(
            ctypes.addressof(self._handler), ctypes.addressof(CAPSULE_NAME), None
        )


_the_pool: _Pool | None = None
_installing = threading.Lock()


def _pool(manager: str, settings: Mapping[str, int] | None) -> _Pool:
    """The pool, made at first use; HeapwrightError when another manager has it already."""
    global _the_pool  # noqa: PLW0603 one heap at one place of the address space
    wanted = (manager, dict(settings or {}))
    with _installing:
        if _the_pool is None:
            _the_pool = _Pool(*wanted)
        if _the_pool.made_of != wanted:
            raise HeapwrightError(
                f"this process has a pool of {_the_pool.made_of[0]} with settings "
                f"{_the_pool.made_of[1]} already: a process has one."
            )
        return _the_pool


def _set_handler(capsule: Any) -> Any:
    """Make arrays of this context by `capsule`, NumPy's default when None; the one before."""
    core = np._core if hasattr(np, "_core") else np.core
    table = _pythonapi.PyCapsule_GetPointer(core._multiarray_umath._ARRAY_API, None)
    entry = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[SET_HANDLER]
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(entry)(capsule)


@contextmanager
def pool(manager: str = DEFAULT, settings: Mapping[str, int] | None = None) -> Iterator[None]:
    """Arrays made by this thread within the block lie in the pool, and may outlive it.

    HeapwrightError where nothing can be built, and when the process has another pool.
    """
    before = _set_handler(_pool(manager, settings).capsule)
    try:
        yield
    finally:
        _set_handler(before)


def install(manager: str = DEFAULT, settings: Mapping[str, int] | None = None) -> None:
    """From now on all arrays lie in the pool, in this thread and in those started later.

    Calling it again changes nothing. HeapwrightError as for `pool`.
    """
    _set_handler(_pool(manager, settings).capsule)
    with _installing:
        if threading.Thread.start is not _start_in_pool:
            threading.Thread.start = _start_in_pool  # type: ignore[method-assign, assignment]


_start = threading.Thread.start


def _start_in_pool(thread: threading.Thread) -> None:
    """Thread.start, of a thread that begins with the pool."""
    thread.run = partial(_run_in_pool, thread.run)  # type: ignore[method-assign, assignment]
    _start(thread)


def _run_in_pool(run: Any) -> None:
    assert _the_pool is not None
    _set_handler(_the_pool.capsule)
    run()
