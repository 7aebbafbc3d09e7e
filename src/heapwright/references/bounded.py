"""A real system in a process of its own, which has so long: one that waits for ever is ended."""

import subprocess
from collections.abc import Callable, Sequence

from heapwright.errors import HeapwrightError

SECONDS = 3600  # for the largest traces on a busy machine


def bounded(
    command: Sequence[str],
    what: str,
    seconds: float = SECONDS,
    before: Callable[[], object] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run to the end and keep what is printed; `before` is called in the process before it starts.

    OSError where it cannot be started; HeapwrightError, in which `what` names it, after `seconds`.
    """
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            preexec_fn=before,
        )
    except subprocess.TimeoutExpired:
        raise HeapwrightError(
            f"{what} had not ended after {seconds:g} seconds and was killed."
        ) from None
