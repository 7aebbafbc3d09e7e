"""C's malloc and its friends over a manager: what the object of a flight exports.

    malloc(size) ─► this thread's number ─► lock ─► alloc of the manager ─► unlock ─► pointer

Written once; a build binds a copy of this file to its manager. This one is bound to the linear
manager. Every argument and result is a word, as C passes it: a size_t above 2^63 is negative here.

Source     C11 7.22.3; POSIX posix_memalign; glibc 2.36 for the others and for zero sizes
"""

from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.compiler.process import set_errno, thread_place, thread_word
from heapwright.flight import callers
from heapwright.flight.defaults import (
    nothing_idle,
    nothing_to_say,
    unknown_bytes,
)
from heapwright.flight.pointers import (
    ENOMEM,
    is_in_space,
    noted,
    pointer,
    product,
    refuse,
    unchecked_address_of,
    write,
)
from heapwright.flight.pointers import LARGEST as LARGEST_OF_ANY
from heapwright.flight.start import SIZES_SHIFT
from heapwright.machine import ADVISE_HUGEPAGE as HUGE
from heapwright.machine import PAGE_BYTES, madvise
from heapwright.machine.address_space import (
    BREAK,
    FIRST_BREAK,
    MAPPED_BYTES,
)
from heapwright.tunnel import loop

MIN_ALIGN = loop.MIN_ALIGN
HUGE_ARRAY_BYTES = 1 << 22  # NumPy: numpy/_core/src/multiarray/alloc.c
EINVAL, ENOSYS = 22, 38
INFO_FIELDS = 10  # of mallinfo
ARENA, MAPPED_BLOCKS, USED, UNUSED, IDLE = 0, 4, 7, 8, 9
MOST_INT = (1 << 31) - 1
LARGEST = getattr(loop.manager, "LARGEST", LARGEST_OF_ANY)

manager = loop.manager
alloc, usable = loop.alloc, loop.usable
enter, leave, own_number = callers.enter, callers.leave, callers.own_number
thread_ends = callers.thread_ends
fork_prepare, fork_parent, fork_child = (
    callers.fork_prepare,
    callers.fork_parent,
    callers.fork_child,
)


is_here = getattr(manager, "is_here", is_in_space)


@kernel(inline=True)
def is_too_large(size):
    """Whether the manager could never serve it; a negative size is a size_t above 2^63."""
    return size < 0 or size > LARGEST


@kernel(inline=True)
def address_of(flight, pointer):
    """The manager's address of a pointer; 0 for NULL and for what it never gave."""
    address = unchecked_address_of(flight, pointer)
    return address if address != 0 and is_here(flight.heap, address) else 0


trim, empty_thread = loop.trim, loop.empty_thread
used_bytes = getattr(manager, "used_bytes", unknown_bytes)
idle_bytes = getattr(manager, "idle_bytes", nothing_idle)
free_elsewhere = getattr(manager, "free_elsewhere", nothing_to_say)


if hasattr(manager, "alloc_cached"):

    @kernel(inline=True)
    def malloc(flight, size):
        """malloc(3); a pointer of its own even for 0 bytes. 14 instructions where a small block is
        cached; a size that is too large never is, nor is anything of a thread that is new."""
        if likely(manager.is_small(size)):
            made = manager.alloc_cached(flight.heap, thread_place(), size)
            if likely(made != 0):
                return noted(flight, made, size)
            return malloc_slowly(flight, size)
        return malloc_larger(flight, size)

    @kernel(cold=True)
    def malloc_larger(flight, size):
        """A block above the smallest: out of line, so that theirs stays a few instructions."""
        made = manager.alloc_cached_larger(flight.heap, thread_place(), size)
        return noted(flight, made, size) if likely(made != 0) else malloc_slowly(flight, size)

    @kernel(cold=True)
    def malloc_slowly(flight, size):
        """A request for which no block is cached."""
        if is_too_large(size):
            return refuse()
        address = manager.alloc_uncached(flight.heap, own_number(flight), size)
        return pointer(flight, address, size)
else:

    @kernel(inline=True)
    def malloc(flight, size):
        """malloc(3); a pointer of its own even for 0 bytes."""
        if unlikely(is_too_large(size)):
            return refuse()
        thread = thread_word()
        if unlikely(thread < 0):
            return malloc_slowly(flight, size)
        return serve(flight, thread, size)

    @kernel(cold=True)
    def malloc_slowly(flight, size):
        """A thread's first request."""
        return serve(flight, own_number(flight), size)


