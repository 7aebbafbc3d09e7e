"""What `bare` makes with bounds checks, to Numba: a NamedTuple of one word, arrays of two.

    Bared      the address of a struct: addresses of arrays, and bared NamedTuples within it
    Checked    a bare array with bounds checks: its address and its length

Numba passes a NamedTuple by all of its members, and keeps it in variables as such: a heap of
seventy arrays is seventy arguments of every call, each of them named and typed in LLVM's text. A
`Bared` is one. It is written once, in the frame of the function that Python calls, and not changed.
As shipped, without checks, arguments of their own are quicker to replay with and no dearer.
"""

import hashlib
import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_getattr_generic, models, register_model


class Bared(types.NamedTuple):
    """A NamedTuple of bare arrays. Its name, of which symbols are made, is a short one."""

    def __init__(self, members: tuple[types.Type, ...], cls: type):
        super().__init__(members, cls)
        told = (cls.__module__, cls.__qualname__, *map(str, members))
        digest = hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]
        self.name = f"{cls.__name__}.{digest}"

    @property
    def key(self) -> str:
        """What tells it from others: they are compared and hashed thousands of times."""
        return str(self.name)


def struct_of(context: Any, kind: Bared) -> ir.Type:
    """The struct that a `Bared` is the address of."""
    return _struct(context.data_model_manager, kind)


def _struct(manager: Any, kind: Bared) -> ir.Type:
    members = (
        _struct(manager, member) if isinstance(member, Bared) else manager[member].get_value_type()
        for member in kind.types
    )
    return ir.LiteralStructType(list(members))


@register_model(Bared)
class _BaredModel(models.PrimitiveModel):
    def __init__(self, manager, kind):  # type: ignore[no-untyped-def]
        super().__init__(manager, kind, _struct(manager, kind).as_pointer())


def member(builder: Any, kind: Any, value: Any, index: int) -> Any:
    """A member of a NamedTuple, bared or not."""
    if not isinstance(kind, Bared):
        return builder.extract_value(value, index)
    place = cgutils.gep_inbounds(builder, value, 0, index)
    return place if isinstance(kind.types[index], Bared) else builder.load(place)


@lower_getattr_generic(Bared)
def _getattr(context, builder, kind, value, name):  # type: ignore[no-untyped-def]
    return member(builder, kind, value, kind.fields.index(name))


class Checked(types.Type):
    """The type of a bare array with bounds checks."""

    def __init__(self, dtype: types.Type):
        self.dtype = dtype
        super().__init__(f"Checked({dtype})")


@register_model(Checked)
class _CheckedModel(models.StructModel):
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
    return context.get_dummy_value()
