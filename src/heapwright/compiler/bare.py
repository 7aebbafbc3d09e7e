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
    from numba.core.typing.templates import AbstractTemplate, infer_global, signature
    from numba.extending import intrinsic, lower_builtin, models, register_model

    from heapwright.compiler.elements import Checked

    @register_model(Checked)
    class _CheckedModel(models.StructModel):
        """Two words: a heap of them is two thirds cheaper to compile than one of NumPy's arrays."""

        def __init__(self, manager, kind):  # type: ignore[no-untyped-def]
            members = [("data", types.CPointer(kind.dtype)), ("length", types.intp)]
            super().__init__(manager, kind, members)

    @infer_global(operator.getitem)
    class _Get(AbstractTemplate):
        def generic(self, args, kws):  # type: ignore[no-untyped-def]
            if isinstance(args[0], Checked) and isinstance(args[1], types.Integer):
                return signature(args[0].dtype, args[0], types.intp)
            return None

    @infer_global(operator.setitem)
    class _Set(AbstractTemplate):
        def generic(self, args, kws):  # type: ignore[no-untyped-def]
            if isinstance(args[0], Checked) and isinstance(args[1], types.Integer):
                return signature(types.none, args[0], types.intp, args[0].dtype)
            return None

    def _element(context, builder, kind, value, index):  # type: ignore[no-untyped-def]
        """The address of an element that there is; IndexError otherwise. No index wraps around."""
        array = cgutils.create_struct_proxy(kind)(context, builder, value)
        cgutils.do_boundscheck(context, builder, index, array.length)
        return builder.gep(array.data, [index])

    @lower_builtin(operator.getitem, Checked, types.Integer)
    def _get(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        place = _element(context, builder, kind, *arguments)
        return context.unpack_value(builder, kind.dtype, place)

    @lower_builtin(operator.setitem, Checked, types.Integer, types.Any)
    def _set(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        place = _element(context, builder, kind, *arguments[:2])
        context.pack_value(builder, kind.dtype, arguments[2], place)

    def _bare_type(kind: types.Type) -> types.Type:
        if isinstance(kind, types.Array):
            if kind.ndim != 1 or kind.layout != "C":
                raise TypeError("a heap's arrays are one-dimensional and contiguous")
            if CHECKED:
                return Checked(kind.dtype)
            return types.CPointer(kind.dtype)
        if isinstance(kind, (types.NamedTuple, types.NamedUniTuple)):
            members = tuple(_bare_type(member) for member in kind.types)
            return types.NamedTuple(members, kind.instance_class)
        return kind

    def _bare_value(context, builder, kind, value):  # type: ignore[no-untyped-def]
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            if not CHECKED:
                return array.data
            bare_array = cgutils.create_struct_proxy(_bare_type(kind))(context, builder)
            bare_array.data, bare_array.length = array.data, array.nitems
            return bare_array._getvalue()
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
