"""Compile a loop and every kernel below it as one program, optimised once.

Numba optimises and emits each function together with all that it calls, so a call chain twenty
deep is optimised twenty times over. Here only what Python calls is a whole program. A kernel that
another one calls is a part: LLVM's text without wrapper, optimisation or machine code of its own,
kept on disk for the next whole that calls it (`parts`). The whole links all its parts, makes them
internal, which lets LLVM drop arguments and inline sole callers, and is optimised once. Figures:
docs/decisions/0003.

This reaches into numba.core: `_Library` extends the class that holds a function's LLVM module.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import types
from numba.core import codegen, config, event
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)
from numba.core.compiler_lock import global_compiler_lock

from heapwright.cache import alone, kernels, sweep_once, used
from heapwright.closure import digest, sources_of
from heapwright.compiler import front_end, parts

parts_only = False  # while an object is compiled ahead of time: nothing is called from Python
_STARTED = time.time()
_asked: list[Any] = []  # kernels that are being compiled or loaded, innermost last
_depth = 0  # of kernels that are being compiled, each for its caller; under numba's compiler lock


def _compiling_part() -> bool:
    """Whether what is being compiled is called by a kernel; what Python calls is a whole."""
    return parts_only or _depth > 1


def _is_called() -> bool:
    """Whether a kernel asks for what is looked for, and not Python."""
    return parts_only or _depth > 0


class _Library(codegen.JITCodeLibrary):
    """One compiled function and what it calls; or a part, which is only text until linked."""

    is_part = False
    is_kernel = False  # and not what Numba compiles for one, as `max`
    place: Path | None = None  # of a part that is kept
    _defined: set[str] | None = None

    def finalize(self) -> None:
        if _compiling_part():
            self._raise_if_finalized()
            self.is_part = self._finalized = True
            return
        self._linking_libraries = list(self._with_parts_of_parts())
        super().finalize()

    def _with_parts_of_parts(self) -> Iterator[Any]:
        """All that is linked, each symbol once: a kernel that was compiled here may also have been
        loaded as a part of what another process kept meanwhile. What is no part comes last: the
        linker drops it while nothing refers to it yet."""
        seen, defined, others = set(), set[str](), []
        pending = list(self._linking_libraries)
        while pending:
            library = pending.pop()
            if id(library) in seen:
                continue
            seen.add(id(library))
            if not getattr(library, "is_part", False):
                others.append(library)
                continue
            names = library.defines()
            if not names or not names <= defined:
                defined |= names
                pending.extend(library._linking_libraries)
                yield library
        yield from others

    def defines(self) -> set[str]:
        """The symbols of a part that others call."""
        if self._defined is None:
            self._defined = {
                function.name
                for function in self._final_module.functions
                if function.linkage == llvm.Linkage.external and not function.is_declaration
            }
        return self._defined

    def serialize_using_object_code(self) -> Any:
        """A whole is called from Python alone, so of its text, which Numba keeps beside the machine
        code for who links it, only the names are kept: half of what lay on disk."""
        if self.is_part or not self.is_kernel:
            return super().serialize_using_object_code()
        self._ensure_finalized()
        return (
            self.name,
            "object",
            (self._get_compiled_object(), parts.names_in(self._final_module)),
        )

    def _optimize_functions(self, ll_module: Any) -> None:
        """As Numba's, which sets the passes up for each function, and for declarations too."""
        try:
            passes, builder = self._codegen._function_pass_manager(
                **({"opt": 0} if config.BOUNDSCHECK else {})
            )
            if config.BOUNDSCHECK:  # what drops the references that would be kept nowhere
                passes.add_sroa_pass()
                passes.add_simplify_cfg_pass()
                passes.add_dead_code_elimination_pass()
        except (AttributeError, TypeError):  # an older Numba
            super()._optimize_functions(ll_module)
            return
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

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
        if not (config.BOUNDSCHECK and self._optimized_little()):
            super()._optimize_final_module()

    def _optimized_little(self) -> bool:
        """What says where an index was wrong need not be quick: a part was simplified by itself,
        and of the whole what must be inlined is inlined and what nobody calls is dropped."""
        try:
            passes, builder = self._codegen._module_pass_manager(
                loop_vectorize=False, slp_vectorize=False, opt=0
            )
            passes.add_global_dead_code_eliminate_pass()
        except (AttributeError, TypeError):  # an older Numba
            return False
        passes.run(self._final_module, builder)
        return True

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

    def folder(self) -> Path:
        """Where what the file's kernels compile to is kept."""
        return kernels(False) / digest(Path(self._py_func.__code__.co_filename))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        if not _is_called():
            self._turn_to(sig)
            return super().load_overload(sig, target_context)
        place = self.part(sig)
        return parts.load(place, _arguments(sig), target_context) if place else None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not _is_called():
            self._turn_to(sig)
            super().save_overload(sig, data)
            sweep_once()
        elif place := self.part(sig):
            parts.save(place, _arguments(sig), data, parts_only)

    def part(self, sig: Any) -> Path | None:
        """Where a part of this signature is kept; None where it is not."""
        if self._impl and not self._enabled:
            return None
        told = _told(sig) + ("direct" if parts_only else "")
        identity = parts.identity_of(self._py_func, self.folder().name, told)
        return identity and self.folder() / f"{self._impl.filename_base}.{identity}.part"

    def _turn_to(self, sig: Any) -> None:
        """Use the index of this signature."""
        base = f"{self._impl.filename_base}-{_told(sig)}"
        self._cache_file = IndexDataCacheFile(self._cache_path, base, "")


