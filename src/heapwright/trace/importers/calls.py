"""Calls as tools print them: `name(arguments) = result`, shared by valgrind, ltrace and logalloc.

malloc(10) = 0x4A40040              calloc(1,148)=0x7f9049537480
memalign(al 64, size 100) = 0x...   _ZnwmSt11align_val_t(size 10, al 64) = 0x...
realloc(0x7f90,64)=#3               free(0x7f90 <unfinished ...>
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers.bytes_ import (
    COMMA,
    EQUALS,
    HASH,
    LOWER_A,
    LOWER_CASE,
    LOWER_X,
    LOWER_Z,
    OPENING,
    UNDERSCORE,
    UPPER_Z,
    ZERO,
)
from heapwright.trace.importers.lines import (
    BAD_LINE,
    BEYOND,
    UNFINISHED,
    byte,
    decimal,
    number_of,
    past_spaces,
    pointer,
    product,
    put,
    put_free,
    word,
)
from heapwright.trace.schema import CALLOC, MALLOC, MEMALIGN, REALLOC

PAGE_BYTES = 4096
NOT_OF_THE_FAMILY = -1
NEW, DELETE = 1, 2  # numbers of C++'s operators, whatever their signature
SIZE_FIRST, OF_NEW, OF_DELETE = b"snd"  # initials: of "size" for "al", of _Zn..., of _Zd...
_MALLOC, _FREE, _CALLOC = number_of("malloc"), number_of("free"), number_of("calloc")
_REALLOC, _MEMALIGN = number_of("realloc"), number_of("memalign")
_ALIGNED_ALLOC, _POSIX_MEMALIGN = number_of("aligned_alloc"), number_of("posix_memalign")
_VALLOC, _PVALLOC, _CFREE = number_of("valloc"), number_of("pvalloc"), number_of("cfree")
_REALLOCARRAY = number_of("reallocarray")
FREES = (_FREE, DELETE, _CFREE)  # functions that do nothing but free


@kernel
def name_of(text, at, end):
    """(number of the function that begins at `at`, byte after its name)."""
    third = byte(text, at + 2, end)
    operator = byte(text, at, end) == UNDERSCORE and byte(text, at + 1, end) == UPPER_Z
    name, after = word(text, at, end)
    if operator and third == OF_NEW:
        name = np.int64(NEW)
    elif operator and third == OF_DELETE:
        name = np.int64(DELETE)
    return name, after


@kernel
def value(text, at, end):
    """(number, byte after it): decimal, 0x..., (nil), or #index; -1 where none stands."""
    first = byte(text, at, end)
    if first == HASH:  # '#3': an object's number instead of its address; #0 is NULL
        index, at = decimal(text, at + 1, end)
        return (index * 16 if 0 <= index < BEYOND >> 5 else np.int64(-1)), at
    if first == OPENING or (first == ZERO and (byte(text, at + 1, end) | LOWER_CASE) == LOWER_X):
        return pointer(text, at, end)
    return decimal(text, at, end)


@kernel
def arguments(text, at, end):
    """((first, second, third, initial of the first's label or 0), byte after the last read).

    `at` is past the parenthesis; what is not there is -1.
    """
    found_0, found_1, found_2 = np.int64(-1), np.int64(-1), np.int64(-1)
    label = np.int64(0)
    for place in range(3):
        at = past_spaces(text, at, end)
        char = byte(text, at, end)
        if LOWER_A <= char <= LOWER_Z:  # al, size
            if place == 0:
                label = char
            _, at = word(text, at, end)
            at = past_spaces(text, at, end)
        number, at = value(text, at, end)
        if place == 0:
            found_0 = number
        elif place == 1:
            found_1 = number
        else:
            found_2 = number
        at = past_spaces(text, at, end)
        if number < 0 or byte(text, at, end) != COMMA:
            break
        at += 1
    return (found_0, found_1, found_2, label), at


@kernel
def result(text, at, end):
    """The number after the next '=', -1 when there is none."""
    while at < end and text[unsigned(at)] != EQUALS:
        at += 1
    if at == end:
        return np.int64(-1)
    number, at = value(text, past_spaces(text, at + 1, end), end)
    return number


@kernel
def of_the_family(name):
    """Whether a function is one of malloc's family."""
    return (
        name in (_MALLOC, _FREE, _CALLOC, _REALLOC, _MEMALIGN, _ALIGNED_ALLOC, _POSIX_MEMALIGN)
        or name in (_VALLOC, _PVALLOC, _CFREE, _REALLOCARRAY, NEW, DELETE)
    )  # fmt: skip


@kernel
def frees(name):
    """Whether a function does nothing but free."""
    return name in FREES


@kernel
def put_call(lines, name, given, returned, where):
    """Add the record of a call; given = (first, second, third, label), returned -1 if not told.

    Returns a fault, or NOT_OF_THE_FAMILY for other functions.
    """
    first, second, third, label = given
    if not of_the_family(name):
        return NOT_OF_THE_FAMILY
    if first < 0:
        return BAD_LINE
    if frees(name):
        return put_free(lines, first, where)
    if returned < 0:
        lines.state[UNFINISHED] += 1
        return 0
    if name == _POSIX_MEMALIGN and third >= 0:  # returns a status, the address is not printed
        lines.state[UNFINISHED] += 1
        return 0
    blocks = (returned, np.int64(0))
    if name == _MALLOC or (name == NEW and label == 0):
        return put(lines, MALLOC, blocks, (first, 0), where)
    if name == _PVALLOC:
        first = (first + PAGE_BYTES - 1) & -PAGE_BYTES
    if name in (_VALLOC, _PVALLOC):
        return put(lines, MEMALIGN, blocks, (first, PAGE_BYTES), where)
    if second < 0:
        return BAD_LINE
    if name == _REALLOC:
        return put(lines, REALLOC, (returned, first), (second, 0), where)
    if name == _CALLOC:
        return put(lines, CALLOC, blocks, (product(first, second), 0), where)
    if name == _REALLOCARRAY:
        if third < 0:
            return BAD_LINE
        return put(lines, REALLOC, (returned, first), (product(second, third), 0), where)
    if label == SIZE_FIRST:
        first, second = second, first
    return put(lines, MEMALIGN, blocks, (second, first), where)
