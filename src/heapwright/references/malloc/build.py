"""The harness as an executable: built at first use, kept under a name made from its source."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from heapwright.cache import cache_home
from heapwright.errors import HeapwrightError

FLAGS = ("-O2", "-std=gnu11", "-fno-builtin", "-rdynamic", "-pthread")
SOURCES = ("drive.c", "footprint.c", "aside.c")
COMPILERS = ("cc", "gcc", "clang")


def harness() -> Path:
    """The executable made from SOURCES; HeapwrightError without a compiler."""
    folder = Path(__file__).parent
    sources = [folder / name for name in SOURCES]
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for source in [*sources, folder / "footprint.h"]:
        digest.update(source.read_bytes())
    target = cache_home() / "references" / f"drive-{digest.hexdigest()[:16]}"
    if target.exists():
        return target
    compiler = os.environ.get("CC") or next(filter(shutil.which, COMPILERS), None)
    if compiler is None:
        raise HeapwrightError(
            "driving a real allocator needs a C compiler and none is here; "
            "install one, on Debian and Ubuntu: apt install gcc libc6-dev"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as beside:
        fresh = Path(beside) / target.name
        command = [*compiler.split(), *FLAGS, "-o", str(fresh), *map(str, sources), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            first = next(iter(built.stderr.strip().splitlines()), "no message")
            raise HeapwrightError(f"the harness of the real allocators did not compile: {first}")
        os.replace(fresh, target)
    return target