def _arguments(signature: Any) -> Any:
    return tuple(signature.args if hasattr(signature, "args") else signature)


def _told(signature: Any) -> str:
    """Twelve hexadecimal digits of a signature: its types and the modules of their classes."""
    arguments = _arguments(signature)
    told = [str(arguments), *(name for kind in arguments for name in _classes(kind))]
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]


def _classes(kind: Any) -> Iterator[str]:
    """Of a type's named tuples the full name of the class, its members and its words in their
    order: a kernel is compiled to places in it, and need not import the module that says them."""
    if isinstance(kind, types.BaseNamedTuple):
        cls = kind.instance_class
        yield f"{cls.__module__}.{cls.__qualname__}"
        yield " ".join((*kind.fields, *getattr(cls, "WORDS", ())))
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
def _one_more(function: Any, place: Path | None) -> Iterator[None]:
    """While a kernel is compiled."""
    global _depth  # noqa: PLW0603 one compiler, one lock, one answer
    outer = parts.identity
    parts.identity = (function, place.stem.rpartition(".")[2]) if place else None
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        parts.identity = outer


def _mark_cold(compiled: Any) -> None:
    """Keep a part out of its callers, and away from the fast path in memory."""
    if parts_only:
        parts.cold.add(compiled.fndesc.llvm_func_name)
        return
    function = compiled.library._final_module.get_function(compiled.fndesc.llvm_func_name)
    for attribute in ("noinline", "cold"):
        function.add_function_attribute(attribute)


def compile_as_part_or_whole(dispatcher: Any, cold: bool) -> None:
    """Make `dispatcher`, a numba function, compile by the rules above."""
    compiler = dispatcher._compiler
    compile_core: Callable[[Any, Any], Any] = compiler._compile_core

    def compile_core_by_kind(arguments: Any, return_type: Any) -> Any:
        place = dispatcher._cache.part(arguments)
        with _one_more(dispatcher.py_func, place), front_end.seldom_collecting():
            compiled = compile_core(arguments, return_type)
            compiled.library.is_kernel = True
            if cold and compiled.library.is_part:
                _mark_cold(compiled)
            return compiled

    def without_wrappers(flags: Any) -> Any:
        if _compiling_part():
            flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return flags

    compiler._compile_core = compile_core_by_kind
    compiler._customize_flags = without_wrappers
    if dispatcher.targetoptions.get("forceinline"):
        _compile_once_for_all_numbers(dispatcher)
    _tell_apart(dispatcher)
    dispatcher._cache = _Cache(dispatcher.py_func)


def _tell_apart(dispatcher: Any) -> None:
    """A kernel that Python calls and that another kernel calls is compiled as both: a whole with
    an entry, and a part."""
    compile_: Callable[[Any], Any] = dispatcher.compile
    add_overload: Callable[[Any], None] = dispatcher.add_overload
    wholes: list[Any] = []  # kept alive, since Python may call them

    def compile_as_asked(sig: Any) -> Any:
        with global_compiler_lock:
            arguments = _arguments(sig)
            found = dispatcher.overloads.get(arguments)
            if found is not None:
                if found.library.is_part == _is_called():
                    return found.entry_point
                wholes.append(dispatcher.overloads.pop(arguments))
            turn = nullcontext() if _is_called() else alone(dispatcher._cache.folder())
            _asked.append(dispatcher)
            try:
                with turn:
                    return compile_(sig)
            finally:
                _asked.pop()

    def add_with_entry(compiled: Any) -> None:
        if compiled.library.is_part:
            dispatcher.overloads[tuple(compiled.signature.args)] = compiled
        else:
            add_overload(compiled)

    dispatcher.compile, dispatcher.add_overload = compile_as_asked, add_with_entry


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
        if not _compiling_part():  # a part has no machine code, hence no variable to set
            set_env(self, name, env)

    install_timer = event.install_timer

    def time_others(kind: str, callback: Any) -> Any:
        """Numba times each function it compiles, and a lock tells the timers of all that wait for
        it: twenty deep, that was a twentieth of the time."""
        return nullcontext() if _asked or _is_called() else install_timer(kind, callback)

    event.install_timer = time_others
    front_end.install(_is_called)
    parts.install()
    codegen.JITCPUCodegen._library_class = _Library
    codegen.JITCPUCodegen.set_env = set_env_of_wholes
    if config.BOUNDSCHECK:
        customize: Callable[[Any, Any], None] = codegen.JITCPUCodegen._customize_tm_options

        def in_little_time(self: Any, options: Any) -> None:
            customize(self, options)
            options["opt"] = 0  # machine code, too, that need not be quick

        codegen.JITCPUCodegen._customize_tm_options = in_little_time
