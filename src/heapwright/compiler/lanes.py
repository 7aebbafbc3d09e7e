"""Sixteen int32 at once: one cache line compared, summed or searched in a vector step.

LLVM unrolls a loop of sixteen before it thinks of vectors; these say it outright. `array` is an
int32 array or, after `bare`, an address; `first` the index of the first of the LANES elements.
"""

from typing import Any

import numpy as np

from heapwright.compiler.compiled import INTERPRETED

LANES = 16
MOST = (1 << 31) - 1  # the largest value of a lane

if INTERPRETED:

    def lanes_at_least(array: np.ndarray, first: int, least: int) -> int:
        """Bit i is set where array[first + i] >= least, an int64."""
        fits = array[int(first) : int(first) + LANES] >= least
        return int(np.packbits(fits, bitorder="little").view(np.uint16)[0])

    def lanes_largest(array: np.ndarray, first: int) -> int:
        """The largest element."""
        return int(array[int(first) : int(first) + LANES].max())

    def lanes_sum(array: np.ndarray, first: int, lanes: int) -> int:
        """Sum of the first `lanes` elements."""
        return int(array[int(first) : int(first) + int(lanes)].sum())
else:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    from heapwright.compiler.elements import data

    _WORD = ir.IntType(32)
    _VECTOR = ir.VectorType(_WORD, LANES)

    def _vector(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """The LANES elements of the call's first two arguments, loaded."""
        first = data(context, builder, signature.args[0], arguments[0])
        start = builder.gep(first, [arguments[1]])
        return builder.load(builder.bitcast(start, _VECTOR.as_pointer()), align=4)

    def _splat(builder: Any, word: Any) -> Any:
        """`word` in every lane."""
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), word, ir.IntType(32)(0))
        return builder.shuffle_vector(
            one,
            ir.Constant(_VECTOR, ir.Undefined),
            ir.Constant(ir.VectorType(_WORD, LANES), [0] * LANES),
        )

    def _reduce(builder: Any, name: str, vector: Any) -> Any:
        """An LLVM reduction of the lanes, as int64."""
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_WORD, [_VECTOR]),
            f"llvm.vector.reduce.{name}.v{LANES}i32",
        )
        return builder.sext(builder.call(function, [vector]), ir.IntType(64))

    @intrinsic
    def lanes_at_least(typing_context, array, first, least):  # type: ignore[no-untyped-def]
        """Bit i is set where array[first + i] >= least, an int64."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            most = ir.Constant(ir.IntType(64), MOST)
            too_large = builder.icmp_signed(">", arguments[2], most)
            word = builder.trunc(builder.select(too_large, most, arguments[2]), _WORD)
            vector = _vector(context, builder, signature, arguments)
            fits = builder.icmp_signed(">=", vector, _splat(builder, word))
            mask = builder.bitcast(fits, ir.IntType(LANES))
            return builder.zext(mask, ir.IntType(64))

        return types.int64(array, types.int64, types.int64), generate

    @intrinsic
    def lanes_largest(typing_context, array, first):  # type: ignore[no-untyped-def]
        """The largest element."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vector = _vector(context, builder, signature, arguments)
            return _reduce(builder, "smax", vector)

        return types.int64(array, types.int64), generate

    @intrinsic
    def lanes_sum(typing_context, array, first, lanes):  # type: ignore[no-untyped-def]
        """Sum of the first `lanes` elements."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vector = _vector(context, builder, signature, arguments)
            number = ir.Constant(_VECTOR, list(range(LANES)))
            word = builder.trunc(arguments[2], _WORD)
            wanted = builder.icmp_signed("<", number, _splat(builder, word))
            kept = builder.select(wanted, vector, ir.Constant(_VECTOR, [0] * LANES))
            return _reduce(builder, "add", kept)

        return types.int64(array, types.int64, types.int64), generate
