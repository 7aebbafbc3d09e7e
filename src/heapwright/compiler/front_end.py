"""Spare Numba's front end what it does over and over for each kernel.

Most of the time that compiling takes is Numba's Python, not LLVM. A fifth of that answers what was
answered before: how `+` of two int64 is typed, whether two sets of flags are equal, which variables
an instruction names, who listens to events that nobody listens to. What is replaced here gives the
same answers, which `tests/compiler/test_front_end.py` holds beside Numba's own.

Asked for by `whole_program.install`, for the releases of Numba that `versions` knows.
"""

import gc
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import NoneType
from typing import Any
from weakref import WeakKeyDictionary

from numba import types
from numba.core import (
    base,
    errors,
    event,
    inline_closurecall,
    interpreter,
    ir,
    lowering,
    postproc,
    targetconfig,
    transforms,
    typed_passes,
    typeinfer,
    utils,
)
from numba.core.types.functions import BaseFunction

from heapwright.compiler.bared import Checked

_compiling_kernel: Callable[[], bool] = bool  # told by `install`
# While something is compiled: the compiler makes many objects that stay, and going through them
# over and over took a tenth of the time.
_SELDOM = (50_000, 20, 1000)


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
    _contexts_of_errors_made_quickly()
    _signatures_read_once()
    _no_rewrites_of_what_is_not_there()


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Python's garbage collector looks seldom within; see _SELDOM."""
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


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


_PLAIN = (types.Number, types.Boolean, types.CPointer, Checked)  # and literals of them


def _operators_typed_once() -> None:
    """Of plain numbers, and elements of bare arrays: a dozen templates are tried for each operator,
    most of them of arrays."""
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


class _Context:
    """What an error that is raised within is to say besides; Numba's is a generator, made for each
    instruction."""

    __slots__ = ("_told",)

    def __init__(self, *told: Any, **named: Any) -> None:
        self._told = told, named

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            told, named = self._told
            with _numbas_context(*told, **named):
                raise error


_numbas_context = errors.new_error_context


def _contexts_of_errors_made_quickly() -> None:
    errors.new_error_context = lowering.new_error_context = typeinfer.new_error_context = _Context


def _signatures_read_once() -> None:
    """Of the functions that lower an instruction: whether they take its place in the source."""
    known: WeakKeyDictionary[Any, inspect.Signature] = WeakKeyDictionary()

    def signature_once(function: Any) -> inspect.Signature:
        try:
            found = known.get(function)
            if found is None:
                found = known[function] = inspect.signature(function)
        except TypeError:  # of what no weak reference is made
            return inspect.signature(function)
        return found

    utils.pysignature = signature_once


def _has(function: ir.FunctionIR, *operations: str) -> bool:
    """Whether one of these expressions is the value of a variable."""
    for values in function._definitions.values():
        for value in values:
            if type(value) is ir.Expr and value.op in operations:
                return True
    return False


def _no_rewrites_of_what_is_not_there() -> None:
    """Closures, comprehensions, lists that become arrays, sums of arrays, `with` and dictionaries
    are looked for in every instruction, variables' ends being written into it first for that and
    taken out again. A kernel has none of them, mostly."""
    inline = inline_closurecall.InlineClosureCallPass.run
    rewrite = typed_passes.NopythonRewrites.run_pass
    leave, fuse = (
        interpreter.peep_hole_delete_with_exit,
        interpreter.peep_hole_fuse_dict_add_updates,
    )

    def inline_what_is_there(self: Any) -> None:
        if not _compiling_kernel() or _has(self.func_ir, "make_function", "build_list"):
            inline(self)

    def rewrite_what_is_there(self: Any, state: Any) -> bool:
        arrays = any(isinstance(kind, types.Array) for kind in state.typemap.values())
        if not _compiling_kernel() or arrays or _has(state.func_ir, "build_list"):
            rewrite(self, state)
        return True

    def leave_what_is_there(function: ir.FunctionIR) -> ir.FunctionIR:
        names = function._definitions
        return leave(function) if any("$setup_with" in name for name in names) else function

    def fuse_what_is_there(function: ir.FunctionIR) -> ir.FunctionIR:
        return fuse(function) if _has(function, "build_map") else function

    inline_closurecall.InlineClosureCallPass.run = inline_what_is_there
    typed_passes.NopythonRewrites.run_pass = rewrite_what_is_there
    interpreter.peep_hole_delete_with_exit = leave_what_is_there
    interpreter.peep_hole_fuse_dict_add_updates = fuse_what_is_there
