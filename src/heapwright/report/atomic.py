"""A file is there whole or not at all: it is written under another name and renamed at the end."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from heapwright.errors import HeapwrightError


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a path in the same folder, renamed to `path` at the end; removed after an exception.

    HeapwrightError, naming `path`, when the system refuses.
    """
    if path.exists() and not path.is_file():
        raise HeapwrightError(f"{path} is not a regular file; give the name of a file to write.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise HeapwrightError(
            f"cannot write {path}: {error.strerror or error}; write elsewhere or make room."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
