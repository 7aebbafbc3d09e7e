"""What a manager stands on: here the machine; over another manager a copy of `managers/ground.py`.

    heap that goes on   more, less, until                   at its end if it can be, else elsewhere
    area                obtain, give_back, resize           a run of pages, or a block of the ground
    mapping             obtain_mapped, give_back_mapped     of the system, whatever the ground
    passed on           pass_alloc, pass_free, ...          a request that the manager leaves to its
                                                            ground: the block is the ground's

A manager that asks for memory by these verbs alone stands on any ground that its card names:
`heapwright compare t --managers "first-fit over glibc"`. `machine` is then the ground's state with
the machine's fields, so that load, store, touch, copy and clear go on working.

Terms      CONTINUES: whether `more` goes on at `top`, so that a heap is one run of memory; without
           it each answer is a piece of its own. LOWEST, PAST: addresses of what `more` can return
Source     brk(2), mmap(2); a block passed on to the machine is a mapping with its length before it,
           as glibc's and musl's large ones
Omits      giving back a part of an area
"""

from heapwright.compiler import kernel
from heapwright.compiler.compiled import AHEAD
from heapwright.machine import PAGE_BYTES, brk, load, mmap, mremap, munmap, store, touch
from heapwright.machine.address_space import BREAK, BREAK_BASE, BREAK_LIMIT

CONTINUES = True
LOWEST, PAST = BREAK_BASE, BREAK_LIMIT
HEAD_BYTES = 16  # before a block that is passed on: address and bytes of its mapping


@kernel
def more(machine, top, bytes_, align):
    """Address of `bytes_` more of a heap that has been used up to `top`; 0 where refused. What had
    been taken above `top` is part of them. `align`: of another place, where it cannot go on."""
    if bytes_ > BREAK_LIMIT - top or brk(machine, top + bytes_) != top + bytes_:
        return 0
    return top


@kernel
def less(machine, top):
    """End the heap at `top`; only where it CONTINUES."""
    brk(machine, top)


@kernel
def areas(machine):
    """How many areas the manager holds: here the heap alone is one."""
    return 1


@kernel
def area(machine, row, top):
    """(start, bytes) of an area; of the heap, which has been used up to `top`."""
    return LOWEST, top - LOWEST


@kernel
def until(machine, address):
    """Address past the memory around `address` that belongs to the same heap or area."""
    return machine.meters[BREAK]


@kernel
def obtain(machine, thread, bytes_, align):
    """Address of a fresh area of whole pages, at a multiple of a page; 0 where refused."""
    if align <= PAGE_BYTES:
        return mmap(machine, 0, bytes_)
    area = mmap(machine, 0, bytes_ + align - PAGE_BYTES)
    if not area:
        return 0
    start = (area + align - 1) & ~(align - 1)
    if start > area:
        munmap(machine, area, start - area)
    if area + align - PAGE_BYTES > start:
        munmap(machine, start + bytes_, area + align - PAGE_BYTES - start)
    return start


@kernel
def obtain_clear(machine, thread, bytes_):
    """Likewise, holding zeros: for tables."""
    area = mmap(machine, 0, bytes_)
    if area and not AHEAD:  # the model keeps the words of what was unmapped
        for word in range(area, area + bytes_, 8):
            if load(machine, word):
                store(machine, word, 0)
    return area


@kernel
def give_back(machine, thread, area, bytes_):
    """The reverse of `obtain`, with the same bytes."""
    munmap(machine, area, bytes_)


@kernel
def resize(machine, thread, area, bytes_, wanted):
    """The area with `wanted` bytes, moved if it must be; 0 where refused. Its content is lost."""
    return mremap(machine, area, bytes_, wanted)


@kernel
def obtain_mapped(machine, thread, bytes_):
    """Address of a fresh mapping of whole pages; 0 where refused."""
    return mmap(machine, 0, bytes_)


@kernel
def give_back_mapped(machine, area, bytes_):
    """The reverse of `obtain_mapped`."""
    munmap(machine, area, bytes_)


@kernel
def pass_alloc(machine, thread, size, align):
    """A block that the ground serves; 0 where refused."""
    lead = max(HEAD_BYTES, align)
    bytes_ = (lead + size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    area = obtain(machine, thread, bytes_, align)
    if not area:
        return 0
    touch(machine, area + lead - HEAD_BYTES, HEAD_BYTES)
    store(machine, area + lead - 16, area)
    store(machine, area + lead - 8, bytes_)
    return area + lead


@kernel
def pass_calloc(machine, thread, size):
    """Such a block holding zeros, as a fresh mapping does."""
    return pass_alloc(machine, thread, size, HEAD_BYTES)


@kernel
def pass_free(machine, thread, address):
    """Give such a block back."""
    munmap(machine, load(machine, address - 16), load(machine, address - 8))


@kernel
def pass_realloc(machine, thread, address, size):
    """Resize such a block, moving it if it must; its address, 0 where refused."""
    area, old = load(machine, address - 16), load(machine, address - 8)
    lead = address - area
    bytes_ = (lead + size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    if bytes_ == old:
        return address
    moved = mremap(machine, area, old, bytes_)
    if not moved:
        return 0
    store(machine, moved + lead - 16, moved)  # on a page that moved along
    store(machine, moved + lead - 8, bytes_)
    return moved + lead


@kernel
def pass_usable(machine, address, size):
    """Bytes that the owner of such a block may use."""
    return load(machine, address - 16) + load(machine, address - 8) - address


@kernel
def pass_extent(machine, address, size):
    """The whole of such a block: (start, bytes)."""
    return load(machine, address - 16), load(machine, address - 8)
