"""Pass a heap between kernels as addresses instead of arrays: one register each, not seven.

A Numba array is seven words, and a heap of seven arrays is forty-nine arguments of every call
that is not inlined. `bare` makes, once at the start of a loop, the same NamedTuple with the
address of each array's first element in its place. Indexing is written the same way; `len` and
slices are gone. The gain is in docs/decisions/0003.

Interpreted, `bare` leaves the arrays as they are; with bounds checks too, but for their type.
"""

import os

from heapwright.compiler.compiled import INTERPRETED

CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")

if INTERPRETED:

    def bare(state):  # type: ignore[no-untyped-def]
        """`state` itself."""
        return state

else:
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    def _bare_type(kind: types.Type) -> types.Type:
        if isinstance(kind, types.Array):
            if kind.ndim != 1 or kind.layout != "C":
                raise TypeError("a heap's arrays are one-dimensional and contiguous")
            # With bounds checks the array stays, under a type that no call from Python has.
            if CHECKED:
                return types.Array(kind.dtype, 1, "C", aligned=False)
            return types.CPointer(kind.dtype)
        if isinstance(kind, (types.NamedTuple, types.NamedUniTuple)):
            members = tuple(_bare_type(member) for member in kind.types)
            return types.NamedTuple(members, kind.instance_class)
        return kind

    def _bare_value(context, builder, kind, value):  # type: ignore[no-untyped-def]
        if isinstance(kind, types.Array):
            return value if CHECKED else context.make_array(kind)(context, builder, value).data
        if isinstance(kind, (types.NamedTuple, types.NamedUniTuple)):
            members = cgutils.unpack_tuple(builder, value, len(kind.types))
            return context.make_tuple(
                builder,
                _bare_type(kind),
                [
                    _bare_value(context, builder, member_kind, member)
                    for member_kind, member in zip(kind.types, members, strict=True)
                ],
            )
        return value

    @intrinsic
    def bare(typing_context, state):  # type: ignore[no-untyped-def]
        """`state`, a NamedTuple of arrays and NamedTuples, with addresses for its arrays."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return _bare_value(context, builder, signature.args[0], arguments[0])

        return _bare_type(state)(state), generate
