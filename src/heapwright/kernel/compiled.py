"""The one decorator: the same source compiled to native speed, or interpreted step by step.

    HEAPWRIGHT_INTERPRET=1   @kernel is the identity: step, teach, cover, or check the compiled way
    NUMBA_BOUNDSCHECK=1      compiled, every array index checked

Numba does not notice that a callee in another file changed and would serve a stale caller from
its disk cache. So the cache folder's name is a digest of every source file of the package and of
each setting that freezes into code: a changed source starts an empty cache.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

INTERPRETED = os.environ.get("HEAPWRIGHT_INTERPRET", "0") not in ("", "0")

# The process that compiles an object for flight (`ahead`) needs every kernel's own LLVM text.
AHEAD = os.environ.get("HEAPWRIGHT_MACHINE", "") == "linux"

F = TypeVar("F", bound=Callable[..., Any])


def cache_home() -> Path:
    """Where compiled code and built helpers are kept; `HEAPWRIGHT_CACHE` moves it."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heapwright"
    return Path(os.environ.get("HEAPWRIGHT_CACHE") or default)


def _source_digest() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for source in sorted(package.rglob("*.py")):
        room = source.relative_to(package).parts[0]
        if room in ("cli", "report"):  # hold no kernel: an edit there keeps the cache
            continue
        digest.update(str(source.relative_to(package)).encode())
        digest.update(source.read_bytes())
    for flag in ("NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        digest.update(f"{flag}={os.environ.get(flag, '')};".encode())
    digest.update(f"{sys.version};{np.__version__};{INTERPRETED}".encode())
    return digest.hexdigest()[:16]


CACHE_FOLDER = cache_home() / "kernels" / _source_digest()

if INTERPRETED:

    def kernel(function: F | None = None, *, inline: bool = False, cold: bool = False) -> Any:
        """Leave `function` as plain Python."""
        return function if function is not None else lambda inner: inner

    unsigned: Any = int
else:
    os.environ["NUMBA_CACHE_DIR"] = str(CACHE_FOLDER)
    import numba

    from heapwright.kernel import whole_program

    numba.config.CACHE_DIR = str(CACHE_FOLDER)
    whole_program.install()

    def kernel(function: F | None = None, *, inline: bool = False, cold: bool = False) -> Any:
        """Compile `function` at its first call and keep the result on disk.

        `inline=True` asks LLVM to inline every call: for a fast path that is a few instructions,
        and for a part with one caller. `cold=True` forbids it, and lays the function out away from
        the others: for a slow path beside a fast one. No reference counting (`_nrt`): a kernel
        returns only arrays that it was given. Division by zero does not raise: guard it.
        """

        def compile_(inner: F) -> Any:
            compiled = numba.njit(error_model="numpy", nogil=True, _nrt=False, forceinline=inline)(
                inner
            )
            whole_program.compile_as_part_or_whole(compiled, cold, keep=not AHEAD)
            return compiled

        return compile_(function) if function is not None else compile_

    # An index of this type is never negative, which saves the wrap-around test.
    unsigned = np.uint64
