"""Run an import in a process of its own: a foreign reader that crashes takes nobody with it.

    isolated(convert) ─► python -m ...isolation MODULE PATH OUTPUT ─► lines of JSON: share or error

Readers written in C++ were made for their own tool's files; a damaged one may end them with a
segmentation fault, which no exception handler sees.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from heapwright.errors import HeapwrightError

ENDING_SECONDS = 10


def isolated(
    module: str, path: Path, output: Path, advance: Callable[[float], None], *more: str
) -> None:
    """Call `module.convert(path, output, advance, *more)` in a new process.

    Raises its HeapwrightError.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, module, str(path), str(output), *more]
    error = None
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                message = json.loads(line)
                error = message.get("error")
                advance(message.get("share", 0.0))
        except BaseException:
            child.terminate()
            raise
        finally:
            try:
                child.wait(ENDING_SECONDS)
            finally:
                child.kill()
                for partial in output.parent.glob(f".*.{child.pid}.partial"):
                    partial.unlink(missing_ok=True)
    if error:
        raise HeapwrightError(error)
    if child.returncode < 0:
        reader = module.rpartition(".")[2]
        raise HeapwrightError(
            f"{path} is damaged: {reader}'s own reader crashed on it; copy or record it again"
        )
    if child.returncode:
        raise RuntimeError(f"the import of {path} failed with status {child.returncode}")


def _tell(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    convert = importlib.import_module(sys.argv[1]).convert
    try:
        convert(
            Path(sys.argv[2]), Path(sys.argv[3]), lambda share: _tell(share=share), *sys.argv[4:]
        )
    except HeapwrightError as mistake:
        _tell(error=str(mistake))
    except (KeyboardInterrupt, BrokenPipeError):  # the parent knows, or is gone
        os._exit(1)
