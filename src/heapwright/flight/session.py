"""Run a program with a manager preloaded."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.absent import obstacle, own_allocator, program_of
from heapwright.trace.recorder.run import executable, run


def fly(
    library: Path, command: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[int, int]:
    """Run `command` on the manager in `library`; its exit status, 128 + n after signal n, and its
    process number.

    Threads, children and what they execute fly too. Signals reach the program. HeapwrightError when
    there is no such program, and when nothing can be preloaded into it.
    """
    program = executable(command[0], "fly")
    if why := obstacle(program, "manager"):
        raise HeapwrightError(f"cannot fly {command[0]}: {why}.")
    surroundings = dict(os.environ if environment is None else environment)
    others = surroundings.get("LD_PRELOAD", "")
    surroundings["LD_PRELOAD"] = f"{library}:{others}" if others else str(library)
    return run(program, command, surroundings)


def unserved(command: str) -> str:
    """A sentence about memory of `command` that a preloaded manager may not see; or ""."""
    path = program_of(command)
    if own := own_allocator(path):
        return (
            f"{os.path.basename(path)} brings an allocator of its own ({own}): the manager serves "
            "only what asks the C library's malloc."
        )
    return ""
