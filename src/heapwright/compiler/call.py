"""Call a C function through its address from a kernel.

Arguments and result are 64-bit integers or pointers. A function of fewer arguments ignores the
rest, and what a function without a result leaves behind means nothing: so it is in the C calling
conventions of x86-64 and AArch64.
"""

from heapwright.compiler.compiled import INTERPRETED

if INTERPRETED:
    import ctypes

    _Function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)

    def call(address: int, first: int, second: int) -> int:
        """What the function at `address` returns for two integers."""
        return int(_Function(int(address))(int(first), int(second)))
else:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def call(typing_context, address, first, second):
        """What the function at `address` returns for two integers."""

        def generate(context, builder, signature, arguments):
            word = ir.IntType(64)
            function = ir.FunctionType(word, [word, word]).as_pointer()
            return builder.call(builder.inttoptr(arguments[0], function), arguments[1:])

        return types.int64(types.int64, types.int64, types.int64), generate
