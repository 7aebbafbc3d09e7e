"""Kernels that call each other as C functions do: arguments in registers, and the result too.

A function compiled by Numba returns a status, for exceptions, and writes its result through a
pointer. A kernel raises nothing. So in an object compiled ahead of time a call of `f` becomes one
of `f.direct`, which returns the result; `definitions` writes those functions, around the originals.
A fast path then needs no stack frame for what its slow path would return.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.core.callconv import CPUCallConv, Status, excinfo_ptr_t

from heapwright.compiler import parts, whole_program

_NO, _YES = cgutils.false_bit, cgutils.true_bit
_SUCCESS = Status(
    code=ir.Constant(ir.IntType(32), 0),
    is_ok=_YES,
    is_none=_NO,
    is_error=_NO,
    is_stop_iteration=_NO,
    is_python_exc=_NO,
    is_user_exc=_NO,
    excinfoptr=cgutils.get_null_value(excinfo_ptr_t),
)

Calls = dict[str, tuple[str, list[str]]]  # by the original's name: types of result and arguments


def _calling_directly(calls: Calls) -> Any:
    """What stands in for `CPUCallConv.call_function`; it notes each call in `calls`."""

    def call_function(  # noqa: PLR0913, PLR0917 as in Numba
        self: Any, builder: Any, callee: Any, resty: Any, argtys: Any, args: Any, attrs: Any = None
    ) -> tuple[Status, Any]:
        result = self.get_return_type(resty).pointee
        passed = list(self._get_arg_packer(argtys).as_arguments(builder, args))
        kinds = [value.type for value in passed]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(result, kinds), direct(callee.name)
        )
        calls[callee.name] = (opaque(result), [opaque(kind) for kind in kinds])
        value = builder.call(function, passed)
        return _SUCCESS, self.context.get_returned_value(builder, resty, value)

    return call_function


def direct(name: str) -> str:
    """The name of a function's direct form."""
    return f"{name}.direct"


def opaque(kind: Any) -> str:
    """The text of an LLVM type, every pointer written as one that says nothing of its target."""
    if isinstance(kind, ir.PointerType):
        return "ptr"
    if isinstance(kind, ir.LiteralStructType):
        return "{" + ", ".join(opaque(element) for element in kind.elements) + "}"
    if isinstance(kind, ir.ArrayType):
        return f"[{kind.count} x {opaque(kind.element)}]"
    return str(kind)


@contextmanager
def direct_calls() -> Iterator[Calls]:
    """Compile with direct calls, and everything as a part; yields the calls, as they are made."""
    before, calls = CPUCallConv.call_function, Calls()
    parts.calls = calls
    CPUCallConv.call_function = _calling_directly(calls)
    whole_program.parts_only = True
    try:
        yield calls
    finally:
        CPUCallConv.call_function = before
        whole_program.parts_only = False


def definitions(calls: Calls, inlined: set[str]) -> str:
    """LLVM text of the direct forms. The original becomes the body of its form, which is inlined
    where the original was, and set apart if the kernel is cold."""
    text = []
    for name, (result, kinds) in calls.items():
        given = [f"{kind} %a{number}" for number, kind in enumerate(kinds)]
        how = "alwaysinline" if name in inlined else ""
        if name in parts.cold:
            how = "noinline cold"
        text.append(f"""
declare i32 @"{name}"({", ".join(["ptr", "ptr", *kinds])})
define {result} @"{direct(name)}"({", ".join(given)}) nounwind {how} {{
  %result = alloca {result}
  %unused = alloca ptr
  %status = call i32 @"{name}"({", ".join(["ptr %result", "ptr %unused", *given])})
  %value = load {result}, ptr %result
  ret {result} %value
}}""")
    return "\n".join(text)
