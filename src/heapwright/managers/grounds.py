"""A manager over another: `first-fit over glibc`, bound when its name is first used.

    managers/ground.py    bound to the ground       ─► what `machine/ground.py` is to the upper one
    upper's modules       copied, over that         ─► see compiler/bind.py
    managers/storeys.py   bound to both             ─► the manager that a replay binds

Why copies: docs/decisions/0010-grounds.md.
"""

import importlib
import re
from pathlib import Path

OVER = " over "
MACHINE = "machine"  # as a ground: none but the machine
_VERBS = "heapwright.machine.ground"
_HERE = Path(__file__).parent


def storeys(upper: tuple[str, str], beneath: tuple[str, str]) -> str:
    """The module of a manager over another, each a (name, module path); its name."""
    from heapwright.compiler.bind import bound_copy, rebound  # who binds none needs no compiler

    (upper_name, upper_path), (name, path) = upper, beneath
    mark, above_mark = (re.sub(r"\W", "_", text) for text in (name, upper_name))
    importlib.import_module(path)
    verbs = bound_copy(
        f"heapwright_ground_{mark}",
        _HERE / "ground.py",
        {_imported("manager", "manager"): _import(path, "manager")},
    )
    above = rebound(upper_path, {_VERBS: verbs.__name__}, f"over_{mark}")
    return bound_copy(
        f"heapwright_{above_mark}_over_{mark}",
        _HERE / "storeys.py",
        {
            "from heapwright.managers import ground\n": _import(verbs.__name__, "ground"),
            _imported("manager", "beneath"): _import(path, "beneath"),
            _imported("manager", "upper"): _import(above.__name__, "upper"),
            'NAMES = ("linear", "linear")': f"NAMES = {(upper_name, name)!r}",
        },
    ).__name__


def _imported(what: str, name: str) -> str:
    """The line of a template that imports the linear manager."""
    alias = "" if what == name else f" as {name}"
    return f"from heapwright.managers.textbook.linear import {what}{alias}\n"


def _import(path: str, name: str) -> str:
    """The line that imports a module under a name."""
    package, _, module = path.rpartition(".")
    return (
        f"from {package} import {module} as {name}\n" if package else f"import {path} as {name}\n"
    )
