"""Compile kernels ahead of time to one object file whose functions have C's names.

    state     a NamedTuple like the kernels' own, whose arrays say where they will lie
    kernels ─► LLVM text of every part ─► linked; a C function for each export, which passes the
               addresses as constants ─► all else internal, optimised once ─► object file

After optimisation nothing of the NamedTuple is left: an array's element is a load or a store at a
constant address. No symbol of Python or Numba is left either; `undefined` lists what is.

Every argument and result is a 64-bit integer, which is how x86-64 passes pointers and sizes too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import from_dtype, types

from heapwright.compiler.direct_calls import definitions, direct_calls
from heapwright.compiler.forgetful import FORGETFUL
from heapwright.compiler.process import (
    ALONE,
    EXIT_HOOK,
    NEW_THREAD,
    PLACE_GET,
    PLACE_SET,
    THREAD_GET,
    THREAD_SET,
)

PROCESSOR = "x86-64-v2"  # what the object may need of any machine it is taken to
LINE_BYTES = 64  # of a cache: no two arrays share one


@dataclass(frozen=True)
class Fixed:
    """An array at a fixed address of the process; with rows, an array of Numba, else bare."""

    dtype: Any
    address: int
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Static:
    """An array inside the object, with the content it begins with."""

    name: str
    content: np.ndarray


@dataclass(frozen=True)
class Forgotten:
    """An array whose content nobody asks for."""


@dataclass(frozen=True)
class Export:
    """A C function: `function(state, *arguments)` under a name, which may be hidden."""

    name: str
    function: Any
    arguments: int
    is_void: bool = False
    is_hidden: bool = False
    has_context: bool = False  # one more argument of C before the others, of no meaning to us


def _is_tuple(state: Any) -> bool:
    return isinstance(state, tuple)


def _type(state: Any) -> Any:
    """The Numba type of a state or of one of its arrays."""
    if _is_tuple(state):
        return types.NamedTuple(tuple(_type(member) for member in state), type(state))
    if isinstance(state, Forgotten):
        return FORGETFUL
    if isinstance(state, Static):
        return types.CPointer(from_dtype(state.content.dtype))
    if state.rows:
        return types.Array(from_dtype(np.dtype(state.dtype)), len(state.rows), "C")
    return types.CPointer(from_dtype(np.dtype(state.dtype)))


def _leaves(state: Any) -> Iterable[Any]:
    if _is_tuple(state):
        for member in state:
            yield from _leaves(member)
    else:
        yield state


def _constants(leaf: Any) -> list[str]:
    """The LLVM arguments that pass an array."""
    if isinstance(leaf, Forgotten):
        return ["ptr null"]
    if isinstance(leaf, Static):
        return [f'ptr @"{leaf.name}"']
    place = f"ptr inttoptr (i64 {leaf.address} to ptr)"
    if not leaf.rows:
        return [place]
    item = np.dtype(leaf.dtype).itemsize
    strides = [item * int(np.prod(leaf.rows[axis + 1 :])) for axis in range(len(leaf.rows))]
    words = [int(np.prod(leaf.rows)), item]
    return [
        "ptr null",  # no owner
        "ptr null",
        *(f"i64 {word}" for word in words),
        place,
        *(f"i64 {word}" for word in (*leaf.rows, *strides)),
    ]


def _definition(leaf: Static) -> str:
    kind = f"[{leaf.content.nbytes} x i8]"
    if not leaf.content.any():
        value = "zeroinitializer"
    else:
        value = 'c"' + "".join(f"\\{byte:02X}" for byte in leaf.content.tobytes()) + '"'
    return f'@"{leaf.name}" = internal global {kind} {value}, align {LINE_BYTES}'


def _c_function(export: Export, mangled: str, constants: Sequence[str]) -> str:
    """A C function around a compiled kernel, whose status is always success."""
    given = [f"i64 %a{number}" for number in range(export.arguments)]
    passed = ", ".join(["ptr %result", "ptr %unused", *constants, *given])
    accepted = ["ptr %context", *given] if export.has_context else given
    result = "void" if export.is_void else "i64"
    finish = "ret void" if export.is_void else "%value = load i64, ptr %result\n  ret i64 %value"
    visibility = "hidden " if export.is_hidden else ""
    return f"""
define {visibility}{result} @{export.name}({", ".join(accepted)}) nounwind "no-builtins" {{
  %result = alloca i64
  %unused = alloca ptr
  %status = call i32 @"{mangled}"({passed})
  {finish}
}}"""


def _declaration(mangled: str, constants: Sequence[str], arguments: int) -> str:
    kinds = ["ptr", "ptr", *(text.split()[0] for text in constants), *["i64"] * arguments]
    return f'declare i32 @"{mangled}"({", ".join(kinds)})'


def _process(hooks: dict[str, str], first_place: str) -> str:
    """What `process` declares, and the calls at loading, forking and ending that `hooks` names:
    `thread_exit`, `fork_prepare`, `fork_parent`, `fork_child` and perhaps `finish`."""
    place = f'@"{first_place}"' if first_place else "null"
    forks = ", ".join(f"ptr @{hooks[f'fork_{when}']}" for when in ("prepare", "parent", "child"))
    return f"""
