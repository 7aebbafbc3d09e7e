"""The process that `build` starts: boot a manager, compile C's functions over it, write the object.

    python -m heapwright.flight.compile '{"manager": ..., "settings": ..., "statistics": ...}' OUT.o

It runs with HEAPWRIGHT_MACHINE=linux, so every kernel is compiled over Linux instead of the model.
"""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from heapwright.flight.layout import Plan
from heapwright.flight.start import Flight
from heapwright.flight.threads import threads
from heapwright.kernel.ahead import Export, object_file
from heapwright.kernel.compiled import AHEAD
from heapwright.kernel.reserve import reserve
from heapwright.machine import machine
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.registry import Manager, named
from heapwright.tunnel.bind import bound_copy, bound_loop

_LOOP = "from heapwright.tunnel import loop\n"
_FUNCTIONS = {  # of C: the kernel and its arguments
    "malloc": ("malloc", 1),
    "calloc": ("calloc", 2),
    "realloc": ("realloc", 2),
    "reallocarray": ("reallocarray", 3),
    "memalign": ("memalign", 2),
    "posix_memalign": ("posix_memalign", 3),
    "aligned_alloc": ("memalign", 2),
    "valloc": ("valloc", 1),
    "pvalloc": ("pvalloc", 1),
    "malloc_usable_size": ("malloc_usable_size", 1),
    "malloc_trim": ("malloc_trim", 1),
    "mallinfo2": ("mallinfo2", 1),
    # glibc's own names for some of them: a recorder calls these, and so records what flies
    "__libc_malloc": ("malloc", 1),
    "__libc_calloc": ("calloc", 2),
    "__libc_realloc": ("realloc", 2),
    "__libc_memalign": ("memalign", 2),
}
_FREE = ("free", "__libc_free")
_DATA_FUNCTIONS = {"malloc": 1, "calloc": 2, "realloc": 2, "free": 1}  # NumPy's, with a context
_HOOKS = {"thread_exit": 1, "fork_prepare": 0, "fork_parent": 0, "fork_child": 0}


def bound_interface(manager: Manager) -> ModuleType:
    """The module of `interface.py` bound to a manager."""
    loop = bound_loop(manager)
    name = "heapwright_flight_" + re.sub(r"\W", "_", manager.name)
    template = Path(__file__).with_name("interface.py")
    return bound_copy(name, template, {_LOOP: f"import {loop.__name__} as loop\n"})


def compile_flight(manager_name: str, settings: dict[str, int], statistics: bool) -> bytes:
    """The object file."""
    assert AHEAD
    manager = named(manager_name)
    interface = bound_interface(manager)
    state = _laid_out(manager, settings, statistics)
    exports = [
        Export(name, getattr(interface, kernel), arguments)
        for name, (kernel, arguments) in _FUNCTIONS.items()
    ]
    exports += [Export(name, interface.free, 1, is_void=True) for name in _FREE]
    exports += [
        Export(f"heapwright_data_{name}", getattr(interface, name), arguments, has_context=True)
        for name, arguments in _DATA_FUNCTIONS.items()
    ]
    hooks = {}
    for name, arguments in _HOOKS.items():
        hooks[name] = f"heapwright_{name}"
        function = interface.thread_ends if name == "thread_exit" else getattr(interface, name)
        exports.append(Export(hooks[name], function, arguments, is_void=True, is_hidden=True))
    return object_file(state, exports, hooks)


def _laid_out(manager: Manager, settings: dict[str, int], statistics: bool) -> Any:
    """The state of the flight, with a place for each of its arrays."""
    heap = manager.module.boot(machine(), manager.configured(settings))
    kept = {"paths", "pages", "sizes"} if statistics else set()
    if getattr(manager.module, "HEADERLESS", False):
        kept.add("sizes")
    plan = Plan(frozenset({"paths", "pages", "sizes"} - kept))
    plan.place_words(heap.machine)
    return Flight(
        plan.place("heap", heap),
        plan.place("threads", threads()),
        plan.place("sizes", reserve(SPACE_BYTES >> 4, np.int64)),
        plan.start(),
    )


def main() -> None:
    """Compile what the command line orders."""
    order = json.loads(sys.argv[1])
    Path(sys.argv[2]).write_bytes(
        compile_flight(order["manager"], order["settings"], order["statistics"])
    )


if __name__ == "__main__":
    main()
