"""Where what is built once is kept: compiled kernels, bound loops, flights, recorders, drivers.

    HOME/kernels/SETTINGS/SOURCE-DIGEST/      a kernel, by what its module imports (`closure`): a
                                              whole program, or a part that others link (*.part)
    HOME/kernels/SETTINGS/loops/DIGEST/       a loop bound to a manager
    HOME/classes/NUMBER.json                  a table of size classes (`class_tables`)
    HOME/names/BUILD-ID.json                  call sites of a system's library (`trace/known_names`)
    HOME/flight, recorder, references, ...    whatever else is built

SETTINGS is a digest of what freezes into code beside the sources: the versions of Python, NumPy and
Numba and the flags. So an edited module meets no stale code, and what does not import it keeps its
own. Folders that nobody used for a month are swept away.

HOME is HEAPWRIGHT_CACHE, else XDG_CACHE_HOME/heapwright, else ~/.cache/heapwright; where none can
be written to, as in a hardened container, a private temporary folder, and a line on stderr says so.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

try:
    import fcntl
except ImportError:  # a system without; then everybody makes what he needs
    fcntl: Any = None  # type: ignore[no-redef]

KEPT = ("kernels", "flight", "recorder", "references", "go-build", "classes", "names")
UNUSED_SECONDS = 30 * 24 * 3600
PATIENCE_SECONDS = 120  # that a process waits for another one to make what it needs too
FLAGS = (
    "NUMBA_BOUNDSCHECK",
    "NUMBA_OPT",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "HEAPWRIGHT_MACHINE",  # the kernel's or the model: see `machine`
)


def cache_home() -> Path:
    """The folder in which everything is kept; it exists and can be written to."""
    return _home(os.environ.get("HEAPWRIGHT_CACHE", ""), os.environ.get("XDG_CACHE_HOME", ""))


@cache
def _home(chosen: str, xdg: str) -> Path:
    if chosen:
        return Path(chosen)  # who writes there says what is wrong with it
    wanted = Path(xdg) / "heapwright" if xdg else None
    if wanted is None:
        with contextlib.suppress(RuntimeError):  # nobody's home
            wanted = Path.home() / ".cache" / "heapwright"
    if wanted and _can_write(wanted):
        return wanted
    private = Path(tempfile.gettempdir()) / f"heapwright-{_user()}"
    if not (_can_write(private) and _is_ours(private)):
        private = Path(tempfile.mkdtemp(prefix="heapwright-"))
    print(
        f"heapwright: {wanted or 'the home folder'} cannot be written to; compiled code is kept "
        f"in {private}. HEAPWRIGHT_CACHE names another folder.",
        file=sys.stderr,
    )
    return private


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _user() -> int:
    """The number of this user; 0 for all on systems that number none, as st_uid is there."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_ours(folder: Path) -> bool:
    """Nobody else can put code there."""
    about = folder.lstat()
    return about.st_uid == _user() and not about.st_mode & 0o022 and not folder.is_symlink()


@cache
def kernels(interpreted: bool) -> Path:
    """The folder of compiled kernels under the present settings."""
    from importlib.metadata import version

    about = [f"{flag}={os.environ.get(flag, '')}" for flag in FLAGS]
    about += [sys.version, str(interpreted)]
    about += [version(library) for library in ("numpy", "numba", "llvmlite")]
    return cache_home() / "kernels" / hashlib.sha256(";".join(about).encode()).hexdigest()[:12]


@cache
def used(folder: Path) -> Path:
    """`folder`, noted as used now so that no sweep takes it."""
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While something for `folder` is made: who would make the same waits, and then finds it.

    Two workers of a comparison that replay one manager under two settings compiled it twice. The
    lock is POSIX's: it ends with its process, and what is forked has none. Where there can be none,
    and after PATIENCE_SECONDS, the same is made twice, which costs time alone.
    """
    with contextlib.ExitStack() as held:
        if fcntl:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                _wait_for(held.enter_context((folder / ".lock").open("w")))
        yield


def _wait_for(file: IO[str]) -> None:
    """Lock a file, as soon as nobody else has it; OSError after a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.01)


@cache
def sweep_once() -> None:
    """Sweep, the first time in this process."""
    sweep(UNUSED_SECONDS)


def sweep(unused_seconds: float) -> int:
    """Remove folders of compiled code unused for so long; the bytes that were freed."""
    freed = 0
    oldest = time.time() - unused_seconds
    for folder in _swept(cache_home()):
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < oldest:
                freed += size_of(folder)
                shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for settings in (cache_home() / "kernels").iterdir():
            if not any(settings.iterdir()):
                settings.rmdir()
    return freed


def _swept(home: Path) -> list[Path]:
    found = []
    for pattern in ("kernels/*/*", "kernels/*/loops/*", "flight/*"):
        found += [path for path in home.glob(pattern) if path.name != "loops"]
    return found


class Kept(NamedTuple):
    """What lies in one folder of the cache."""

    what: str
    entries: int
    bytes: int
    used: str  # the latest day, as 2026-11-28; "" when empty


def contents(home: Path) -> list[Kept]:
    """What is kept, folder by folder."""
    rows = []
    for folder in (home / name for name in KEPT if (home / name).is_dir()):
        entries = list(folder.glob("*/*") if folder.name == "kernels" else folder.iterdir())
        latest = max((entry.stat().st_mtime for entry in entries), default=0)
        day = time.strftime("%Y-%m-%d", time.localtime(latest)) if latest else ""
        rows.append(Kept(folder.name, len(entries), size_of(folder), day))
    return rows


def clear(home: Path) -> int:
    """Remove everything that this package keeps; the bytes that were freed.

    Only folders by the names of what is kept here: HEAPWRIGHT_CACHE may name a folder that holds
    other things too.
    """
    freed = 0
    for name in KEPT:
        folder = home / name
        if folder.is_dir() and not folder.is_symlink():
            freed += size_of(folder)
            shutil.rmtree(folder, ignore_errors=True)
    return freed


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total
