"""Run a program with a manager preloaded."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError


def fly(
    library: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """Run `command` on the manager in `library`; its exit status, 128 + n after signal n, and its
    process number.

    Threads, children and what they execute fly too. Ctrl-C goes to the program.
    HeapwrightError when there is no such program.
    """
    if not shutil.which(command[0]):
        raise HeapwrightError(f"cannot fly {command[0]}: there is no such program.")
    environment = os.environ if environment is None else environment
    others = environment.get("LD_PRELOAD", "")
    preload = f"{library}:{others}" if others else str(library)
    # A handler, not SIG_IGN: the program would inherit that.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(list(command), env={**environment, "LD_PRELOAD": preload})
        code = process.wait()
    except OSError as error:
        raise HeapwrightError(f"cannot run {command[0]}: {error.strerror}.") from None
    finally:
        signal.signal(signal.SIGINT, previous)
    return (code if code >= 0 else 128 - code), process.pid
