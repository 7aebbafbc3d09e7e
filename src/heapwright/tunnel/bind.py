"""Bind the replay loop to a manager: a real module, so that its compiled form is kept on disk.

A copy of `loop.py` whose one import line names the manager is compiled once and then loaded. So
it goes with `graph_loop.py`, for managers with a collector, and with `game.py`, which plays the
worst case. How is told in `compiler/bind.py`.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

from heapwright.compiler.bind import bound_copy
from heapwright.managers.registry import Manager

_MANAGER = re.compile(r"^from heapwright\.managers\.\S+ import manager\n", re.MULTILINE)


def bound_loop(manager: Manager, template: str = "loop") -> ModuleType:
    """The module of `loop.py`, or of another template beside it, bound to `manager`."""
    return bound_to(manager, Path(__file__).with_name(f"{template}.py"))


def bound_to(manager: Manager, template: Path) -> ModuleType:
    """The module of a template, bound to `manager`; written once per version of the sources."""
    name = f"heapwright_{template.stem}_" + re.sub(r"\W", "_", manager.name)
    if name in sys.modules:
        return sys.modules[name]
    assert manager.module  # imported, and held to the contract
    package, _, module = manager.module_path.rpartition(".")
    origin = f"from {package} import {module}" if package else f"import {module}"
    (line,) = _MANAGER.findall(template.read_text())
    return bound_copy(name, template, {line: f"{origin} as manager\n"})
