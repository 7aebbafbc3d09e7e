"""Run a program as the recorders do: it ends when it wants to, and signals to us reach it.

    terminal ─ Ctrl-C          ─► the program too: both are in the foreground
    kill PID, docker stop      ─► us alone: passed on, once the program has had a moment to end

Handlers, not a mask: a library's thread that does not block a signal would be given it, and end us.
"""

import contextlib
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.watch import TICK_S, Watch


def _known(*names: str) -> tuple[signal.Signals, ...]:
    """Those signals of these names that this system has."""
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


# By name: this is imported where a system has fewer of them, and cannot record.
OF_TERMINAL = _known("SIGINT", "SIGQUIT")
PASSED_ON = (*OF_TERMINAL, *_known("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"))
POLL_S = 0.05  # where the end of a process cannot be waited for together with signals
MOMENT_S = 0.2  # a signal to the whole group has reached the program by then


def run(
    program: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    began: Callable[[int], None] = lambda process: None,
    watch: Watch | None = None,
) -> tuple[int, int]:
    """Exit status (128 + n for signal n) and process number of `command`, run to its end.

    `program` is the file to execute; `began` is told the process number when it runs; `watch`
    is asked now and then whether it is time for something.
    HeapwrightError when it cannot be run.
    """
    due: dict[int, float] = {}  # signal: when to pass it on
    with _awaited(due, watch) as woken:
        try:
            process = os.posix_spawn(
                program,
                list(command),
                dict(environment),
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
            )
        except OSError as error:
            raise HeapwrightError(f"cannot run {command[0]}: {error.strerror}") from None
        began(process)
        while not _has_ended(process, woken, due, watch is not None):
            if watch:
                watch.tick()
            for number in [number for number, when in due.items() if when <= time.monotonic()]:
                del due[number]
                os.kill(process, number)
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        except ChildProcessError:  # whoever began us ignores SIGCHLD: nobody knows the status
            code = 0
    return code if code >= 0 else 128 - code, process


def _has_ended(process: int, woken: int, due: Mapping[int, float], watched: bool) -> bool:
    """Wait for the program's end (True), a signal, or the time to pass one on."""
    now = time.monotonic()
    patience = min((max(when - now, 0) for when in due.values()), default=None)
    if watched:
        patience = min(patience or TICK_S, TICK_S) if patience != 0 else 0
    signals = [woken] if woken >= 0 else []
    try:
        ended = os.pidfd_open(process)
    except OSError:  # before Linux 5.3
        ready = _ready(signals, min(patience or POLL_S, POLL_S))
        try:
            done = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            done = True
    else:
        try:
            ready = _ready([ended, *signals], patience)
        finally:
            os.close(ended)
        done = ended in ready
    if woken in ready:
        os.read(woken, 4096)
    return done


def _ready(files: Sequence[int], seconds: float | None) -> list[int]:
    """Those that can be read within so long; by poll, as select knows no number beyond 1,023."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [file for file, _ in poll.poll(None if seconds is None else 1000 * seconds)]


@contextlib.contextmanager
def _awaited(due: dict[int, float], watch: Watch | None) -> Iterator[int]:
    """Signals are entered in `due` with the time to pass them on; yields what wakes a select."""
    if threading.current_thread() is not threading.main_thread():
        yield -1  # they are the main thread's affair
        return

    def came(number: int, frame: FrameType | None) -> None:
        if watch and number == watch.toggle:
            watch.signalled()
        elif not (number in OF_TERMINAL and _in_foreground()):
            due.setdefault(number, time.monotonic() + MOMENT_S)

    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    handlers = {
        number: signal.signal(number, came)
        for number in PASSED_ON
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup: the program ignores it too
    }
    try:
        yield reading
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # else not Python's
                signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to us, and so to the program."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def executable(name: str, what: str = "record") -> str:
    """The file that `name` runs; HeapwrightError, of `what` cannot be done, when there is none or
    it cannot be executed."""
    program = shutil.which(name)
    if program:
        return program
    if os.path.dirname(name) and os.path.isdir(name):
        raise HeapwrightError(f"cannot {what} {name}: it is a folder")
    if os.path.dirname(name) and os.path.exists(name):
        raise HeapwrightError(
            f"cannot {what} {name}: it is not executable; `chmod +x {name}` makes it so, or name "
            "the interpreter before it"
        )
    raise HeapwrightError(f"cannot {what} {name}: there is no such program")
