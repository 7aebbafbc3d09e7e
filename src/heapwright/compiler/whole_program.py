"""Compile a loop and every kernel below it as one program, optimised once.

Numba optimises and emits each function together with all that it calls, so a call chain twenty
deep is optimised twenty times over. A kernel whose arguments hold bare addresses (`bare`) cannot
be called from Python; it exists only inside the loop that made the addresses. Such a part is kept
as plain LLVM text, without wrapper, optimisation or machine code of its own. The loop links
all its parts, makes them internal, which lets LLVM drop arguments and inline sole callers, and is
optimised once. Figures: docs/decisions/0003.

This reaches into numba.core: `_Library` extends the class that holds a function's LLVM module.
"""

import gc
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import codegen
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)

from heapwright.cache import kernels, sweep_once, used
from heapwright.closure import digest, sources_of

parts_only = False  # while an object is compiled ahead of time: nothing is called from Python
cold_parts: set[str] = set()  # the cold kernels among them, whose callers see to it that they are
_STARTED = time.time()
# While something is compiled: the compiler makes many objects that stay, and going through them
# over and over took a tenth of the time.
_SELDOM = (50_000, 20, 1000)
_compiling_part = False  # under numba's global compiler lock


def _holds_addresses(kind: Any) -> bool:
    if isinstance(kind, types.CPointer) or (isinstance(kind, types.Array) and not kind.aligned):
        return True
    return isinstance(kind, types.BaseTuple) and any(_holds_addresses(k) for k in kind.types)


def _is_part(signature: Any) -> bool:
    arguments = signature.args if hasattr(signature, "args") else signature
    return parts_only or any(_holds_addresses(kind) for kind in arguments)


class _Library(codegen.JITCodeLibrary):
    """One compiled function and what it calls; or a part, which is only text until linked."""

    is_part = False

    def finalize(self) -> None:
        if _compiling_part:
            self._raise_if_finalized()
            self.is_part = self._finalized = True
            return
        self._linking_libraries = list(self._with_parts_of_parts())
        super().finalize()

    def _with_parts_of_parts(self) -> Iterator[Any]:
        seen = set()
        pending = list(self._linking_libraries)
        while pending:
            library = pending.pop()
            if id(library) not in seen:
                seen.add(id(library))
                yield library
                if getattr(library, "is_part", False):
                    pending.extend(library._linking_libraries)

    def _get_module_for_linking(self) -> Any:
        # Numba's form is "linkonce", which the linker drops while nothing refers to it yet.
        return self._final_module if self.is_part else super()._get_module_for_linking()

    def _optimize_final_module(self) -> None:
        for library in self._linking_libraries:
            if getattr(library, "is_part", False):
                for function in library._final_module.functions:
                    if function.linkage == llvm.Linkage.external and not function.is_declaration:
                        linked = self._final_module.get_function(function.name)
                        linked.linkage = llvm.Linkage.internal
        super()._optimize_final_module()

    def get_pointer_to_function(self, name: str) -> Any:
        return 0 if self.is_part else super().get_pointer_to_function(name)


