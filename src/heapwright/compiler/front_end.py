"""Spare Numba's front end what it does over and over for each kernel.

Most of the time that compiling takes is Numba's Python, not LLVM. A fifth of that answers what was
answered before: how `+` of two int64 is typed, whether two sets of flags are equal, which variables
an instruction names, who listens to events that nobody listens to. What is replaced here gives the
same answers, which `tests/compiler/test_front_end.py` holds beside Numba's own.

Asked for by `whole_program.install`, for the releases of Numba that `versions` knows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import NoneType
from typing import Any

from numba import types
from numba.core import base, event, ir, postproc, targetconfig, transforms
from numba.core.types.functions import BaseFunction

_compiling_kernel: Callable[[], bool] = bool  # told by `install`


def install(compiling_kernel: Callable[[], bool]) -> None:
    """Replace; `compiling_kernel` says whether what is compiled now is a kernel of ours."""
    global _compiling_kernel  # noqa: PLW0603 set once
    _compiling_kernel = compiling_kernel
    _only_heard_events()
    _flags_compared_quickly()
    _operators_typed_once()
    _variables_listed_quickly()
    _lifetimes_when_asked()
    _one_refresh_at_a_time()


def _only_heard_events() -> None:
    """An event that has no listener is not made. LLVM's lock alone tells two in each call."""
    start, end, trigger = event.start_event, event.end_event, event.trigger_event
    registered = event._registered

    def start_event(kind: str, data: Any = None) -> None:
        if registered[kind]:
            start(kind, data)

    def end_event(kind: str, data: Any = None, exc_details: Any = None) -> None:
        if registered[kind]:
            end(kind, data, exc_details)

    def trigger_event(kind: str, data: Any = None) -> Any:
        return trigger(kind, data) if registered[kind] else nullcontext()

    event.start_event, event.end_event, event.trigger_event = start_event, end_event, trigger_event


def _flags_compared_quickly() -> None:
    """Numba reads fifty properties to compare two sets of flags, which mostly are the same."""

    def values(self: Any) -> dict[str, Any]:
        own = self._values
        return {name: own.get(name, told.default) for name, told in self.options.items()}

    def equal(self: Any, other: Any) -> Any:
        if not isinstance(other, targetconfig.TargetConfig):
            return NotImplemented
        if type(self) is type(other) and self._values == other._values:
            return True
        return self.values() == other.values()

    targetconfig.TargetConfig.values = values
    targetconfig.TargetConfig.__eq__ = equal


_PLAIN = (types.Number, types.Boolean)  # and literals of them


def _operators_typed_once() -> None:
    """Of plain numbers: a dozen templates are tried for each operator, most of them of arrays."""
    get_call_type = BaseFunction.get_call_type
    known: dict[Any, Any] = {}

    def get_call_type_once(self: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws or not all(isinstance(kind, _PLAIN) for kind in args):
            return get_call_type(self, context, args, kws)
        key = id(self), id(context), tuple(args)
        found = known.get(key)
        if found is None:
            # `self` and the context are kept, so that no other object is given their numbers
            found = known[key] = get_call_type(self, context, args, kws), self, context
        return found[0]

    BaseFunction.get_call_type = get_call_type_once


_NO_VARIABLE = frozenset((ir.Loc, ir.Scope, str, int, bool, NoneType, float))


def _variables_listed_quickly() -> None:
    """Numba asks of each field of an instruction, its place in the source first, what it is."""

    def rec_list_vars(self: Any, value: Any) -> list[Any]:
        if isinstance(value, ir.Var):
            return [value]
        if isinstance(value, ir.Inst):
            return value.list_vars()
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            return []
        found = []
        for inner in value:
            kind = type(inner)
            if kind is ir.Var:
                found.append(inner)
            elif kind not in _NO_VARIABLE:
                found.extend(rec_list_vars(self, inner))
        return found

    ir.Inst._rec_list_vars = rec_list_vars


def _lifetimes_when_asked() -> None:
    """After each pass Numba works out which variables live where, and nobody asks before the last
    one; which live at the start of a block only object mode asks, in which no kernel is."""
    run = postproc.PostProcessor.run

    def run_when_asked(self: Any, emit_dels: bool = False, extend_lifetimes: bool = False) -> None:
        function = self.func_ir
        if function.is_generator or not _compiling_kernel():
            run(self, emit_dels, extend_lifetimes)
            return
        function.blocks = transforms.canonicalize_cfg(function.blocks)
        function.variable_lifetime = postproc.VariableLifetime(function.blocks)
        function.generator_info = None
        if emit_dels:
            self._insert_var_dels(extend_lifetimes=extend_lifetimes)

    postproc.PostProcessor.run = run_when_asked


def _one_refresh_at_a_time() -> None:
    """A context that takes up new declarations finds templates that each ask it to do so, within:
    250 times in each process. Asked within, it goes through them once more at its end."""
    refresh = base.BaseContext.refresh
    within: dict[int, bool] = {}  # contexts that are being refreshed: whether they were asked again

    def refresh_once(self: Any) -> None:
        if id(self) in within:
            within[id(self)] = True
            return
        with _noted(within, id(self)):
            refresh(self)
            if within[id(self)]:
                refresh(self)

    base.BaseContext.refresh = refresh_once


@contextmanager
def _noted(within: dict[int, bool], key: int) -> Iterator[None]:
    within[key] = False
    try:
        yield
    finally:
        del within[key]
