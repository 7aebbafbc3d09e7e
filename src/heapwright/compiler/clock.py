"""Read the processor's clock from a kernel: tens of cycles, where a system call would be hundreds.

A tick is a nanosecond when interpreted; compiled, it is the processor's own unit, of constant
rate. Who reports times measures a span of ticks and of seconds together and divides.
"""

from heapwright.compiler.compiled import INTERPRETED, kernel

if INTERPRETED:
    from time import perf_counter_ns as ticks
else:
    import platform

    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def ticks(typing_context):  # type: ignore[no-untyped-def]
        """The time now, in ticks."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            word = ir.IntType(64)
            if platform.machine() in ("aarch64", "arm64"):
                reader = ir.InlineAsm(ir.FunctionType(word, []), "mrs $0, cntvct_el0", "=r", True)
            else:
                name = "llvm.readcyclecounter"
                reader = builder.module.declare_intrinsic(name, (), ir.FunctionType(word, []))
            return builder.call(reader, [])

        return types.int64(), generate


@kernel
def now():
    """The same for Python to call."""
    return ticks()


__all__ = ["now", "ticks"]
