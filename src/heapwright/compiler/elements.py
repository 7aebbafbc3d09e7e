"""Where an element of a heap's array lies: what the intrinsics of this room share.

A heap's array is an address (`bare`), with bounds checks an address and a length, or a
one-dimensional NumPy array where it was not made bare.
"""

from llvmlite import ir
from numba import types

from heapwright.compiler.bared import Checked

WORD = ir.IntType(64)


def is_words(kind):
    """Whether a type is that of a heap's int64 array."""
    if isinstance(kind, (types.CPointer, Checked)):
        return kind.dtype == types.int64
    return isinstance(kind, types.Array) and kind.ndim == 1 and kind.dtype == types.int64


def data(context, builder, kind, value):
    """The address of an array's first element."""
    if isinstance(kind, types.CPointer):
        return value
    if isinstance(kind, Checked):
        return builder.extract_value(value, 0)
    return context.make_array(kind)(context, builder, value).data


def element(context, builder, signature, arguments):
    """The address of element `arguments[1]` of the int64 array `arguments[0]`."""
    first = data(context, builder, signature.args[0], arguments[0])
    return builder.gep(first, [arguments[1]], source_etype=WORD)