@own_word = internal thread_local(initialexec) global i64 {NEW_THREAD}
@own_place = internal thread_local(initialexec) global ptr {place}
@exit_key = internal global i32 -1
@__libc_single_threaded = extern_weak global i8
define i64 @{THREAD_GET}() alwaysinline {{
  %value = load i64, ptr @own_word
  ret i64 %value
}}
define void @{THREAD_SET}(i64 %value) alwaysinline {{
  store i64 %value, ptr @own_word
  ret void
}}
define i64 @{PLACE_GET}() alwaysinline {{
  %value = load i64, ptr @own_place
  ret i64 %value
}}
define void @{PLACE_SET}(i64 %value) alwaysinline {{
  store i64 %value, ptr @own_place
  ret void
}}
define i1 @{ALONE}() alwaysinline {{
  %unknown = icmp eq ptr @__libc_single_threaded, null
  br i1 %unknown, label %no, label %known
known:
  %value = load i8, ptr @__libc_single_threaded
  %alone = icmp ne i8 %value, 0
  ret i1 %alone
no:
  ret i1 false
}}
define void @{EXIT_HOOK}() noinline {{
  %key = load i32, ptr @exit_key
  %unused = call i32 @pthread_setspecific(i32 %key, ptr inttoptr (i64 1 to ptr))
  ret void
}}
define internal void @at_load() {{
  %made = call i32 @pthread_key_create(ptr @exit_key, ptr @{hooks["thread_exit"]})
  %known = call i32 @__register_atfork({forks}, ptr null)
  ret void
}}
declare i32 @pthread_setspecific(i32, ptr)
declare i32 @pthread_key_create(ptr, ptr)
declare i32 @__register_atfork(ptr, ptr, ptr, ptr)
{_called_by_loader("ctors", "at_load")}
{_called_by_loader("dtors", hooks["finish"]) if "finish" in hooks else ""}
"""


def _called_by_loader(when: str, function: str) -> str:
    record = "{ i32, ptr, ptr }"
    entry = f"{record} {{ i32 101, ptr @{function}, ptr null }}"
    return f"@llvm.global_{when} = appending global [1 x {record}] [{entry}]"


def object_file(
    state: Any, exports: Sequence[Export], hooks: dict[str, str], first_place: str = ""
) -> bytes:
    """The object file of `exports`, each compiled for `state`. `first_place` names the Static array
    that a thread's place is before it sets one."""
    kind = _type(state)
    leaves = list(_leaves(state))
    constants = [text for leaf in leaves for text in _constants(leaf)]
    libraries: dict[int, Any] = {}
    entries = {}  # by exported name: the compiled kernel's
    with direct_calls() as calls:
        for export in exports:
            arguments = (kind, *[types.int64] * export.arguments)
            export.function.compile(arguments)
            compiled = export.function.overloads[arguments]
            entries[export.name] = compiled.fndesc.llvm_func_name
            _gather(compiled.library, libraries)
    program = _linked([library._final_module for library in libraries.values()])
    inlined = {f.name for f in program.functions if b"alwaysinline" in b" ".join(f.attributes)}
    statics = {leaf.name: leaf for leaf in leaves if isinstance(leaf, Static)}
    glue = [_definition(leaf) for leaf in statics.values()]
    glue += [
        _declaration(name, constants, export.arguments)
        for name, export in {entries[export.name]: export for export in exports}.items()
        if name not in calls
    ]
    glue += [_c_function(export, entries[export.name], constants) for export in exports]
    glue += [definitions(calls, inlined), _process(hooks, first_place)]
    program.link_in(llvm.parse_assembly("\n".join(glue)))
    _make_internal(program, exports, {*entries.values(), *calls})
    return _optimised(program)


def _gather(library: Any, found: dict[int, Any]) -> None:
    """A part and the parts that it calls, each once."""
    if id(library) not in found:
        found[id(library)] = library
        for other in library._linking_libraries:
            _gather(other, found)


def _linked(modules: Sequence[Any]) -> Any:
    whole = llvm.parse_bitcode(modules[0].as_bitcode())
    for module in modules[1:]:
        whole.link_in(llvm.parse_bitcode(module.as_bitcode()))
    return whole


def _make_internal(program: Any, exports: Sequence[Export], bodies: set[str]) -> None:
    """Only exports keep their names; a kernel becomes the body of the form that calls it."""
    kept = {export.name for export in exports}
    for function in program.functions:
        if function.is_declaration:
            continue
        function.add_function_attribute("nounwind")
        if function.name in bodies:
            function.add_function_attribute("alwaysinline")
        if function.name not in kept:
            function.linkage = llvm.Linkage.internal
    for variable in program.global_variables:
        if not variable.is_declaration and not variable.name.startswith("llvm."):
            variable.linkage = llvm.Linkage.internal


def _optimised(program: Any) -> bytes:
    """Machine code of the program."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=PROCESSOR, opt=3, reloc="pic", codemodel="small"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    for _ in range(2):  # what the first inlined, the second simplifies
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(program, passes)
    program.verify()
    return machine.emit_object(program)
