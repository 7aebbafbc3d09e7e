"""The machine's verbs on Linux itself: what a manager asks for in flight, it gets.

    address of the machine ── + where `words` begins ──► address in the process

Where areas lie is decided as in the model, by the same gaps of the same zones; so a manager in
flight is given the addresses that it is given in the tunnel. Nothing is reserved beforehand: an
address-space limit and strict overcommit refuse here what they refuse any program.

Terms      area: a mapping; its pages come from the system at the first touch
Source     Linux mmap(2), munmap(2), mremap(2), madvise(2)
Omits      counting: of the meters only those that a manager reads, and the mapped bytes, are kept
"""

from heapwright.compiler import kernel
from heapwright.compiler.raw import clear_bytes, copy_bytes, real_address
from heapwright.compiler.system import MADVISE, MMAP, MREMAP, MUNMAP, system_call
from heapwright.machine.address_space import (
    BREAK,
    BREAK_LIMIT,
    CEILING,
    FIRST_BREAK,
    LOWEST_MAPPED,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_BYTES,
    PEAK_MAPPED_BYTES,
    SYSCALLS,
)
from heapwright.machine.gaps import extend, give_back, place

READ_WRITE = 3  # PROT_READ | PROT_WRITE
PRIVATE_ANONYMOUS_NORESERVE = 0x4022
FIXED_NOREPLACE = 0x100000  # Linux 4.17
MAYMOVE_FIXED = 3  # MREMAP_MAYMOVE | MREMAP_FIXED
DONTUNMAP = 4  # Linux 5.7


@kernel
def take(address, length):
    """Map `length` fresh bytes at a real address where nothing lies; whether Linux agreed."""
    flags = PRIVATE_ANONYMOUS_NORESERVE | FIXED_NOREPLACE
    got = system_call(MMAP, address, length, READ_WRITE, flags, -1)
    if got != address and got > 0:  # an older kernel takes the address for a hint
        system_call(MUNMAP, got, length)
    return got == address


@kernel
def _count(machine, change):
    """Count a system call that mapped `change` bytes more."""
    meters = machine.meters
    meters[SYSCALLS] += 1
    meters[MAPPED_BYTES] += change
    meters[PEAK_MAPPED_BYTES] = max(meters[PEAK_MAPPED_BYTES], meters[MAPPED_BYTES])


@kernel(inline=True)
def touch(machine, address, length):
    """Nothing: a real page is faulted in by the write that follows."""


@kernel(inline=True)
def read(machine, address, length):
    """Nothing: a real page is faulted in by the read that follows."""


@kernel(inline=True)
def copy(machine, target, source, length):
    """Copy a block's content; the two do not overlap."""
    copy_bytes(machine.words, target, source, length)


@kernel(inline=True)
def clear(machine, address, length):
    """Write zeros to [address, address + length)."""
    clear_bytes(machine.words, address, length)


@kernel(cold=True)
def brk(machine, end):
    """Move the end of the heap to address `end`, any byte; its address, unchanged where refused."""
    meters = machine.meters
    old_top = (meters[BREAK] + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    new_top = (end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    if end < meters[FIRST_BREAK] or end > meters[CEILING]:
        return meters[BREAK]
    origin = real_address(machine.words)
    if new_top > old_top:
        if not take(origin + old_top, new_top - old_top):
            return meters[BREAK]
        _count(machine, new_top - old_top)
    elif new_top < old_top:
        system_call(MUNMAP, origin + new_top, old_top - new_top)
        _count(machine, new_top - old_top)
    meters[BREAK] = end
    return end


@kernel(cold=True)
def mmap(machine, hint, length):
    """Address of `length` fresh bytes, a multiple of a page; 0 where there is no room.

    At `hint` if it is not 0 and that range is free, else at the top of the highest gap that fits.
    """
    if length <= 0 or length > MAPPED_TOP - BREAK_LIMIT:
        return 0
    length = (length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    address = place(machine.gaps, hint, length)
    if not address:
        return 0
    if not take(real_address(machine.words) + address, length):
        give_back(machine.gaps, address, length)
        return 0
    _count(machine, length)
    machine.meters[LOWEST_MAPPED] = min(machine.meters[LOWEST_MAPPED], address)
    return address


@kernel(cold=True)
def munmap(machine, address, length):
    """Give back [address, address + length), whole pages, all of them mapped."""
    length = (length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    system_call(MUNMAP, real_address(machine.words) + address, length)
    give_back(machine.gaps, address, length)
    _count(machine, -length)


@kernel(cold=True)
def mremap(machine, address, old_length, new_length):
    """Resize a mapped area, moving it if it must; its address, or 0 where there is no room."""
    old_length = (old_length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    new_length = (new_length + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)
    more = new_length - old_length
    if more < 0:
        munmap(machine, address + new_length, -more)
    if more <= 0:
        return address
    origin = real_address(machine.words)
    moved, flags = address, 0
    if not extend(machine.gaps, address + old_length, more):
        moved, flags = place(machine.gaps, 0, new_length), MAYMOVE_FIXED
        if not moved:
            return 0
    area, target = origin + address, origin + moved
    if system_call(MREMAP, area, old_length, new_length, flags, target) != target:
        if flags:
            give_back(machine.gaps, moved, new_length)
        else:
            give_back(machine.gaps, address + old_length, more)
        return 0
    if flags:
        give_back(machine.gaps, address, old_length)
        machine.meters[LOWEST_MAPPED] = min(machine.meters[LOWEST_MAPPED], moved)
    _count(machine, more)
    return moved


@kernel(cold=True)
def move(machine, source, target, length):
    """Hand the pages of [source, source + length) to a mapped range that does not overlap it, whose
    own pages are dropped; `source` stays mapped, without pages. Whether Linux agreed: it does not
    before 5.7, nor for a source that is several mappings to it, as what was moved in parts is."""
    origin, flags = real_address(machine.words), MAYMOVE_FIXED | DONTUNMAP
    area, wanted = origin + source, origin + target
    machine.meters[SYSCALLS] += 1
    if system_call(MREMAP, area, length, length, flags, wanted) == wanted:
        return True
    take(wanted, length)  # some refusals come after the target was unmapped
    return False


@kernel(inline=True)
def mprotect(machine, address, length):
    """Nothing: an area is usable from the start."""


@kernel(cold=True)
def madvise(machine, address, length, advice):
    """Linux's madvise, on whole pages."""
    system_call(MADVISE, real_address(machine.words) + address, length, advice)
    machine.meters[SYSCALLS] += 1