@kernel(inline=True)
def serve(flight, thread, size):
    """A block from the manager."""
    enter(flight)
    address = alloc(flight.heap, thread, size, MIN_ALIGN)
    leave(flight)
    return pointer(flight, address, size)


if hasattr(manager, "free_cached"):

    @kernel(inline=True)
    def free(flight, old):
        """free(3); NULL and pointers of others are let be. 20 instructions where the cache has
        room."""
        address = unchecked_address_of(flight, old)
        if likely(is_here(flight.heap, address)):
            if likely(manager.free_cached(flight.heap, thread_place(), address, old)):
                flight.sizes[unsigned(address >> SIZES_SHIFT)] = 0
            else:
                free_in_span(flight, old)
        else:
            free_slowly(flight, old)

    @kernel(cold=True)
    def free_in_span(flight, old):
        """A block that the cache has no room for: as a rule its span has."""
        address = unchecked_address_of(flight, old)
        if likely(manager.free_in_span(flight.heap, thread_place(), address)):
            flight.sizes[unsigned(address >> SIZES_SHIFT)] = 0
        else:
            free_slowly(flight, old)

    @kernel(cold=True)
    def free_slowly(flight, old):
        """A block that needs more than that, or none."""
        address = address_of(flight, old)
        if address:
            flight.sizes[unsigned(address >> SIZES_SHIFT)] = 0
            manager.free_uncached(flight.heap, own_number(flight), address)
        elif old:
            free_elsewhere(flight.heap, old)
else:

    @kernel(inline=True)
    def free(flight, old):
        """free(3); NULL and pointers of others are let be."""
        address = address_of(flight, old)
        if unlikely(address == 0):
            return
        thread = thread_word()
        if unlikely(thread < 0):
            free_slowly(flight, address)
        else:
            take_back(flight, thread, address)

    @kernel(cold=True)
    def free_slowly(flight, address):
        """The first call of a thread is a free."""
        take_back(flight, own_number(flight), address)


@kernel(inline=True)
def take_back(flight, thread, address):
    """Give a block to the manager."""
    flight.sizes[unsigned(address >> SIZES_SHIFT)] = 0
    enter(flight)
    loop.free(flight.heap, thread, address)
    leave(flight)


@kernel(inline=True)
def calloc(flight, count, size):
    """calloc(3)."""
    whole = product(count, size)
    if unlikely(is_too_large(whole)):
        return refuse()
    thread = own_number(flight)
    enter(flight)
    address = loop.calloc(flight.heap, thread, whole)
    leave(flight)
    return pointer(flight, address, whole)


@kernel(inline=True)
def realloc(flight, old, size):
    """realloc(3); 0 bytes free the block, as glibc does."""
    return malloc(flight, size) if old == 0 else resize(flight, old, size)


@kernel(cold=True)
def resize(flight, old, size):
    """realloc(3) of a block."""
    if size == 0:
        free(flight, old)
        return 0
    address = address_of(flight, old)
    if not address:
        free_elsewhere(flight.heap, old)
    if is_too_large(size) or not address:
        return refuse()
    thread = own_number(flight)
    enter(flight)
    before = flight.sizes[unsigned(address >> SIZES_SHIFT)]
    flight.sizes[unsigned(address >> SIZES_SHIFT)] = 0
    moved = loop.realloc(flight.heap, thread, address, size)
    if not moved:
        flight.sizes[unsigned(address >> SIZES_SHIFT)] = before
    leave(flight)
    return pointer(flight, moved, size)


@kernel
def reallocarray(flight, old, count, size):
    """reallocarray(3)."""
    whole = product(count, size)
    return refuse() if whole < 0 else realloc(flight, old, whole)


@kernel
def aligned(flight, align, size):
    """A block at a multiple of a power of two; the pointer, or NULL."""
    if is_too_large(size) or align > LARGEST - size:
        return 0
    thread = own_number(flight)
    asked = max(size, MIN_ALIGN)  # a manager may put what fits in 8 bytes at a multiple of 8
    enter(flight)
    address = alloc(flight.heap, thread, asked, max(align, MIN_ALIGN))
    leave(flight)
    return pointer(flight, address, asked) if address else 0


