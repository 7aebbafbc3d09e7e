"""Pointers of C and addresses of a manager; requests that no manager could serve.

pointer = address + where the machine's words begin
"""

from heapwright.compiler import kernel, unlikely, unsigned
from heapwright.compiler.process import set_errno
from heapwright.compiler.raw import real_address, set_word_at
from heapwright.flight.start import SIZES_SHIFT
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT, SPACE_BYTES

SPACE_SHIFT = SPACE_BYTES.bit_length() - 1
LARGEST = BREAK_LIMIT - BREAK_BASE  # bytes of a request, unless the manager has more room
MOST = 1 << 46  # bytes: no process of Linux has as many
ENOMEM = 12


@kernel(inline=True)
def product(count, size):
    """count * size; -1 where it is more than any request may be."""
    if (count | size) >> 31 == 0:
        return count * size
    if count == 0 or size == 0:
        return 0
    if count < 0 or size < 0 or count > MOST or size > MOST // count:
        return -1
    return count * size


@kernel(cold=True)
def refuse():
    """NULL, and errno says ENOMEM."""
    set_errno(ENOMEM)
    return 0


@kernel(inline=True)
def pointer(flight, address, size):
    """The pointer to a new block, whose size is noted where sizes are kept; NULL and ENOMEM."""
    if unlikely(address == 0):
        return refuse()
    flight.sizes[unsigned(address >> SIZES_SHIFT)] = size + 1
    return real_address(flight.heap.machine.words) + address


@kernel(inline=True)
def noted(flight, made, size):
    """The pointer `made` to a new block, whose size is noted where sizes are kept."""
    flight.sizes[unsigned(unchecked_address_of(flight, made) >> SIZES_SHIFT)] = size + 1
    return made


@kernel(inline=True)
def unchecked_address_of(flight, pointer):
    """The manager's address of a pointer, wherever that may be."""
    return pointer - real_address(flight.heap.machine.words)


@kernel(inline=True)
def is_in_space(heap, address):
    """Whether an address is one of the machine's."""
    return unsigned(address) >> unsigned(SPACE_SHIFT) == 0


@kernel(inline=True)
def write(flight, place, value):
    """Write the word at a real address."""
    words = flight.heap.machine.words
    set_word_at(words, place - real_address(words), value)
