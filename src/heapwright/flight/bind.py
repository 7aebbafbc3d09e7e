"""Bind C's functions, and the account of a process, to a manager."""

import re
from pathlib import Path
from types import ModuleType

from heapwright.managers.registry import Manager
from heapwright.tunnel.bind import bound_copy, bound_loop

_LOOP = "from heapwright.tunnel import loop\n"


def bound(manager: Manager, template: str) -> ModuleType:
    """The module of `interface.py` or `account.py`, bound to a manager."""
    loop = bound_loop(manager)
    name = f"heapwright_{template}_" + re.sub(r"\W", "_", manager.name)
    path = Path(__file__).with_name(f"{template}.py")
    return bound_copy(name, path, {_LOOP: f"import {loop.__name__} as loop\n"})
