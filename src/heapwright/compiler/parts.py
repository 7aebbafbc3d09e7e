"""Parts of programs, kept on disk: each kernel is typed and lowered once, whatever loop calls it.

A manager's loop is a hundred kernels and more, of which eighty are the machine's, the ledger's and
what managers share. Most of the time that compiling takes is Numba's Python, which turns a kernel
into LLVM's text; so that text, as bitcode, is kept beside the whole programs (`whole_program`), in
the folder of its module's digest, and the next loop that calls the kernel links it.

    FOLDER/NAME-LINE.IDENTITY.part    bitcode, the result's type, and the parts that it calls

A part that calls another names it as LLVM does, by its symbol. So symbols are the same in every
process: Numba's count of functions in them gives way to the kernel's identity, a digest of its
sources, its place, the kernels that it closes over and the types of its arguments. What Numba
itself compiled for a part (`max`, `in`) goes into its bitcode, unseen from outside.
"""

import copy
import hashlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import _dynfunc
from numba.core import bytecode
from numba.core.compiler import CompileResult
from numba.core.environment import Environment
from numba.core.typing import signature

from heapwright.cache import used

identity: tuple[Any, str] | None = None  # of the kernel that is being compiled: function, digest
calls: dict[str, Any] = {}  # in an object compiled ahead of time: see `direct_calls`
cold: set[str] = set()  # the cold kernels among them, whose callers see to it that they are
_loaded: dict[Path, Any] = {}  # libraries


def install() -> None:
    """Let a kernel's identity stand in its symbol."""
    from_function = bytecode.FunctionIdentity.from_function

    def from_function_by_identity(function: Any) -> Any:
        made = from_function(function)
        if identity and made.func is identity[0]:
            made.unique_id = identity[1]
        return made

    bytecode.FunctionIdentity.from_function = from_function_by_identity


def identity_of(function: Any, digest: str, types_told: str) -> str | None:
    """Sixteen hexadecimal digits; None of a kernel that closes over what has no name."""
    told = [digest, function.__qualname__, str(function.__code__.co_firstlineno), types_told]
    for cell in function.__closure__ or ():
        inner = _told(cell.cell_contents)
        if inner is None:
            return None
        told.append(inner)
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:16]


def _told(value: Any) -> str | None:
    """What a closed-over value is, the same in every process."""
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    function = getattr(value, "py_func", None)
    kept = getattr(value, "_cache", None)
    if function is None or not hasattr(kept, "folder"):
        return None
    return identity_of(function, kept.folder().name, "")


def save(path: Path, arguments: Any, compiled: Any, direct: bool) -> None:
    """Keep a part; nothing if it calls what is not kept, or has no place in another process.
    `direct`: it is of an object that is compiled ahead of time."""
    library, about = compiled.library, compiled.fndesc
    _loaded.setdefault(path, library)  # what another process kept meanwhile may call it
    if compiled.lifted or compiled.reload_init or compiled.signature.args != arguments:
        return
    needs, own = [], library._final_module
    pending = list(library._linking_libraries)
    while pending:
        called = pending.pop()
        if not getattr(called, "is_kernel", False):
            own = _with(own, called, direct)
            pending += called._linking_libraries if called.is_part else []
        elif called.place:
            needs.append(called.place)
        else:
            return
    if any("numba.dynamic.globals" in held.name for held in own.global_variables):
        return
    about = copy.copy(about)
    about.typemap = about.calltypes = about.argtypes = None
    called_directly = {f.name.removesuffix(".direct") for f in own.functions if f.is_declaration}
    noted = {name: calls[name] for name in called_directly if name in calls}
    program = needs, own.as_bitcode(), noted, about.mangled_name in cold
    text = pickle.dumps((about, compiled.signature.return_type, program), protocol=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    os.replace(temporary, path)
    library.place = path


def _with(module: Any, called: Any, direct: bool) -> Any:
    """A module with a copy of what Numba compiled from its own sources: private, or, where `direct`
    its direct form is still to be defined, one that gives way to its like."""
    inner = called._get_module_for_linking()
    own = {function.name for function in inner.functions if not function.is_declaration}
    module = module.clone()
    module.link_in(inner, preserve=True)  # of which it takes what it calls
    for function in module.functions:
        if function.name in own and not function.is_declaration:
            function.linkage = llvm.Linkage.weak_odr if direct else llvm.Linkage.internal
    return module


def load(path: Path, arguments: Any, target: Any) -> Any:
    """The result of a compilation that was kept; None if it was not."""
    found = _read(path)
    if found is None:
        return None
    about, returned, program = found
    library = _library(path, target, (about.mangled_name, *program))
    if library is None:
        return None
    about.argtypes = arguments
    environment = Environment.from_fndesc(about)
    return CompileResult(
        target_context=target,
        typing_context=target.typing_context,
        library=library,
        environment=environment,
        # It has no address; its callers know it by this object.
        entry_point=_dynfunc.make_function(
            about.lookup_module(), about.qualname, "", 0, environment, (library,)
        ),
        fndesc=about,
        type_annotation="",
        signature=signature(returned, *arguments),
        objectmode=False,
        lifted=(),
        typing_error=None,
        call_helper=None,
        metadata=None,
        reload_init=[],
        referenced_envs=(),
    )


def _read(path: Path) -> Any:
    try:
        return pickle.loads(path.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError):
        return None


def _library(path: Path, target: Any, program: Any = None) -> Any:
    """The library of a part, with those that it calls; None if one of them is gone."""
    if path in _loaded:
        return _loaded[path]
    if program is None:
        found = _read(path)
        if found is None:
            return None
        program = found[0].mangled_name, *found[2]
    symbol, needs, bitcode, noted, is_cold = program
    used(path.parent)
    called = [_library(need, target) for need in needs]
    if None in called:
        return None
    library = target.codegen().create_library(path.stem)
    library._final_module = llvm.parse_bitcode(bitcode)
    library._linking_libraries = called
    library.is_part = library.is_kernel = library._finalized = True
    library.place = path
    _loaded[path] = library
    calls.update(noted)
    if is_cold:
        cold.add(symbol)
    return library


def names_in(module: Any) -> bytes:
    """Bitcode of a module that defines the names which `module` lets others see, and says nothing
    of what they stand for."""
    unseen = llvm.Linkage.internal, llvm.Linkage.private
    lines = [
        line.format(value.name)
        for values, line in (
            (module.functions, 'define void @"{}"() {{ ret void }}'),
            (module.global_variables, '@"{}" = global i8 0'),
        )
        for value in values
        if not value.is_declaration and value.linkage not in unseen
    ]
    return bytes(llvm.parse_assembly("\n".join(lines)).as_bitcode())
