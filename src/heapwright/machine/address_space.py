"""One process's address space, as a manager sees it: Linux's verbs, counted.

    0 ........ STATIC_BASE .. BREAK_BASE ──brk──►      ◄──mmap── SPACE_BYTES
    never used  data segment   heap                     mapped areas, highest gap first

Terms      gap: a free range of the mapped zone; resident: a page that holds physical memory; zero
           page: the system's own zeros, which a page that was only read shows: a fault, no memory
Invariant  meters[RESIDENT_PAGES] == pages flagged RESIDENT; a RESIDENT page is MAPPED;
           meters[MAPPED_BYTES] == PAGE_BYTES x pages flagged MAPPED           (check)
Source     Linux mm/mmap.c (top-down placement), mm/memory.c (faults), mm/huge_memory.c, madvise(2)
Omits      file mappings, protections (a reserved page is a mapped page), swap, address limits,
           page tables that outlive their pages

Addresses are byte offsets into `words`, really reserved memory that costs nothing until written:
what a manager keeps inside its blocks it keeps there, in-band. The data segment stands for the
manager's static variables; it is part of the program's image and never counted.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.raw import set_word_at, word_at
from heapwright.compiler.reserve import reserve
from heapwright.machine.gaps import Gaps, extend, gaps, give_back, place
from heapwright.machine.gaps import check as check_gaps

PAGE_BYTES = 4096
PAGE_SHIFT = 12
HUGE_PAGE_BYTES = 2 << 20
HUGE_PAGE_PAGES = HUGE_PAGE_BYTES // PAGE_BYTES

SPACE_BYTES = 1 << 36  # bytes of address space; reserved, not committed
STATIC_BASE = 1 << 16  # bytes; start of the data segment
BREAK_BASE = 1 << 24  # bytes; the heap that brk moves starts here, or less than as much above
MAPPED_TOP = SPACE_BYTES - (1 << 24)  # bytes; mapped areas lie below
BREAK_LIMIT = SPACE_BYTES >> 1  # bytes; the heap and the mapped zone never meet

# Page flags
MAPPED = 1
RESIDENT = 2
LAZY_FREE = 4  # given up by ADVISE_FREE: resident until the kernel wants it or a write keeps it
HUGE_ADVISED = 8
ZERO = 16  # mapped to the zero page: a read needs no fault any more, a write does
WRITTEN = 255 - ZERO  # keeps every other flag

# Meters
(
    RESIDENT_PAGES,
    PEAK_RESIDENT_PAGES,
    MAPPED_BYTES,
    PEAK_MAPPED_BYTES,
    FAULTS,  # minor faults; a huge page is one
    HUGE_FAULTS,
    SYSCALLS,
    BREAK,  # address
    LOWEST_MAPPED,  # address; no area was ever mapped below it
    LAZY_PAGES,
    HUGE_PAGES,  # setting: one of HUGE_NEVER, HUGE_ADVISE, HUGE_ALWAYS
    CEILING,  # address: brk refuses to go beyond it; BREAK_LIMIT, unless there is less room
    STRAY_TOUCHES,  # touches of unmapped pages: a segmentation fault in a real process
    FIRST_BREAK,  # address: where the heap starts
    TIME_S,  # in flight: whole seconds of the clock
    TIME_NS,  # of the program, at the event that is replayed; in flight: past TIME_S
    METERS,
) = range(17)

HUGE_NEVER, HUGE_ADVISE, HUGE_ALWAYS = range(3)
ADVISE_DONTNEED, ADVISE_FREE, ADVISE_HUGEPAGE = 4, 8, 14  # Linux's MADV_* numbers


class Machine(NamedTuple):
    """An address space. Kernels read and write it through the verbs below."""

    words: np.ndarray  # int64[SPACE_BYTES / 8]  content; the word at address a is words[a >> 3]
    pages: np.ndarray  # uint8[SPACE_BYTES / PAGE_BYTES]  flags
    meters: np.ndarray  # int64[METERS]
    gaps: Gaps  # of the mapped zone


def machine(huge_pages: int = HUGE_NEVER, heap_start: int = 0) -> Machine:
    """A fresh address space of SPACE_BYTES with nothing mapped.

    `heap_start` is where a real process has its heap, a multiple of a page: here the heap has the
    same address modulo BREAK_BASE, as what is aligned beyond a page lies by it.
    """
    meters = np.zeros(METERS, np.int64)
    meters[BREAK] = meters[FIRST_BREAK] = BREAK_BASE + heap_start % BREAK_BASE
    meters[CEILING] = BREAK_LIMIT
    meters[LOWEST_MAPPED] = MAPPED_TOP
    meters[HUGE_PAGES] = huge_pages
    return Machine(
        words=reserve(SPACE_BYTES >> 3, np.int64),
        pages=np.zeros(SPACE_BYTES >> PAGE_SHIFT, np.uint8),
        meters=meters,
        gaps=gaps(BREAK_LIMIT, MAPPED_TOP),
    )


@kernel(inline=True)
def load(machine, address):
    """The word at `address`, which is a multiple of 8."""
    return word_at(machine.words, address)


@kernel(inline=True)
def store(machine, address, value):
    """Write the word at `address`, a multiple of 8. Counts no fault: see `touch`."""
    set_word_at(machine.words, address, value)


@kernel(inline=True)
def touch(machine, address, length):
    """Write to every page of [address, address + length): fault in those that are not resident."""
    first, last = address >> PAGE_SHIFT, (address + length - 1) >> PAGE_SHIFT
    if first == last and machine.pages[unsigned(first)] & (RESIDENT | LAZY_FREE) == RESIDENT:
        return
    _touch_pages(machine, first, last)


@kernel(inline=True)
def read(machine, address, length):
    """Read every page of [address, address + length): one that holds nothing yet is faulted onto
    the zero page."""
    first, last = address >> PAGE_SHIFT, (address + length - 1) >> PAGE_SHIFT
    if first == last and machine.pages[unsigned(first)] & RESIDENT:
        return
    _read_pages(machine, first, last)


@kernel(inline=True)
def copy(machine, target, source, length):
    """Copy a block's content: `source` is read, pages at `target` are faulted in; content is not
    modelled."""
    read(machine, source, length)
    touch(machine, target, length)


@kernel(inline=True)
def clear(machine, address, length):
    """Write zeros to [address, address + length): here its pages are faulted in."""
    touch(machine, address, length)


@kernel
def _touch_pages(machine, first, last):
    """Fault in pages `first` to `last`; none when `last` is below `first`."""
    for page in range(first, last + 1):
        if machine.pages[unsigned(page)] & (RESIDENT | LAZY_FREE) != RESIDENT:
            _fault(machine, page)


@kernel
def _read_pages(machine, first, last):
    """Fault pages `first` to `last` onto the zero page where they hold nothing yet."""
    pages, meters = machine.pages, machine.meters
    for page in range(first, last + 1):
        flags = pages[unsigned(page)]
        if flags & (RESIDENT | ZERO):
            continue
        if not flags & MAPPED:
            meters[STRAY_TOUCHES] += 1
            continue
        meters[FAULTS] += 1
        if meters[HUGE_PAGES] != HUGE_NEVER and _huge_page_fits(machine, page):
            start = page & ~(HUGE_PAGE_PAGES - 1)  # there is a huge page of zeros as well
            for neighbour in range(start, start + HUGE_PAGE_PAGES):
                pages[unsigned(neighbour)] |= ZERO
        else:
            pages[unsigned(page)] = flags | ZERO


@kernel
def _fault(machine, page):
    """Give `page` physical memory, or keep it if it was lazily freed."""
    pages, meters = machine.pages, machine.meters
    flags = pages[unsigned(page)]
    if flags & RESIDENT:  # lazily freed and wanted again: no fault, the page was never taken
        pages[unsigned(page)] = flags & (MAPPED | RESIDENT | HUGE_ADVISED)
        meters[LAZY_PAGES] -= 1
        return
    if not flags & MAPPED:
        meters[STRAY_TOUCHES] += 1
        return
    meters[FAULTS] += 1
    if meters[HUGE_PAGES] != HUGE_NEVER and _huge_page_fits(machine, page):
        meters[HUGE_FAULTS] += 1
        first = page & ~(HUGE_PAGE_PAGES - 1)
        for neighbour in range(first, first + HUGE_PAGE_PAGES):
            pages[unsigned(neighbour)] = (pages[unsigned(neighbour)] | RESIDENT) & WRITTEN
        meters[RESIDENT_PAGES] += HUGE_PAGE_PAGES
    else:
        pages[unsigned(page)] = (flags | RESIDENT) & WRITTEN
        meters[RESIDENT_PAGES] += 1
    meters[PEAK_RESIDENT_PAGES] = max(meters[PEAK_RESIDENT_PAGES], meters[RESIDENT_PAGES])


@kernel
def _huge_page_fits(machine, page):
    """Whether the aligned 2 MiB around `page` is mapped, wanted huge, and still without a page."""
    wanted = MAPPED
    if machine.meters[HUGE_PAGES] == HUGE_ADVISE:
        wanted = MAPPED | HUGE_ADVISED
    first = page & ~(HUGE_PAGE_PAGES - 1)
    for neighbour in range(first, first + HUGE_PAGE_PAGES):
        if machine.pages[unsigned(neighbour)] & (wanted | RESIDENT) != wanted:
            return False
    return True


@kernel
def _map(machine, address, length):
    """Flag the pages of a range that was free."""
    for page in range(address >> PAGE_SHIFT, (address + length) >> PAGE_SHIFT):
        machine.pages[unsigned(page)] = MAPPED
    meters = machine.meters
    meters[MAPPED_BYTES] += length
    meters[PEAK_MAPPED_BYTES] = max(meters[PEAK_MAPPED_BYTES], meters[MAPPED_BYTES])


@kernel
def _drop(machine, address, length, kept_flags):
    """Take the physical memory of a range; `kept_flags` of each page survive."""
    pages, meters = machine.pages, machine.meters
    for page in range(address >> PAGE_SHIFT, (address + length) >> PAGE_SHIFT):
        flags = pages[unsigned(page)]
        if flags & RESIDENT:
            meters[RESIDENT_PAGES] -= 1
        if flags & LAZY_FREE:
            meters[LAZY_PAGES] -= 1
        if flags & MAPPED and not kept_flags & MAPPED:
            meters[MAPPED_BYTES] -= PAGE_BYTES
        pages[unsigned(page)] = flags & kept_flags


@kernel
def brk(machine, end):
    """Move the end of the heap to address `end`, any byte; its address, unchanged where refused."""
    meters = machine.meters
    meters[SYSCALLS] += 1
    if end < meters[FIRST_BREAK] or end > meters[CEILING]:
        return meters[BREAK]
    old_top = (meters[BREAK] + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    new_top = (end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    if new_top > old_top:
        _map(machine, old_top, new_top - old_top)
    elif new_top < old_top:
        _drop(machine, new_top, old_top - new_top, 0)
    meters[BREAK] = end
    return end


@kernel
def mmap(machine, hint, length):
    """Address of `length` fresh bytes, whole pages, at `hint` if it is not 0 and that is free, else
    where `place` says; 0 where there is no room."""
    meters = machine.meters
    meters[SYSCALLS] += 1
    if length <= 0 or length > MAPPED_TOP - BREAK_LIMIT:
        return 0
    length = (length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    address = place(machine.gaps, hint, length)
    if not address:
        return 0
    meters[LOWEST_MAPPED] = min(meters[LOWEST_MAPPED], address)
    _map(machine, address, length)
    return address


@kernel
def munmap(machine, address, length):
    """Give back [address, address + length), whole pages of the mapped zone; holes are allowed."""
    machine.meters[SYSCALLS] += 1
    end = (address + length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    start = address
    while start < end:  # one run of mapped pages after another
        while start < end and not machine.pages[unsigned(start >> PAGE_SHIFT)] & MAPPED:
            start += PAGE_BYTES
        stop = start
        while stop < end and machine.pages[unsigned(stop >> PAGE_SHIFT)] & MAPPED:
            stop += PAGE_BYTES
        if stop > start:
            _drop(machine, start, stop - start, 0)
            give_back(machine.gaps, start, stop - start)
        start = stop


@kernel
def mremap(machine, address, old_length, new_length):
    """Resize a mapped area, moving it if it must; its address, or 0 where there is no room.

    Pages move with their flags and their content's first words; a manager keeps its header there.
    """
    meters = machine.meters
    old_length = (old_length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    new_length = (new_length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    if new_length <= old_length:
        if new_length < old_length:
            munmap(machine, address + new_length, old_length - new_length)
        else:
            meters[SYSCALLS] += 1
        return address
    more = new_length - old_length
    if extend(machine.gaps, address + old_length, more):
        meters[SYSCALLS] += 1
        _map(machine, address + old_length, more)
        _keep_advice(machine, address, old_length, new_length)
        return address
    peak = meters[PEAK_MAPPED_BYTES]
    moved = mmap(machine, 0, new_length)
    if not moved:
        return 0
    _move_pages(machine, address, moved, old_length)
    _keep_advice(machine, moved, old_length, new_length)
    munmap(machine, address, old_length)
    meters[SYSCALLS] -= 1  # the move is one call, and both ranges are never counted at once
    meters[PEAK_MAPPED_BYTES] = max(peak, meters[MAPPED_BYTES])
    return moved


@kernel
def move(machine, source, target, length):
    """Hand the pages of [source, source + length) to a mapped range that does not overlap it, whose
    own pages are dropped; `source` stays mapped, without pages. Whether Linux agreed."""
    machine.meters[SYSCALLS] += 1
    _drop(machine, target, length, MAPPED | HUGE_ADVISED)
    _move_pages(machine, source, target, length)
    return True


@kernel
def _keep_advice(machine, address, old_length, new_length):
    """What an area has grown by is wanted huge if its last page was."""
    last = machine.pages[unsigned((address + old_length - 1) >> PAGE_SHIFT)]
    if last & HUGE_ADVISED:
        for page in range(
            (address + old_length) >> PAGE_SHIFT, (address + new_length) >> PAGE_SHIFT
        ):
            machine.pages[unsigned(page)] |= HUGE_ADVISED


@kernel
def _move_pages(machine, source, target, length):
    """Hand the physical pages of `source` to `target` without a fault."""
    pages = machine.pages
    for offset in range(0, length, PAGE_BYTES):
        old = unsigned((source + offset) >> PAGE_SHIFT)
        pages[unsigned((target + offset) >> PAGE_SHIFT)] = pages[old]
        pages[old] &= MAPPED | HUGE_ADVISED
    for offset in range(0, 64, 8):
        store(machine, target + offset, load(machine, source + offset))


@kernel
def mprotect(machine, address, length):
    """Make a reserved range usable, or the reverse: here only a system call that is counted."""
    machine.meters[SYSCALLS] += 1


@kernel
def madvise(machine, address, length, advice):
    """Linux's madvise for ADVISE_DONTNEED, ADVISE_FREE and ADVISE_HUGEPAGE, on whole pages."""
    machine.meters[SYSCALLS] += 1
    if advice == ADVISE_DONTNEED:
        _drop(machine, address, length, MAPPED | HUGE_ADVISED)
        return
    for page in range(address >> PAGE_SHIFT, (address + length) >> PAGE_SHIFT):
        flags = machine.pages[unsigned(page)]
        if not flags & MAPPED:  # Linux says ENOMEM and goes on
            continue
        if advice == ADVISE_HUGEPAGE:
            machine.pages[unsigned(page)] = flags | HUGE_ADVISED
        elif advice == ADVISE_FREE and flags & (RESIDENT | LAZY_FREE) == RESIDENT:
            machine.pages[unsigned(page)] = flags | LAZY_FREE
            machine.meters[LAZY_PAGES] += 1


@kernel
def check(machine):
    """0 if the invariants hold, else the number of the first that does not (1: resident, ...)."""
    pages, meters = machine.pages, machine.meters
    resident = mapped = lazy = 0
    page = meters[FIRST_BREAK] >> PAGE_SHIFT
    while page < MAPPED_TOP >> PAGE_SHIFT:
        if page << PAGE_SHIFT == ((meters[BREAK] + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)):
            page = meters[LOWEST_MAPPED] >> PAGE_SHIFT  # nothing lies between heap and mapped zone
            continue
        flags = pages[unsigned(page)]
        mapped += flags & MAPPED != 0
        resident += flags & (RESIDENT | MAPPED) == RESIDENT | MAPPED
        lazy += flags & LAZY_FREE != 0
        page += 1
    if resident != meters[RESIDENT_PAGES]:
        return 1
    if mapped * PAGE_BYTES != meters[MAPPED_BYTES]:
        return 2
    if lazy != meters[LAZY_PAGES]:
        return 3
    return 0 if check_gaps(machine.gaps) else 4