class _ByDependence(_CacheLocator):
    """A folder for the kernels of one file, named by a digest of all that the file depends on."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._py_file, self._line = py_file, py_func.__code__.co_firstlineno
        self._folder: Path = kernels(False) / digest(Path(py_file))

    def get_cache_path(self) -> str:
        return str(used(self._folder))

    def get_source_stamp(self) -> str:
        return ""  # the folder's name tells

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_ByDependence":
        return cls(py_func, py_file)


class _Kept(CompileResultCacheImpl):
    _locator_classes = (_ByDependence,)


class _Cache(FunctionCache):
    """Numba's disk cache, of whole programs; a kernel's place is found when first asked for.

    Each signature has an index of its own. Numba keeps all of a function's in one file, which can
    be read only where every class in any of them can be imported: a kernel that was once compiled
    for a copy of a module (`bind.rebound`) could not be loaded by a process without that copy.
    """

    _impl_class = _Kept

    def __init__(self, py_func: Any) -> None:
        self._py_func = py_func
        self._name = repr(py_func)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_impl" in vars(self):
            raise AttributeError(name)
        super().__init__(self._py_func)
        if _edited_since_start(Path(self._py_func.__code__.co_filename)):
            self.disable()
        return getattr(self, name)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if _is_part(sig):
            return None
        self._turn_to(sig)
        with _part(False):  # it is whole, though a part that is being compiled asked for it
            return super().load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        if not _is_part(sig):
            self._turn_to(sig)
            super().save_overload(sig, data)
            sweep_once()

    def _turn_to(self, sig: Any) -> None:
        """Use the index of this signature."""
        base = f"{self._impl.filename_base}-{_told(sig)}"
        self._cache_file = IndexDataCacheFile(self._cache_path, base, "")


def _told(signature: Any) -> str:
    """Twelve hexadecimal digits of a signature: its types and the modules of their classes."""
    arguments = signature.args if hasattr(signature, "args") else signature
    told = [str(arguments), *(name for kind in arguments for name in _classes(kind))]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]


def _classes(kind: Any) -> Iterator[str]:
    """Full names of the classes of a type's named tuples."""
    if isinstance(kind, types.BaseNamedTuple):
        yield f"{kind.instance_class.__module__}.{kind.instance_class.__qualname__}"
    if isinstance(kind, types.BaseTuple):
        for inner in kind.types:
            yield from _classes(inner)


def _edited_since_start(path: Path) -> bool:
    """Whether the sources on disk may be newer than those that this process runs."""
    copies = kernels(False)  # where bound copies lie, which are named by their own digest
    return any(
        source.stat().st_mtime > _STARTED
        for source in sources_of(path)
        if not source.is_relative_to(copies)
    )


@contextmanager
def _part(is_part: bool) -> Iterator[None]:
    global _compiling_part  # noqa: PLW0603 one compiler, one lock, one answer
    outer, _compiling_part = _compiling_part, is_part
    try:
        yield
    finally:
        _compiling_part = outer


def _mark_cold(compiled: Any) -> None:
    """Keep a part out of its callers, and away from the fast path in memory."""
    if parts_only:
        cold_parts.add(compiled.fndesc.llvm_func_name)
        return
    function = compiled.library._final_module.get_function(compiled.fndesc.llvm_func_name)
    for attribute in ("noinline", "cold"):
        function.add_function_attribute(attribute)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Python's garbage collector looks seldom within; see _SELDOM."""
    before = gc.get_threshold()
    gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def compile_as_part_or_whole(dispatcher: Any, cold: bool, keep: bool) -> None:
    """Make `dispatcher`, a numba function, compile by the rules above; `keep` it on disk."""
    compiler = dispatcher._compiler
    compile_core: Callable[[Any, Any], Any] = compiler._compile_core

    def compile_core_by_kind(arguments: Any, return_type: Any) -> Any:
        with _part(_is_part(arguments)), _seldom_collecting():
            compiled = compile_core(arguments, return_type)
            if cold and compiled.library.is_part:
                _mark_cold(compiled)
            return compiled

    def without_wrappers(flags: Any) -> Any:
        if _compiling_part:
            flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags

    compiler._compile_core = compile_core_by_kind
    compiler._customize_flags = without_wrappers
    if dispatcher.targetoptions.get("forceinline"):
        _compile_once_for_all_numbers(dispatcher)
    if keep:
        dispatcher._cache = _Cache(dispatcher.py_func)


def _compile_once_for_all_numbers(dispatcher: Any) -> None:
    """`load(machine, 8)` and `load(machine, 16)`, which Numba compiles apart, are calls of one
    function: it is inlined, and then the number is known."""
    get_call_template: Callable[[Any, Any], Any] = dispatcher.get_call_template

    def of_types(arguments: Any, named: Any) -> Any:
        named = {name: types.unliteral(kind) for name, kind in named.items()}
        return get_call_template(tuple(types.unliteral(kind) for kind in arguments), named)

    dispatcher.get_call_template = of_types


def install() -> None:
    """Let numba build its libraries from `_Library`."""
    set_env = codegen.JITCPUCodegen.set_env

    def set_env_of_wholes(self: Any, name: str, env: Any) -> None:
        if not _compiling_part:  # a part has no machine code, hence no variable to set
            set_env(self, name, env)

    codegen.JITCPUCodegen._library_class = _Library
    codegen.JITCPUCodegen.set_env = set_env_of_wholes
