"""Pass a heap between kernels as addresses instead of arrays: one register each, not seven.

A Numba array is seven words, and a heap of seven arrays is forty-nine arguments of every call
that is not inlined. `bare` makes, once at the start of a loop, the same NamedTuple with the
address of each array's first element in its place. Indexing is written the same way; `len` and
slices are gone. The gain is in docs/decisions/0003.

What is gone is refused where it would pass in silence. A bare array has no end, so `array[-1]` is
not its last element but the word before its first: interpreted, and compiled with bounds checks,
a negative index raises IndexError, as does one beyond the end.
"""

import os

import numpy as np

from heapwright.compiler.compiled import INTERPRETED

CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")

if INTERPRETED:

    class Elements:
        """An array of which only the elements from 0 on are seen, as through its address."""

        __slots__ = ("_array", "ctypes", "dtype")

        def __init__(self, array):  # type: ignore[no-untyped-def]
            self._array, self.ctypes, self.dtype = array, array.ctypes, array.dtype

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            if (index.start if isinstance(index, slice) else index) < 0:
                raise IndexError(f"{index}: a bare array has no elements before its first")
            return self._array[index]

        def __setitem__(self, index, value):  # type: ignore[no-untyped-def]
            if (index.start if isinstance(index, slice) else index) < 0:
                raise IndexError(f"{index}: a bare array has no elements before its first")
            self._array[index] = value

    def bare(state):  # type: ignore[no-untyped-def]
        """`state` with the elements of its arrays."""
        if hasattr(state, "_make"):  # a NamedTuple: others stay, compiled too
            return state._make(bare(member) for member in state)
        return Elements(state) if isinstance(state, np.ndarray) else state

else:
    import operator

    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic, lower_builtin, models, register_model
    from numba.np.arrayobj import load_item, store_item

    class Checked(types.Array):
        """A bare array with bounds checks. It is not aligned: no call from Python has its type."""

    register_model(Checked)(models.ArrayModel)

    def _element(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        """The address of an element that there is; IndexError otherwise. No index wraps around."""
        kind, index_kind = signature.args[:2]
        array = context.make_array(kind)(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], index_kind, types.intp)
        length = builder.extract_value(array.shape, 0)
        cgutils.do_boundscheck(context, builder, index, length)
        return builder.gep(array.data, [index])

    @lower_builtin(operator.getitem, Checked, types.Integer)
    def _get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = _element(context, builder, signature, arguments)
        return load_item(context, builder, signature.args[0], place)

    @lower_builtin(operator.setitem, Checked, types.Integer, types.Any)
    def _set(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind, _, given = signature.args
        place = _element(context, builder, signature, arguments)
        value = context.cast(builder, arguments[2], given, kind.dtype)
        store_item(context, builder, kind, value, place)

    def _bare_type(kind: types.Type) -> types.Type:
        if isinstance(kind, types.Array):
            if kind.ndim != 1 or kind.layout != "C":
                raise TypeError("a heap's arrays are one-dimensional and contiguous")
            if CHECKED:
                return Checked(kind.dtype, 1, "C", aligned=False)
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
