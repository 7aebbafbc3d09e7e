"""The process that `build` starts: boot a manager, compile C's functions over it, write the object.

    python -m heapwright.flight.compile '{"manager": ..., "settings": ..., "statistics": ...}' OUT.o

It runs with HEAPWRIGHT_MACHINE=linux, so every kernel is compiled over Linux instead of the model.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from heapwright.compiler.ahead import Export, Forgotten, object_file
from heapwright.compiler.compiled import AHEAD
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.flight.bind import bound
from heapwright.flight.build import REFUSED
from heapwright.flight.layout import Plan
from heapwright.flight.start import SIZES_SHIFT, Flight
from heapwright.flight.threads import threads
from heapwright.machine import PAGE_BYTES, machine
from heapwright.machine.address_space import BREAK_LIMIT, SPACE_BYTES
from heapwright.managers.registry import Manager, named
from heapwright.tunnel.ledger import SAMPLE_COLUMNS, ledger

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
    "mallinfo": ("mallinfo", 1),
    "mallopt": ("mallopt", 2),
    "malloc_info": ("malloc_info", 2),
    # glibc's own names for some of them: a recorder calls these, and so records what flies
    "__libc_malloc": ("malloc", 1),
    "__libc_calloc": ("calloc", 2),
    "__libc_realloc": ("realloc", 2),
    "__libc_memalign": ("memalign", 2),
}
_FREE = ("free", "__libc_free")
_ARRAY_FUNCTIONS = {  # NumPy's, with a context before these arguments
    "malloc": ("array_malloc", 1),
    "calloc": ("array_calloc", 2),
    "realloc": ("realloc", 2),
    "free": ("free", 1),
}
_HOOKS = {"thread_exit": 1, "fork_prepare": 0, "fork_parent": 0, "fork_child": 0}


def compile_flight(manager_name: str, settings: dict[str, int], statistics: bool) -> bytes:
    """The object file."""
    assert AHEAD
    manager = named(manager_name)
    interface = bound(manager, "interface")
    state = _laid_out(manager, settings, statistics)
    exports = [
        Export(name, getattr(interface, kernel), arguments)
        for name, (kernel, arguments) in _FUNCTIONS.items()
    ]
    exports.append(Export("malloc_stats", interface.malloc_stats, 0, is_void=True))
    exports += [Export(name, interface.free, 1, is_void=True) for name in _FREE]
    exports += [
        Export(f"heapwright_array_{name}", getattr(interface, kernel), arguments, has_context=True)
        for name, (kernel, arguments) in _ARRAY_FUNCTIONS.items()
    ]
    hooks = {}
    for name, arguments in _HOOKS.items():
        hooks[name] = f"heapwright_{name}"
        function = interface.thread_ends if name == "thread_exit" else getattr(interface, name)
        exports.append(Export(hooks[name], function, arguments, is_void=True, is_hidden=True))
    if statistics:
        hooks["finish"] = "heapwright_finish"
        finish = bound(manager, "account").finish
        exports.append(Export(hooks["finish"], finish, 0, is_void=True, is_hidden=True))
    first_place = f"heap.{manager.module.NOWHERE}" if hasattr(manager.module, "NOWHERE") else ""
    return object_file(state, exports, hooks, first_place)


def _laid_out(manager: Manager, settings: dict[str, int], statistics: bool) -> Any:
    """The state of the flight, with a place for each of its arrays."""
    heap = manager.module.boot(machine(), manager.configured(settings))
    forgotten = set() if statistics else {"paths", "pages", "sizes"}
    if getattr(manager.module, "HEADERLESS", False):
        forgotten.discard("sizes")
    ceiling = BREAK_LIMIT if statistics else getattr(manager.module, "HEAP_BYTES", BREAK_LIMIT)
    plan = Plan(
        frozenset(forgotten),
        frozenset(getattr(manager.module, "FOLLOWING", ())),
        getattr(manager.module, "GROWING", {}),
        ceiling,
    )
    plan.place_words(heap.machine)
    return Flight(
        heap=plan.place("heap", heap),
        threads=plan.place("threads", threads()),
        sizes=plan.place("sizes", reserve(SPACE_BYTES >> SIZES_SHIFT, np.int64)),
        account=plan.place("account", _account(manager)) if statistics else Forgotten(),
        start=plan.start(),
    )


def _account(manager: Manager) -> Any:
    """Room for what a process says at its end."""
    account = bound(manager, "account")
    return account.Account(
        ledger=ledger(SPACE_BYTES // PAGE_BYTES, account.BLOCK_ROWS),
        sample=np.zeros(SAMPLE_COLUMNS, np.int64),
        record=np.zeros(account.RECORD, np.int64),
        file=np.zeros(24, np.int8),
        variable=np.frombuffer(f"{account.VARIABLE}\0".encode(), np.int8),
        executable=np.frombuffer(b"/proc/self/exe\0", np.int8),
    )


def main() -> None:
    """Compile what the command line orders."""
    order = json.loads(sys.argv[1])
    try:
        code = compile_flight(order["manager"], order["settings"], order["statistics"])
    except HeapwrightError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    Path(sys.argv[2]).write_bytes(code)


if __name__ == "__main__":
    main()