@kernel
def memalign(flight, align, size):
    """memalign(3); an alignment that is no power of two is rounded up to one."""
    if align < 0:
        return refuse()
    power = MIN_ALIGN
    while power < align and power <= LARGEST:
        power <<= 1
    made = aligned(flight, power, size)
    return made if made else refuse()


@kernel
def posix_memalign(flight, place, align, size):
    """posix_memalign(3): 0, EINVAL or ENOMEM; errno and, on failure, *place stay as they were."""
    if align == 0 or align & (align - 1) or align & 7:
        return EINVAL
    if align < 0:  # 2^63
        return ENOMEM
    made = aligned(flight, align, size)
    if not made:
        return ENOMEM
    write(flight, place, made)
    return 0


@kernel
def valloc(flight, size):
    """valloc(3)."""
    return memalign(flight, PAGE_BYTES, size)


@kernel
def pvalloc(flight, size):
    """pvalloc(3): whole pages."""
    if is_too_large(size):
        return refuse()
    return memalign(flight, PAGE_BYTES, (size + PAGE_BYTES - 1) & -PAGE_BYTES)


@kernel
def malloc_usable_size(flight, old):
    """malloc_usable_size(3)."""
    address = address_of(flight, old)
    if not address:
        return 0
    own_number(flight)
    enter(flight)
    room = usable(flight.heap, address, flight.sizes[unsigned(address >> SIZES_SHIFT)] - 1)
    leave(flight)
    return room


@kernel
def malloc_trim(flight, pad):
    """malloc_trim(3): 1 if memory was given back."""
    thread = own_number(flight)
    enter(flight)
    empty_thread(flight.heap, thread)
    trimmed = trim(flight.heap, pad)
    leave(flight)
    return 1 if trimmed else 0


@kernel
def figure(flight, row):
    """A field of mallinfo2: bytes taken from Linux, by brk (arena) and by mmap (hblkhd); and of a
    manager that knows, bytes of pages in use (what threads cache with them) and free, and of these
    what a trim would give back."""
    meters = flight.heap.machine.meters
    arena = max(meters[BREAK] - meters[FIRST_BREAK], 0)
    used = used_bytes(flight.heap)
    if row == ARENA:
        return arena
    if row == MAPPED_BLOCKS:
        return max(meters[MAPPED_BYTES] - arena, 0)
    if row == USED and used >= 0:
        return used
    if row == UNUSED and used >= 0:
        return max(arena - used, 0)
    return idle_bytes(flight.heap) if row == IDLE else 0


@kernel
def mallinfo2(flight, place):
    """mallinfo2(3)."""
    own_number(flight)
    enter(flight)
    for row in range(INFO_FIELDS):
        write(flight, place + 8 * row, figure(flight, row))
    leave(flight)
    return place


@kernel
def mallinfo(flight, place):
    """mallinfo(3): the same in ints; of what one cannot hold, the most that it can."""
    own_number(flight)
    enter(flight)
    for row in range(0, INFO_FIELDS, 2):
        low, high = min(figure(flight, row), MOST_INT), min(figure(flight, row + 1), MOST_INT)
        write(flight, place + 4 * row, high << 32 | low)
    leave(flight)
    return place


@kernel
def mallopt(flight, parameter, value):
    """mallopt(3): 0, for the manager has no such parameter. It is set when it is built."""
    return 0


@kernel
def malloc_info(flight, options, stream):
    """malloc_info(3): -1, for it has nothing to say of a flight: see `fly --stats`."""
    set_errno(EINVAL if options else ENOSYS)
    return -1


@kernel
def malloc_stats(flight):
    """malloc_stats(3): nothing, for the same reason."""


@kernel(inline=True)
def array(flight, made, size):
    """Ask for huge pages under a large array, as NumPy does for its own; the pointer `made`."""
    if size >= HUGE_ARRAY_BYTES and made:
        skipped = -made & (PAGE_BYTES - 1)
        madvise(flight.heap.machine, address_of(flight, made) + skipped, size - skipped, HUGE)
    return made


@kernel
def array_malloc(flight, size):
    """malloc for NumPy."""
    return array(flight, malloc(flight, size), size)


@kernel
def array_calloc(flight, count, size):
    """calloc for NumPy."""
    return array(flight, calloc(flight, count, size), count * size)
