"""Traces and results that lie elsewhere: a path, or whatever fsspec reads, as s3://bucket/name.

    "runs/a.heap.parquet"    a file here
    "s3://runs/a.parquet"    fetched into a folder, for a replay reads its trace twice
    "memory://a"             of this process alone

Only fsspec's own errors and the system's are met here: each becomes a sentence with the name.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heapwright.errors import HeapwrightError

if TYPE_CHECKING:
    import fsspec

PRIVATE = ("memory",)  # protocols whose files no other process sees


def is_remote(name: str) -> bool:
    """Whether fsspec is needed to open it; a path here may have any other form."""
    return "://" in name


def is_private(name: str) -> bool:
    """Whether only this process can open it."""
    return name.partition("://")[0] in PRIVATE


def file_system(name: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Where `name` lies, and its path there; HeapwrightError for a protocol that is not known."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(name)
    except (ImportError, ValueError, OSError) as error:
        raise HeapwrightError(f"cannot open {name}: {_first_line(error)}") from None


def fetched(name: str, folder: Path) -> Path:
    """The file `name`, as a file in `folder`."""
    system, path = file_system(name)
    here = folder / Path(path).name
    try:
        with system.open(path, "rb") as there, here.open("wb") as copy:
            shutil.copyfileobj(there, copy, 1 << 20)
    except FileNotFoundError:
        raise HeapwrightError(f"cannot open {name}: there is no such file") from None
    except Exception as error:
        raise refused("cannot read", name, error) from None
    return here


def matching(name: str) -> list[str]:
    """The names that a pattern with * stands for, sorted; what has no * stands for itself."""
    if "*" not in name:
        return [name]
    system, path = file_system(name)
    try:
        found = sorted(str(each) for each in system.glob(path))
    except Exception as error:
        raise refused("cannot list", name, error) from None
    return [system.unstrip_protocol(each) if is_remote(name) else each for each in found]


def refused(what: str, name: str, error: Exception) -> HeapwrightError:
    """The sentence for whatever a remote system raises: each has its own kinds of exceptions."""
    return HeapwrightError(f"{what} {name}: {_first_line(error)}")


def _first_line(error: Any) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
