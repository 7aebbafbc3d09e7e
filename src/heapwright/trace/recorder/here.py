"""Record the process that we are in, for a while: a notebook's cell, a test.

    attach ─► Python's hooks ─► the block ─► hooks off ─► detach ─► trace     here.h, attached.h

The library is loaded once and stays; a recording begins in some 10 ms.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.attach import ATTACHED_WELL, NO_LIBC, NO_LOG, OTHER_MALLOC
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.session import folder_for
from heapwright.trace.recorder.traces import Progress, Session, write_traces

_CANNOT = "cannot record this process: "


@contextlib.contextmanager
def recording_here(out: Path, progress: Progress | None = None) -> Iterator[None]:
    """What this process allocates in the block becomes the trace `out`.

    Every thread's requests are recorded; of children nothing. When the block raises there is a
    trace all the same. HeapwrightError where it cannot be recorded, before the block is entered, or
    when nothing was allocated.
    """
    functions = _loaded()
    folder = folder_for(out)
    session = Session(_command(), out.name, False, pid=os.getpid(), recorder=os.getpid())
    try:
        session.save(folder)
        answer = functions.heapwright_attach(os.fsencode(f"-{folder}"))
        if answer & 0xFF != ATTACHED_WELL:
            raise HeapwrightError(_CANNOT + _why(answer))
    except (HeapwrightError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    functions.heapwright_python_begin()
    try:
        yield
    finally:
        functions.heapwright_python_end()
        functions.heapwright_detach(b"")
        session.ended = "when the block did"
        if not write_traces(folder, session, out, progress):
            shutil.rmtree(folder, ignore_errors=True)
            raise HeapwrightError("recorded nothing: the block asked for no memory")


@functools.cache
def _loaded() -> ctypes.PyDLL:
    """The recorder in this process, called with the interpreter's lock held."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        raise HeapwrightError(f"{_CANNOT}that is for x86-64 Linux only")
    try:
        functions = ctypes.PyDLL(str(library()))
    except OSError as error:
        raise HeapwrightError(f"{_CANNOT}the recorder cannot be loaded ({error})") from None
    functions.heapwright_attach.argtypes = [ctypes.c_char_p]
    functions.heapwright_detach.argtypes = [ctypes.c_char_p]
    functions.heapwright_python_end.restype = None
    return functions


def _command() -> list[str]:
    """How this program was called."""
    name = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    return [name or os.path.basename(sys.executable) or "python3", *sys.argv[1:]]


def _why(answer: int) -> str:
    """What heapwright_attach answered: a sentence's end."""
    if answer & 0xFF == OTHER_MALLOC:
        return "its malloc is not glibc's own, or it is being recorded from outside already"
    if answer & 0xFF == NO_LOG:
        return f"it cannot write its log ({os.strerror(answer >> 8)})"
    return "it has no libc.so.6" if answer & 0xFF == NO_LIBC else "it is being recorded already"
