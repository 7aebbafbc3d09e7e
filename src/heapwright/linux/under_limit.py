"""A program's pages as a memory group's: those of a machine, used as a log says.

    log ─► reclaim.access ─► faults, swap, killed
    machine ─► pages that were taken or given back meanwhile: found once memory is short

A page that was lazily freed counts as free: the kernel takes such before it takes others.

Omits      huge pages, which are taken one by one; page tables that are given back
"""

from heapwright.compiler import kernel, unsigned
from heapwright.linux.lru import Memory, forget
from heapwright.linux.reclaim import access, group
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import (
    BREAK,
    FIRST_BREAK,
    LAZY_FREE,
    LAZY_PAGES,
    LOWEST_MAPPED,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
    RESIDENT_PAGES,
    SPACE_BYTES,
)

NEAR = 256  # pages below the limit from which on the lists are kept up to date


def memory_under(limit_bytes: int, swap_bytes: int) -> Memory:
    """A group's memory for a machine's pages."""
    pages = SPACE_BYTES >> PAGE_SHIFT
    return group(pages, max(limit_bytes >> PAGE_SHIFT, 1), swap_bytes >> PAGE_SHIFT)


@kernel
def _touched(memory, machine, first, past):
    """The pages of [first, past) that hold something are used."""
    for page in range(first, past):
        if machine.pages[unsigned(page)] & (RESIDENT | LAZY_FREE) == RESIDENT:
            if not access(memory, page):
                return


@kernel
def _let_go(memory, machine, first, past):
    """Pages of [first, past) that the manager gave back are forgotten."""
    for page in range(first, past):
        if memory.state[unsigned(page)]:
            if machine.pages[unsigned(page)] & (RESIDENT | LAZY_FREE) != RESIDENT:
                forget(memory, page)


@kernel
def _take_in(memory, machine, first, past):
    """Pages of [first, past) that the manager took are used now."""
    for page in range(first, past):
        held = machine.pages[unsigned(page)] & (RESIDENT | LAZY_FREE) == RESIDENT
        if held and not memory.state[unsigned(page)]:
            if not access(memory, page):
                return


@kernel
def use(memory, machine, log, rows):
    """The first `rows` of `log` (event, first page, last page; -1 for all) are used, and the group
    is brought up to what the machine holds; the event at which it is killed, or -1."""
    meters = machine.meters
    break_ = (meters[BREAK] + PAGE_BYTES - 1) >> PAGE_SHIFT
    low, mapped = meters[FIRST_BREAK] >> PAGE_SHIFT, meters[LOWEST_MAPPED] >> PAGE_SHIFT
    top = MAPPED_TOP >> PAGE_SHIFT
    asked = 0
    for row in range(rows):
        asked += log[row, 2] + 1 - log[row, 1] if log[row, 1] >= 0 else memory.limit
    short = memory.charged + asked + NEAR >= memory.limit or memory.swapped > 0
    if short:  # what was given back makes room before anything is taken
        _let_go(memory, machine, low, break_)
        _let_go(memory, machine, mapped, top)
    for row in range(rows):
        first, past = log[row, 1], log[row, 2] + 1
        if first < 0:
            _touched(memory, machine, low, break_)
            first, past = mapped, top
        _touched(memory, machine, first, past)
        if memory.killed:
            return log[row, 0]
    if not short and meters[RESIDENT_PAGES] - meters[LAZY_PAGES] + NEAR < memory.limit:
        return -1
    _take_in(memory, machine, low, break_)
    _take_in(memory, machine, mapped, top)
    return log[rows - 1, 0] if memory.killed and rows else -1
