"""Every way a command ends early, and what the person reads then.

HeapwrightError        the sentence, status 1
OSError, MemoryError   a sentence made from the system's own words, status 1
Ctrl-C                 "interrupted", status 130
SIGTERM, SIGHUP        "ended by SIGTERM", status 143 or 129; what Ctrl-C tidies is tidied
reader of a pipe gone  nothing, status 141 (as a process killed by SIGPIPE)
anything else          a bug: its traceback
"""

import _thread
import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from heapwright.errors import HeapwrightError

SIGNAL_STATUS = 128  # and the number of the signal, as a shell says it
ENDING = ("SIGTERM", "SIGHUP")  # a system may know one of them
BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE


class Ended(KeyboardInterrupt):
    """A signal asked this process to end: tidied like a Ctrl-C, told by its own name."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Turn the failures listed above into a line on stderr and an exit status."""
    sys.unraisablehook = _interrupt_again
    try:
        with _ending_signals():
            yield
    except HeapwrightError as error:
        _leave(str(error), 1)
    except KeyboardInterrupt as cut:
        sys.unraisablehook = _say_nothing  # what was cut short need not end in order
        number = cut.number if isinstance(cut, Ended) else signal.SIGINT
        how = (
            "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        )
        _leave(f"{how}.", SIGNAL_STATUS + number)
    except BrokenPipeError:
        _drop_output()
        sys.exit(BROKEN_PIPE_STATUS)
    except OSError as error:
        if error.errno is None:  # raised by a library without an error number: not the machine's
            raise
        if error.filename is None:
            _drop_output()
        _leave(os_error_sentence(error), 1)
    except MemoryError:
        _leave("not enough memory for this; try a shorter trace or fewer managers at once.", 1)


@contextlib.contextmanager
def _ending_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Ended within, unless they are ignored, as under nohup."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in ENDING if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)


def _interrupt_again(unraisable: Any) -> None:
    """A Ctrl-C that met a callback of the compiler, where Python can only print it: once more."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        number = getattr(unraisable.exc_value, "number", signal.SIGINT)
        again = threading.Timer(0.02, _thread.interrupt_main, [number])
        again.start()  # not here: it would be lost again
    else:
        sys.__unraisablehook__(unraisable)


def _say_nothing(unraisable: Any) -> None:
    """For the end of an interrupted process."""


def os_error_sentence(error: OSError) -> str:
    """What the system refused, where, and for a full disk the mend."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full ({reason}); free some space or write elsewhere."
    return f"{where}{reason}."


def _drop_output() -> None:
    """Send what stdout still buffers to nowhere, lest the interpreter's exit fails over it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _leave(sentence: str, status: int) -> None:
    with contextlib.suppress(OSError):
        print(f"heapwright: {sentence}", file=sys.stderr)
    sys.exit(status)
