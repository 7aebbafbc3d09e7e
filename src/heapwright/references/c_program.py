"""A C program of the house as an executable: built at first use, kept under its source's digest."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from heapwright.cache import cache_home
from heapwright.errors import HeapwrightError

COMPILERS = ("cc", "gcc", "clang")


def executable(
    what: str, name: str, sources: Sequence[Path], headers: Sequence[Path], flags: Sequence[str]
) -> Path:
    """The executable `name` made from `sources`; HeapwrightError without a compiler. `what` it is,
    for sentences."""
    digest = hashlib.sha256(" ".join(flags).encode())
    for source in [*sources, *headers]:
        digest.update(source.read_bytes())
    target = cache_home() / "references" / f"{name}-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    compiler = os.environ.get("CC") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise HeapwrightError(
            f"driving {what} needs a C compiler and none is here; "
            "install one, on Debian and Ubuntu: apt install gcc libc6-dev"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        fresh = Path(beside) / target.name
        command = [*compiler.split(), *flags, "-o", str(fresh), *map(str, sources), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            first = next(iter(built.stderr.strip().splitlines()), "no message")
            raise HeapwrightError(f"the harness of {what} did not compile: {first}")
        os.replace(fresh, target)
    return target
