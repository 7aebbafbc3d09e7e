"""What a kernel depends on: the sources of the modules that its module imports, and theirs.

    digest("…/tunnel/loop.py")   of its text and of every module that it imports when it is itself
                                 imported, through the whole house, a plug-in's package and a copy

Imports inside functions and under `if TYPE_CHECKING` are no dependences: a kernel's globals are
bound when its module is imported; those under any other `if` or a `try` may be, and count. Relative
imports are followed by place, absolute ones to the file that Python loaded: so a plug-in's own
module counts where it has the name of one of Python's. Python's own modules and the libraries below
are named by their versions (see `cache`), not read.
"""

import hashlib
import importlib.machinery
import importlib.util
import os
import re
import sys
from functools import cache
from pathlib import Path

_FOREIGN = frozenset({"numpy", "numba", "llvmlite", "pyarrow", "typer", "rich", "pytest"})
_PYTHONS = os.path.dirname(os.__file__)  # where Python's own modules lie
_IMPORT = re.compile(
    r"^([ \t]*)(?:import ([^\n#;]+)|from (\.*)([\w.]*) import (\([^)]*\)|[^\n#;]+))", re.MULTILINE
)
_TYPES_ONLY = re.compile(r"if (?:\w+\.)?TYPE_CHECKING\b")


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
    return _files(path.read_text(), path.parent)


def _files(text: str, folder: Path | None = None) -> tuple[Path, ...]:
    """Files of the modules that a source in `folder` imports when it is imported."""
    files: list[Path | None] = []
    for match in _IMPORT.finditer(text.replace("\\\n", "  ")):
        indent, plain, dots, package, names = match.groups()
        if indent and not _is_run(match.string, match.start(), len(indent)):
            continue
        if plain:
            for name in plain.split(","):
                parts = name.split(" as ")[0].strip().split(".")
                files += [_file(".".join(parts[: n + 1])) for n in range(len(parts))]
            continue
        listed = re.sub(r"#[^\n]*", "", names.strip("() \n")).split(",")
        wanted = [name.split(" as ")[0].strip() for name in listed]
        if dots:
            files += _beside(folder, len(dots), package, wanted) if folder else []
        else:
            files += [_file(package), *(_file(f"{package}.{name}") for name in wanted)]
    return tuple(dict.fromkeys(file for file in files if file))


def _is_run(text: str, start: int, indent: int) -> bool:
    """Whether an indented import is made when its module is: in no function, not for types only."""
    for line in reversed(text[:start].splitlines()):
        bare = line.lstrip()
        here = len(line) - len(bare)
        if not bare or bare.startswith("#") or here >= indent:
            continue
        if bare.startswith(("def ", "async def ")) or _TYPES_ONLY.match(bare):
            return False
        # The end of a header of several lines: its beginning has the same indent.
        indent = here + 1 if bare.startswith(")") else here
        if indent == 0:
            break
    return True


def _beside(folder: Path, dots: int, package: str, names: list[str]) -> list[Path | None]:
    """Files of a relative import: of the package, and of those of its names that are modules."""
    for _ in range(dots - 1):
        folder = folder.parent
    inner = folder.joinpath(*package.split(".")) if package else folder
    return [_source(inner), *(_source(inner / name) for name in names if name.isidentifier())]


def _source(module: Path) -> Path | None:
    """The file of the module, or package, at this place."""
    for file in (module / "__init__.py", module.with_name(f"{module.name}.py")):
        if file.is_file():
            return file
    return None


@cache
def _file(module: str) -> Path | None:
    """The source of a module; None of a foreign one and of a name that is no module."""
    top = module.split(".", maxsplit=1)[0]
    if top in _FOREIGN and _is_package(top):
        return None
    origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None and module not in sys.modules:
        origin = _origin(module)
    if origin is None or not origin.endswith(".py"):
        return None
    if top in sys.stdlib_module_names and origin.startswith(_PYTHONS):
        return Path(origin) if "-packages" in origin else None
    return Path(origin)


@cache
def _is_package(top: str) -> bool:
    """Whether this is a library's folder and not a plug-in's file; imported or not."""
    if top in sys.modules:
        return hasattr(sys.modules[top], "__path__")
    spec = importlib.util.find_spec(top)
    return spec is not None and spec.submodule_search_locations is not None


def _origin(module: str) -> str | None:
    """Where a module lies that is not imported, and is not for this, nor are the packages above."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = importlib.machinery.PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec.origin if spec else None
