"""What a kernel depends on: the sources of the modules that its module imports, and theirs.

    digest("…/tunnel/loop.py")   of its text and of every module that it imports at its top level,
                                 through the whole house, a plug-in's package and a bound copy

Imports inside functions and `if TYPE_CHECKING` are no dependences: a kernel's globals are bound
when its module is imported. Python's own modules and the libraries below are named by their
versions (see `cache`), not read.
"""

import hashlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

_FOREIGN = frozenset({"numpy", "numba", "llvmlite", "pyarrow", "typer", "rich", "pytest"})
_IMPORT = re.compile(r"^import ([^\n#]+)|^from ([\w.]+) import (\([^)]*\)|[^\n#]+)", re.MULTILINE)


@cache
def digest(path: Path) -> str:
    """Sixteen hexadecimal digits that change when a source that `path` depends on does."""
    sources = hashlib.sha256()
    for source in sorted(sources_of(path)):
        sources.update(f"{source.name}\0".encode())
        sources.update(source.read_bytes())
    return sources.hexdigest()[:16]


def sources_of(path: Path) -> set[Path]:
    """The files of the modules that `path` depends on, itself among them."""
    return _closed({path})


def digest_of(text: str) -> str:
    """As `digest`, of a module that is not yet a file."""
    sources = hashlib.sha256(text.encode())
    sources.update("".join(digest(path) for path in _files(text)).encode())
    return sources.hexdigest()[:16]


def _closed(found: set[Path]) -> set[Path]:
    pending = list(found)
    while pending:
        for source in _imports(pending.pop()):
            if source not in found:
                found.add(source)
                pending.append(source)
    return found


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    return _files(path.read_text())


def _files(text: str) -> tuple[Path, ...]:
    """Files of the modules that a source imports at its top level."""
    files = []
    for match in _IMPORT.finditer(text):
        plain, package, names = match.groups()
        if plain:
            modules = [name.split(" as ")[0].strip() for name in plain.split(",")]
        else:
            listed = re.sub(r"#[^\n]*", "", names.strip("() \n")).split(",")
            modules = [package, *(f"{package}.{name.split(' as ')[0].strip()}" for name in listed)]
        files += [file for module in modules if (file := _file(module))]
    return tuple(dict.fromkeys(files))


@cache
def _file(module: str) -> Path | None:
    """The source of a module; None of a foreign one and of a name that is no module."""
    if module.split(".", maxsplit=1)[0] in sys.stdlib_module_names | _FOREIGN:
        return None
    origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None and module not in sys.modules:
        parent = module.rpartition(".")[0]
        if parent and not hasattr(sys.modules.get(parent), "__path__"):
            return None
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None
