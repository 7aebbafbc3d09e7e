"""What a kernel's author knows and the compiler does not: which way a test usually goes.

    if unlikely(count == limit):      the rare branch is laid out of the way

`@kernel(cold=True)` says the same of a whole function: never inlined, so that the fast path that
calls it stays a few instructions.
"""

from heapwright.compiler.compiled import INTERPRETED

if INTERPRETED:

    def likely(condition):
        """`condition`, which is usually true."""
        return condition

    def unlikely(condition):
        """`condition`, which is usually false."""
        return condition

else:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    _BIT = ir.IntType(1)

    def _expect(context, builder, signature, arguments, expected):
        condition = context.cast(builder, arguments[0], signature.args[0], types.boolean)
        name = "llvm.expect.i1"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_BIT, [_BIT, _BIT]), name
        )
        return builder.call(function, [condition, ir.Constant(_BIT, expected)])

    @intrinsic
    def likely(typing_context, condition):
        """`condition`, which is usually true."""

        def generate(context, builder, signature, arguments):
            return _expect(context, builder, signature, arguments, 1)

        return types.boolean(condition), generate

    @intrinsic
    def unlikely(typing_context, condition):
        """`condition`, which is usually false."""

        def generate(context, builder, signature, arguments):
            return _expect(context, builder, signature, arguments, 0)

        return types.boolean(condition), generate
