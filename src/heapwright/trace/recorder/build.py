"""Build a recorder's library at first use, and keep it.

Where there is no C compiler, the one that came with the wheel serves (`hatch_build.py`).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from heapwright.cache import cache_home
from heapwright.errors import HeapwrightError

FLAGS = Path(__file__).with_name("flags.txt").read_text().split()  # as hatch_build.py uses them


def library(name: str = "recorder", also: Sequence[str] = (), headers: Sequence[Path] = ()) -> Path:
    """Path of the library built from `name`*.c and the files `also`, with further folders of
    `headers`; HeapwrightError where it cannot be built."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        raise HeapwrightError("cannot record here: the recorder needs 64-bit Linux with glibc")
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob(f"{name}*.c")), *(folder / each for each in also)]
    flags = [*FLAGS, *(f"-I{each}" for each in headers)]
    parts = [*sources, *sorted(folder.glob("*.h"))]
    text = b"".join(part.read_bytes() for part in parts) + " ".join(flags).encode()
    digest = hashlib.sha256(text).hexdigest()[:16]
    built = cache_home() / "recorder" / f"{name}-{digest}.so"
    if not built.exists():
        compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc")
        shipped = folder / "prebuilt" / f"{name}.so"
        if not compiler and shipped.exists():
            return _loadable(shipped)
        if not compiler:
            raise HeapwrightError(
                "cannot record: there is no C compiler to build the recorder with; install gcc or "
                "clang, or name one in CC"
            )
        _build(compiler, sources, flags, built)
    return _loadable(built)


def _loadable(path: Path) -> Path:
    """`path`, which LD_PRELOAD can name."""
    if set(str(path)) & set(": "):
        raise HeapwrightError(
            f"cannot preload {path}: a blank or a colon parts names there; HEAPWRIGHT_CACHE names "
            "another folder"
        )
    return path


def _build(compiler: str, sources: list[Path], flags: list[str], target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            beside = Path(folder) / target.name
            done = subprocess.run(
                [compiler, "-o", str(beside), *map(str, sources), *flags],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                told = (done.stderr.strip() or f"status {done.returncode}").splitlines()[0]
                raise HeapwrightError(f"cannot build the recorder with {compiler}: {told}")
            os.replace(beside, target)
    except OSError as error:
        raise HeapwrightError(
            f"cannot build the recorder in {target.parent}: {error.strerror}; "
            "HEAPWRIGHT_CACHE names another folder"
        ) from None
