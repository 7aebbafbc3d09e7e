"""Copy a module and bind it to others: generic kernels, each compiled and kept as if written out.

    bound_copy   a template with some of its import lines replaced
    rebound      a module, and every module between it and some others, over substitutes for those

A kernel that is given another one, or closes over it, has no place of its own on disk. So what is
generic is a module that imports its parts by name, and a copy of it that imports others is compiled
once and then loaded. Interpreted, a copy runs under its template's own file name and keeps its line
numbers, so that a breakpoint set in the template stops there.
"""

import ast
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from heapwright.cache import kernels, used
from heapwright.closure import digest_of
from heapwright.compiler.compiled import INTERPRETED

_FOREIGN = sys.stdlib_module_names | {"numpy", "numba", "llvmlite"}


def bound_copy(name: str, template: Path, lines: Mapping[str, str]) -> ModuleType:
    """The module `name`: a copy of `template` with some of its import lines replaced."""
    if name in sys.modules:
        return sys.modules[name]
    text = template.read_text()
    for old, new in lines.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    return _written(name, template, text)


def rebound(module: str, substitutes: Mapping[str, str], mark: str) -> ModuleType:
    """`module` over `substitutes`, names of modules by those they stand for.

    Every module that imports one of those, or another such module, is copied, and its copy named
    by `mark`: the same mark stands for the same substitutes. What imports none is shared.
    """
    chosen = _dependents(module, frozenset(substitutes), {})
    renamed = dict(substitutes)
    for name in chosen:
        renamed[name] = f"heapwright_{mark}_" + re.sub(r"\W", "_", name)
        if renamed[name] not in sys.modules:
            source = Path(str(importlib.import_module(name).__file__))
            _written(renamed[name], source, _renamed(source.read_text(), name, renamed))
    return sys.modules[renamed.get(module, module)]


def _dependents(module: str, targets: frozenset[str], known: dict[str, list[str]]) -> list[str]:
    """The modules from `module` down that import one of `targets`, lowest first."""
    if module in known:
        return known[module]
    known[module] = []
    imported = importlib.import_module(module)
    source = getattr(imported, "__file__", None)
    if source is None or not source.endswith(".py"):
        return []
    below: list[str] = []
    depends = False
    for name in _imports(ast.parse(Path(source).read_text()), module):
        if name in targets:
            depends = True
        elif name.partition(".")[0] not in _FOREIGN:
            found = _dependents(name, targets, known)
            below += [one for one in found if one not in below]
            depends |= name in found
    known[module] = [*below, module] if depends else below
    return known[module]


def _imports(tree: ast.Module, module: str) -> Iterator[str]:
    """Full names of the modules that a module imports at its top level."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = _package(node, module)
            yield package
            for alias in node.names:
                if importlib.util.find_spec(package) and _is_module(f"{package}.{alias.name}"):
                    yield f"{package}.{alias.name}"


def _package(node: ast.ImportFrom, module: str) -> str:
    """What a `from` imports from; "." is the folder of `module`."""
    if not node.level:
        return str(node.module)
    folder = module if hasattr(sys.modules[module], "__path__") else module.rpartition(".")[0]
    above = folder.split(".")[: len(folder.split(".")) - node.level + 1]
    return ".".join([*above, *filter(None, [node.module])])


def _is_module(name: str) -> bool:
    if name in sys.modules:
        return True
    package = sys.modules.get(name.rpartition(".")[0])
    return hasattr(package, "__path__") and importlib.util.find_spec(name) is not None


def _renamed(text: str, module: str, names: Mapping[str, str]) -> str:
    """The text of `module` with the modules in `names` imported under other names. Interpreted the
    number of lines stays; on disk each import has a line, as `closure` reads them."""
    between = "; " if INTERPRETED else "\n"
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            plain = [alias.name for alias in node.names if alias.name in names]
            assert not plain, f"{module}: write `from ... import` of {', '.join(plain)}"
        if not isinstance(node, ast.ImportFrom):
            continue
        package = _package(node, module)
        parts, rest = [], []
        for alias in node.names:
            if (name := f"{package}.{alias.name}") in names:
                parts.append(f"import {names[name]} as {alias.asname or alias.name}")
            else:
                rest.append(alias)
        if package in names or parts or node.level:
            if rest:
                kept = ", ".join(ast.unparse(alias) for alias in rest)
                parts.append(f"from {names.get(package, package)} import {kept}")
            first, past = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:past] = [between.join(parts)] + [""] * (past - first - 1)
    return "\n".join(lines) + "\n"


def _written(name: str, template: Path, text: str) -> ModuleType:
    """The module of `text`; on disk, in a folder named by a digest of it and of what it imports."""
    if INTERPRETED:
        return _imported(name, template, text)
    path = kernels(False) / "loops" / digest_of(text) / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    used(path.parent)
    return _imported(name, path, text)


def _imported(name: str, path: Path, text: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    bound = importlib.util.module_from_spec(spec)
    sys.modules[name] = bound
    try:
        exec(compile(text, path, "exec"), vars(bound))
    except BaseException:
        del sys.modules[name]
        raise
    return bound
