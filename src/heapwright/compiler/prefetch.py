"""Ask for a cache line before it is needed: the memory fetches it while the program goes on.

`array` is an array of words or, after `bare`, an address. A prefetch never faults and changes
nothing but the time, so an index that lies outside does no harm.
"""

from typing import Any

from heapwright.compiler.compiled import INTERPRETED

if INTERPRETED:

    def prefetch(array: Any, index: int) -> None:
        """Do nothing: an interpreter waits for other things than memory."""
else:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    from heapwright.compiler.elements import data

    _FOR_WRITING, _KEEP, _DATA = 1, 3, 1  # llvm.prefetch's rw, locality and cache type

    @intrinsic
    def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
        """Begin to fetch the line of `array[index]`, which will be read and written soon."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            first = data(context, builder, signature.args[0], arguments[0])
            pointer = ir.IntType(8).as_pointer()
            line = builder.bitcast(builder.gep(first, [arguments[1]]), pointer)
            flag = ir.IntType(32)
            kinds = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
            function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kinds)
            builder.call(function, [line, flag(_FOR_WRITING), flag(_KEEP), flag(_DATA)])
            return context.get_dummy_value()

        return types.void(array, types.int64), generate


__all__ = ["prefetch"]
