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
from typing import Any

import numpy as np

from heapwright.compiler.compiled import INTERPRETED

MOST_KNOWN = 4  # interpreted: a heap and its run, and one pair more
CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") not in ("", "0")

if INTERPRETED:

    class Elements:
        """An array of which only the elements from 0 on are seen, as through its address."""

        __slots__ = ("_array", "dtype")

        def __init__(self, array):  # type: ignore[no-untyped-def]
            self._array, self.dtype = array, array.dtype

        @property
        def ctypes(self):  # type: ignore[no-untyped-def]
            """As of the array."""
            return self._array.ctypes

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            try:  # millions of times
                if index < 0:
                    raise _before(index)
            except TypeError:  # a slice
                if index.start < 0:
                    raise _before(index) from None
            return self._array[index]

        def __setitem__(self, index, value):  # type: ignore[no-untyped-def]
            if (index.start if isinstance(index, slice) else index) < 0:
                raise _before(index)
            self._array[index] = value

    def _before(index):  # type: ignore[no-untyped-def]
        return IndexError(f"{index}: a bare array has no elements before its first")

    _known: dict[int, tuple[Any, Any]] = {}  # states and what was made of them, by their id

    def bare(state):  # type: ignore[no-untyped-def]
        """`state` with the elements of its arrays. Of the last few states it is kept: a test asks
        for one event at a time, and it took half of the time."""
        found = _known.get(id(state))
        if found:
            return found[1]
        made = _made_bare(state)
        if len(_known) == MOST_KNOWN:
            _known.clear()
        _known[id(state)] = state, made
        return made

    def _made_bare(state):  # type: ignore[no-untyped-def]
        if hasattr(state, "_make"):  # a NamedTuple: others stay, compiled too
            return state._make(_made_bare(member) for member in state)
        return Elements(state) if isinstance(state, np.ndarray) else state

else:
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    from heapwright.compiler.bared import Bared, Checked, struct_of

    def _bare_type(kind: types.Type) -> types.Type:
        if isinstance(kind, types.Array):
            if kind.ndim != 1 or kind.layout != "C":
                raise TypeError("a heap's arrays are one-dimensional and contiguous")
            return Checked(kind.dtype) if CHECKED else types.CPointer(kind.dtype)
        if isinstance(kind, (types.NamedTuple, types.NamedUniTuple)) and not _is_bared(kind):
            members = tuple(_bare_type(member) for member in kind.types)
            return (Bared if CHECKED else types.NamedTuple)(members, kind.instance_class)
        return kind

    def _is_bared(kind: types.Type) -> bool:
        return isinstance(kind, Bared)

    def _bare_array(context, builder, kind, value):  # type: ignore[no-untyped-def]
        array = context.make_array(kind)(context, builder, value)
        if not CHECKED:
            return array.data
        made = cgutils.create_struct_proxy(_bare_type(kind))(context, builder)
        made.data, made.length = array.data, array.nitems
        return made._getvalue()

    def _bare_value(context, builder, kind, value):  # type: ignore[no-untyped-def]
        """Of a NamedTuple, with addresses for its arrays."""
        if isinstance(kind, types.Array):
            return _bare_array(context, builder, kind, value)
        if _bare_type(kind) == kind:
            return value
        members = [
            _bare_value(context, builder, member, builder.extract_value(value, index))
            for index, member in enumerate(kind.types)
        ]
        return context.make_tuple(builder, _bare_type(kind), members)

    def _write(context, builder, kind, value, place):  # type: ignore[no-untyped-def]
        """Write a NamedTuple's members, made bare, to the struct at `place`."""
        for index, member in enumerate(kind.types):
            own = builder.extract_value(value, index)
            to = cgutils.gep_inbounds(builder, place, 0, index)
            if _is_bared(member):
                builder.store(builder.load(own), to)
            elif _is_bared(_bare_type(member)):
                _write(context, builder, member, own, to)
            else:
                builder.store(_bare_value(context, builder, member, own), to)

    @intrinsic
    def bare(typing_context, state):  # type: ignore[no-untyped-def]
        """`state`, a NamedTuple of arrays and NamedTuples, with addresses for its arrays."""
        bared = _bare_type(state)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            (value,) = arguments
            if _is_bared(state) or not _is_bared(bared):
                return _bare_value(context, builder, state, value)
            place = cgutils.alloca_once(builder, struct_of(context, bared))
            _write(context, builder, state, value, place)
            return place

        return bared(state), generate
