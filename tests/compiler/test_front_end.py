"""What is replaced in Numba's front end answers as Numba's own does."""

import pytest

from heapwright.compiler import INTERPRETED

if INTERPRETED:
    pytest.skip("nothing is compiled", allow_module_level=True)

from numba import types
from numba.core import base, errors, event, ir, targetconfig, utils
from numba.core.compiler import Flags
from numba.core.registry import cpu_target
from numba.core.types.functions import BaseFunction

from heapwright.compiler import front_end, kernel


def test_an_event_with_a_listener_is_told():
    with event.install_recorder("numba:llvm_lock") as heard:
        event.start_event("numba:llvm_lock", 1)
        with event.trigger_event("numba:llvm_lock", 2):
            pass
        event.end_event("numba:llvm_lock", 3)
    assert [told.data for _, told in heard.buffer] == [1, 2, 2, 3]


def test_flags_are_equal_where_their_values_are():
    one, other = Flags(), Flags()
    assert one == other and isinstance(one, targetconfig.TargetConfig)
    one.nrt = False  # its default, said
    assert one == other and one.values()["nrt"] is False
    one.nrt = True
    assert one != other and one.values() != other.values()
    assert one != "flags" and set(one.values()) == set(Flags.options)


def test_variables_of_an_instruction_in_their_order():
    place, scope = ir.unknown_loc, ir.Scope(None, ir.unknown_loc)
    a, b, c = (ir.Var(scope, name, place) for name in "abc")
    call = ir.Expr.call(a, [b, c], {"key": b}, place)
    assert call.list_vars() == [a, b, c, b]
    assert ir.Assign(call, c, place).list_vars() == [a, b, c, b, c]
    assert ir.Return(a, place).list_vars() == [a] and ir.Jump(7, place).list_vars() == []


def test_a_type_is_found_once_for_each_pair_of_numbers(monkeypatch):
    import operator

    context = cpu_target.typing_context
    context.refresh()
    add = context.resolve_value_type(operator.add)
    whole, real = types.int64, types.float64
    found = [
        BaseFunction.get_call_type(add, context, pair, {}).return_type
        for pair in ((whole, whole), (whole, real), (types.literal(1), whole), (whole, whole))
    ]
    assert found == [whole, real, whole, whole]


def test_a_refresh_within_a_refresh_is_one_more_after_it(monkeypatch):
    class Context(base.BaseContext):
        def __init__(self):
            self.loaded, self.typing_context = 0, type("Typing", (), {"refresh": lambda _: None})()

        def load_additional_registries(self):
            self.loaded += 1
            self.refresh()

        def install_registry(self, registry):
            pass

    context = Context()
    context.refresh()
    assert context.loaded == 2


@kernel
def _deleted(values, until):
    total = 0
    for i in range(until):
        if values[i] > 3:
            total += values[i]
        else:
            total, seen = total - 1, values[i]
            total += seen
    return total


def test_lifetimes_of_variables_in_branches_and_loops():
    import numpy as np

    values = np.array([1, 5, 9, 2])
    assert _deleted(values, 4) == _deleted.py_func(values, 4) == 15


@pytest.mark.parametrize("raised", [errors.TypingError("no"), ValueError("no")])
def test_an_error_says_what_was_going_on(raised):
    told = []
    for context in (errors.new_error_context, front_end._numbas_context):
        within = context("typing {name}", name="x", loc=ir.unknown_loc)
        with pytest.raises(type(raised)) as caught, within:
            raise type(raised)("no")
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert ("During: typing x" in told[0]) == isinstance(raised, errors.TypingError)


def test_a_signature_is_read_once():
    def function(one, *, loc=None):
        pass

    assert utils.pysignature(function) is utils.pysignature(function)
    assert "loc" in utils.pysignature(function).parameters
    assert str(utils.pysignature(dict.get)).startswith("(self, key")


@kernel
def _with_a_closure(values):
    factor = values[0] + 1

    def scaled(value):
        return value * factor

    return scaled(values[1])


def test_a_closure_is_inlined_where_there_is_one():
    import numpy as np

    assert _with_a_closure(np.array([1, 5])) == 10
