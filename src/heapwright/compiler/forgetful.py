"""An array that forgets: what is written to it goes nowhere, what is read from it is 0.

A heap counts its paths in an array. Where nobody asks for the counts, this type stands in the
array's place, and `heap.paths[HIT] += 1` compiles to nothing.
"""

import operator

from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model


class Forgetful(types.Type):
    """The type."""

    def __init__(self):
        super().__init__("forgetful")


FORGETFUL = Forgetful()
register_model(Forgetful)(models.OpaqueModel)


@infer_global(operator.getitem)
class _Get(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Forgetful):
            return signature(types.int64, args[0], args[1])
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Forgetful):
            return signature(types.none, *args)
        return None


@lower_builtin(operator.getitem, Forgetful, types.Any)
def _get(context, builder, sig, args):
    return context.get_constant(types.int64, 0)


@lower_builtin(operator.setitem, Forgetful, types.Any, types.Any)
def _set(context, builder, sig, args):
    return context.get_dummy_value()
