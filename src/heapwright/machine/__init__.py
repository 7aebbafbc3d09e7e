"""What lies under a manager: address space, pages, page faults.

Its verbs have two backings: the model, which counts, and Linux itself, which the object of a flight
is compiled with (`HEAPWRIGHT_MACHINE=linux`, set by the build). This is the one place that chooses.
"""

from heapwright.compiler.compiled import AHEAD
from heapwright.machine.address_space import (
    ADVISE_DONTNEED,
    ADVISE_FREE,
    ADVISE_HUGEPAGE,
    HUGE_PAGE_BYTES,
    PAGE_BYTES,
    STATIC_BASE,
    Machine,
    load,
    machine,
    store,
)
from heapwright.machine.clock import now

if AHEAD:
    from heapwright.machine.linux import (
        brk,
        clear,
        copy,
        madvise,
        mmap,
        move,
        mprotect,
        mremap,
        munmap,
        read,
        touch,
    )
else:
    from heapwright.machine.address_space import (
        brk,
        clear,
        copy,
        madvise,
        mmap,
        move,
        mprotect,
        mremap,
        munmap,
        read,
        touch,
    )

__all__ = [
    "ADVISE_DONTNEED",
    "ADVISE_FREE",
    "ADVISE_HUGEPAGE",
    "HUGE_PAGE_BYTES",
    "PAGE_BYTES",
    "STATIC_BASE",
    "Machine",
    "brk",
    "clear",
    "copy",
    "load",
    "machine",
    "madvise",
    "mmap",
    "move",
    "mprotect",
    "mremap",
    "munmap",
    "now",
    "read",
    "store",
    "touch",
]
