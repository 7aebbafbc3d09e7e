"""Bind the replay loop to a manager: a real module, so that its compiled form is kept on disk.

A kernel that closes over another manager's functions would be compiled anew in every process.
A copy of `loop.py` whose one import line names the manager is compiled once and then loaded. So
it goes with `graph_loop.py`, for managers with a collector, and with `game.py`, which plays the
worst case. Interpreted, the copy runs under the template's own file name, so that a breakpoint set
in the template stops there.
"""

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from heapwright.compiler import INTERPRETED, cache, closure
from heapwright.managers.registry import Manager

_MANAGER = re.compile(r"^from heapwright\.managers\.\S+ import manager\n", re.MULTILINE)


def bound_loop(manager: Manager, template: str = "loop") -> ModuleType:
    """The module of `loop.py`, or of another template beside it, bound to `manager`."""
    return bound_to(manager, Path(__file__).with_name(f"{template}.py"))


def bound_to(manager: Manager, template: Path) -> ModuleType:
    """The module of a template, bound to `manager`; written once per version of the sources."""
    name = f"heapwright_{template.stem}_" + re.sub(r"\W", "_", manager.name)
    if name not in sys.modules:
        assert manager.module  # imported, and held to the contract
    package, _, module = manager.module_path.rpartition(".")
    origin = f"from {package} import {module}" if package else f"import {module}"
    (line,) = _MANAGER.findall(template.read_text())
    return bound_copy(name, template, {line: f"{origin} as manager\n"})


def bound_copy(name: str, template: Path, lines: Mapping[str, str]) -> ModuleType:
    """The module `name`: a copy of `template` with some of its import lines replaced."""
    if name in sys.modules:
        return sys.modules[name]
    text = template.read_text()
    for old, new in lines.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    if INTERPRETED:
        return _imported(name, template, text)
    path = cache.kernels(False) / "loops" / closure.digest_of(text) / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    cache.used(path.parent)
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
