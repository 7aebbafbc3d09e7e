"""Bind C's functions, and the account of a process, to a manager."""

import re
from pathlib import Path
from types import ModuleType

from heapwright.compiler.bind import bound_copy
from heapwright.managers.registry import Manager
from heapwright.tunnel.bind import bound_loop

_LOOP = "from heapwright.tunnel import loop\n"
_CALLERS = "from heapwright.flight import callers\n"


def bound(manager: Manager, template: str) -> ModuleType:
    """The module of `interface.py`, `callers.py` or `account.py`, bound to a manager."""
    lines = {_LOOP: f"import {bound_loop(manager).__name__} as loop\n"}
    if template == "interface":
        lines[_CALLERS] = f"import {bound(manager, 'callers').__name__} as callers\n"
    name = f"heapwright_{template}_" + re.sub(r"\W", "_", manager.name)
    path = Path(__file__).with_name(f"{template}.py")
    return bound_copy(name, path, lines)
