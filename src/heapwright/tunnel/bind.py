"""Bind the replay loop to a manager: a real module, so that its compiled form is kept on disk.

A kernel that closes over another manager's functions would be compiled anew in every process.
A copy of `loop.py` whose one import line names the manager is compiled once and then loaded. So
it goes with `graph_loop.py`, for managers with a collector, and with `game.py`, which plays the
worst case.
"""

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from heapwright.kernel.compiled import CACHE_FOLDER
from heapwright.managers.registry import Manager

_IMPORTS = dict.fromkeys(("loop", "game"), "from heapwright.managers import linear as manager\n")
_IMPORTS["graph_loop"] = "from heapwright.managers import semispace as manager\n"


def bound_loop(manager: Manager, template: str = "loop") -> ModuleType:
    """The module of `loop.py`, or of another template beside it, bound to `manager`; written once
    per version of the sources."""
    name = f"heapwright_{template}_" + re.sub(r"\W", "_", manager.name)
    package, _, module = manager.module_path.rpartition(".")
    origin = f"from {package} import {module}" if package else f"import {module}"
    path = Path(__file__).parent / f"{template}.py"
    return bound_copy(name, path, {_IMPORTS[template]: f"{origin} as manager\n"})


def bound_copy(name: str, template: Path, lines: Mapping[str, str]) -> ModuleType:
    """The module `name`: a copy of `template` with some of its import lines replaced."""
    if name in sys.modules:
        return sys.modules[name]
    text = template.read_text()
    for old, new in lines.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = CACHE_FOLDER / "loops" / f"{name}.py"
    # The cache is keyed by the file's time stamp: write only what is not yet there.
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    bound = importlib.util.module_from_spec(spec)
    sys.modules[name] = bound
    spec.loader.exec_module(bound)
    return bound
