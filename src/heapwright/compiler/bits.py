"""Bit counts that compile to one instruction."""

from heapwright.compiler.compiled import INTERPRETED

if INTERPRETED:

    def bit_length(value: int) -> int:
        """Index of the highest set bit plus one; 0 for 0."""
        return int(value).bit_length()

    def trailing_zeros(value: int) -> int:
        """Index of the lowest set bit; 64 for 0."""
        value = int(value) & 0xFFFF_FFFF_FFFF_FFFF
        return (value & -value).bit_length() - 1 if value else 64

    def bit_count(value: int) -> int:
        """Number of bits that are set."""
        return (int(value) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()
else:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    _ZERO_IS_DEFINED = ir.Constant(ir.IntType(1), 0)

    @intrinsic
    def bit_length(typing_context, value):
        """Index of the highest set bit plus one; 0 for 0."""

        def generate(context, builder, signature, arguments):
            zeros = builder.ctlz(arguments[0], _ZERO_IS_DEFINED)
            return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

        return types.int64(types.int64), generate

    @intrinsic
    def trailing_zeros(typing_context, value):
        """Index of the lowest set bit; 64 for 0."""

        def generate(context, builder, signature, arguments):
            return builder.cttz(arguments[0], _ZERO_IS_DEFINED)

        return types.int64(types.int64), generate

    @intrinsic
    def bit_count(typing_context, value):
        """Number of bits that are set."""

        def generate(context, builder, signature, arguments):
            return builder.ctpop(arguments[0])

        return types.int64(types.int64), generate
