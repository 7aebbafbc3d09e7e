"""Run a program as the recorders do: it ends when it wants to, and signals to us reach it.

    terminal ─ Ctrl-C, hang-up ─► the program too: both are in the foreground
    kill PID, docker stop      ─► us alone: passed on, once the program has had a moment to end

The signals are blocked here and waited for, so that none ends us before what was recorded is kept.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from heapwright.errors import HeapwrightError

PASSED_ON = frozenset(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
)
MOMENT_S = 0.2  # a signal to the whole group has reached the program by then
POLL_S = 0.5


def run(
    program: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    began: Callable[[int], None] = lambda process: None,
) -> tuple[int, int]:
    """Exit status (128 + n for signal n) and process number of `command`, run to its end.

    `program` is the file to execute; `began` is told the process number when it runs.
    HeapwrightError when it cannot be run.
    """
    # In another thread signals are the main thread's affair.
    awaited = PASSED_ON | {signal.SIGCHLD} if _in_main_thread() else frozenset()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        process = os.posix_spawn(
            program,
            list(command),
            dict(environment),
            setsigmask=before,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
        )
        began(process)
        return _wait(process, awaited), process
    except OSError as error:
        raise HeapwrightError(f"cannot run {command[0]}: {error.strerror}") from None
    finally:
        while awaited and signal.sigtimedwait(awaited, 0):
            pass  # it was the program's
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(process: int, awaited: frozenset[signal.Signals]) -> int:
    """The exit status of `process`; signals that came for us alone are passed on."""
    pending: dict[int, float] = {}  # signal: when to pass it on
    while True:
        done, status = os.waitpid(process, os.WNOHANG if awaited else 0)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        now = time.monotonic()
        for number in [number for number, due in pending.items() if due <= now]:
            del pending[number]
            os.kill(process, number)
        patience = min([due - now for due in pending.values()], default=POLL_S)
        came = signal.sigtimedwait(awaited, patience)
        # One of the kernel's, as from a terminal, went to the program as well.
        if came and came.si_signo in PASSED_ON and came.si_code <= 0:
            pending.setdefault(came.si_signo, time.monotonic() + MOMENT_S)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
