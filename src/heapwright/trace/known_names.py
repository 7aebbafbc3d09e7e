"""The names of call sites that were looked up before, kept by the build-id of their file.

    HOME/names/BUILD-ID.json    {"by": what could be asked, "names": {offset: name}}

A file of one build-id has one answer to each offset, as long as the same is asked: where a tool or
the file's separate debug information has come since, what is kept says nothing any more.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from heapwright.cache import cache_home

DEBUG_FOLDER = Path("/usr/lib/debug/.build-id")
MOST = 100_000  # names of a file and a way that are kept
FILE_BYTES = 1 << 26  # the longest file that is read
_BUILD = re.compile("[0-9a-f]{8,128}")

Ask = Callable[[Sequence[int]], list[str]]  # names of offsets


def known(build: str, offsets: Sequence[int], ask: Ask) -> list[str]:
    """The name of each offset of the file with that build-id; what is not kept is asked for, and
    kept."""
    if not _BUILD.fullmatch(build):
        return ask(offsets)
    by = f"{shutil.which('addr2line')} {shutil.which('nm')} {_debug_time(build)}"
    names = _read(build, by)
    missing = [offset for offset in dict.fromkeys(offsets) if f"{offset:x}" not in names]
    if missing:
        told = ask(missing)
        found = {f"{offset:x}": name for offset, name in zip(missing, told, strict=True)}
        # One that has no name is asked for again: the tool may have had no time
        names |= {k: name for k, name in found.items() if not name.endswith(f"+0x{k}")}
        if len(names) <= MOST:
            _write(build, {"by": by, "names": names})
        names = found | names
    return [names[f"{offset:x}"] for offset in offsets]


def _debug_time(build: str) -> int:
    """When the separate debug information of a file was written; 0 where there is none."""
    try:
        return (DEBUG_FOLDER / build[:2] / f"{build[2:]}.debug").stat().st_mtime_ns
    except OSError:
        return 0


def _path(build: str) -> Path:
    return cache_home() / "names" / f"{build}.json"


def _read(build: str, by: str) -> dict[str, str]:
    """What is kept of a file, if the same could be asked then."""
    try:
        path = _path(build)
        if path.stat().st_size > FILE_BYTES:
            return {}
        text = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(text, dict) or text.get("by") != by:
        return {}
    names = text.get("names")
    kept = names.items() if isinstance(names, dict) else ()
    return {offset: name for offset, name in kept if isinstance(name, str)}


def _write(build: str, text: dict[str, object]) -> None:
    """Beside, then renamed: whoever reads meets a whole file. Where nothing can be kept nothing
    is."""
    with contextlib.suppress(OSError):
        folder = _path(build).parent
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            json.dump(text, file)
        os.replace(file.name, _path(build))
