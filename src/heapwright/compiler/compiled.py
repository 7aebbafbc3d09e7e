"""The one decorator: the same source compiled to native speed, or interpreted step by step.

    HEAPWRIGHT_INTERPRET=1   @kernel is the identity: step, teach, cover, or check the compiled way
    NUMBA_BOUNDSCHECK=1      compiled, every array index checked
    HEAPWRIGHT_WHOLE_PROGRAM=0   compiled by Numba's own means alone: see `versions`

Numba does not notice that a callee in another file changed and would serve a stale caller from
its disk cache. So each kernel is kept in a folder named by a digest of every source that its module
depends on: see `closure` and `cache`.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

INTERPRETED = os.environ.get("HEAPWRIGHT_INTERPRET", "0") not in ("", "0")

# The process that compiles an object for flight (`ahead`) needs every kernel's own LLVM text.
AHEAD = os.environ.get("HEAPWRIGHT_MACHINE", "") == "linux"

F = TypeVar("F", bound=Callable[..., Any])


if INTERPRETED:

    def kernel(function: F | None = None, *, inline: bool = False, cold: bool = False) -> Any:
        """Leave `function` as plain Python."""
        return function if function is not None else lambda inner: inner

    unsigned: Any = int
else:
    import numba

    from heapwright.compiler.versions import whole_programs

    WHOLE = whole_programs(numba.__version__)
    if WHOLE:
        from heapwright.compiler import whole_program

        whole_program.install()
    elif AHEAD:
        raise SystemExit(
            "a flight is compiled as a whole program, which HEAPWRIGHT_WHOLE_PROGRAM=0 or a Numba "
            "that was not tried rules out; HEAPWRIGHT_WHOLE_PROGRAM=1 tries"
        )

    def kernel(function: F | None = None, *, inline: bool = False, cold: bool = False) -> Any:
        """Compile `function` at its first call and keep the result on disk.

        `inline=True` asks LLVM to inline every call: for a fast path that is a few instructions,
        and for a part with one caller. `cold=True` forbids it, and lays the function out away from
        the others: for a slow path beside a fast one. No reference counting (`_nrt`): a kernel
        returns only arrays that it was given. Division by zero does not raise: guard it.
        """

        def compile_(inner: F) -> Any:
            if not WHOLE:
                return numba.njit(error_model="numpy", nogil=True)(inner)
            compiled = numba.njit(error_model="numpy", nogil=True, _nrt=False, forceinline=inline)(
                inner
            )
            whole_program.compile_as_part_or_whole(compiled, cold)
            return compiled

        return compile_(function) if function is not None else compile_

    # An index of this type is never negative, which saves the wrap-around test.
    unsigned = np.uint64
