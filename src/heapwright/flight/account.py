"""What each resident byte of a process is, when it ends: the tunnel's ledger over real memory.

    at exit ─► which pages are resident ─► enter every live object ─► decompose ─► a record
               (mincore)                   (sizes were kept)

The last two steps are the replay loop's own. A build with statistics binds a copy of this file to
its manager; this one is bound to the linear manager. A process that ends without `exit`, killed or
by `_exit`, writes no record.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.process import environment_value
from heapwright.compiler.raw import real_address
from heapwright.compiler.system import (
    CLOSE,
    GETPID,
    GETPPID,
    MINCORE,
    OPENAT,
    READLINKAT,
    WRITE,
    system_call,
)
from heapwright.flight.start import READY, SIZES_SHIFT
from heapwright.flight.threads import LOCK, STARTED
from heapwright.machine.address_space import (
    BREAK,
    BREAK_BASE,
    LOWEST_MAPPED,
    MAPPED,
    MAPPED_BYTES,
    MAPPED_TOP,
    PAGE_BYTES,
    PAGE_SHIFT,
    PEAK_MAPPED_BYTES,
    RESIDENT,
    SYSCALLS,
)
from heapwright.structures.mutex import lock, unlock
from heapwright.tunnel import loop
from heapwright.tunnel.ledger import SAMPLE_COLUMNS, Ledger

VARIABLE = "HEAPWRIGHT_STATISTICS"  # of the environment: the folder for records
HERE = -100  # AT_FDCWD
OPEN_FOLDER = 0x90000  # O_RDONLY | O_DIRECTORY | O_CLOEXEC
OPEN_RECORD = 0x80441  # O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC

# A record, in words
(
    WORDS,  # its own length
    PROCESS,
    PARENT,
    OBJECTS,  # alive
    MAPPED_NOW,
    MAPPED_PEAK,
    SYSTEM_CALLS,
    LACKING,  # rows that the ledger lacked for the manager's caches: then there is no sample
    SAMPLE,
) = range(9)
PATH_COUNTS = SAMPLE + SAMPLE_COLUMNS
PROGRAM = PATH_COUNTS + len(loop.manager.PATHS)
PROGRAM_BYTES = 1024  # of the executable's path, ended by zeros
RECORD = PROGRAM + PROGRAM_BYTES // 8
BLOCK_ROWS = 1 << 20


class Account(NamedTuple):
    """Room for all this."""

    ledger: Ledger
    sample: np.ndarray  # int64[SAMPLE_COLUMNS]
    record: np.ndarray  # int64[RECORD]
    file: np.ndarray  # int8[24]  the record's file: the process's number
    variable: np.ndarray  # int8[...]  VARIABLE
    executable: np.ndarray  # int8[...]  /proc/self/exe


@kernel
def finish(flight):
    """At the end of a process: its record."""
    gate, account = flight.threads.gate, flight.account
    folder = environment_value(real_address(account.variable))
    if gate[STARTED] != READY or not folder:
        return
    lock(gate, LOCK)
    meters, record = flight.heap.machine.meters, account.record
    record[WORDS] = RECORD
    record[PROCESS] = system_call(GETPID)
    record[PARENT] = system_call(GETPPID)
    record[MAPPED_NOW], record[MAPPED_PEAK] = meters[MAPPED_BYTES], meters[PEAK_MAPPED_BYTES]
    record[SYSTEM_CALLS] = meters[SYSCALLS]
    record[OBJECTS] = enter_areas(flight)
    record[LACKING] = loop.decompose(flight.heap, account.ledger, account.sample)
    for column in range(SAMPLE_COLUMNS):
        record[SAMPLE + column] = account.sample[column]
    for path in range(PROGRAM - PATH_COUNTS):
        record[PATH_COUNTS + path] = flight.heap.paths[path]
    name = real_address(record) + 8 * PROGRAM
    system_call(READLINKAT, HERE, real_address(account.executable), name, PROGRAM_BYTES - 1)
    write_record(account, folder)
    unlock(gate, LOCK)


@kernel
def enter_areas(flight):
    """Note the pages and objects of the break's heap and of each mapped area; their number."""
    machine = flight.heap.machine
    meters, gaps = machine.meters, machine.gaps
    top = (meters[BREAK] + PAGE_BYTES - 1) & -PAGE_BYTES
    objects = enter_area(flight, BREAK_BASE, top)
    start = meters[LOWEST_MAPPED]
    for row in range(gaps.count[0]):
        if gaps.end[row] > start:
            objects += enter_area(flight, start, gaps.start[row])
            start = gaps.end[row]
    return objects + enter_area(flight, start, MAPPED_TOP)


@kernel
def enter_area(flight, start, end):
    """Note the pages and live objects of [start, end), which is mapped; how many objects."""
    heap, ledger = flight.heap, flight.account.ledger
    pages = heap.machine.pages
    first, past = start >> PAGE_SHIFT, end >> PAGE_SHIFT
    if past <= first:
        return 0
    real = real_address(heap.machine.words) + start
    system_call(MINCORE, real, end - start, real_address(pages) + first)
    for page in range(first, past):
        pages[unsigned(page)] = MAPPED | RESIDENT if pages[unsigned(page)] & 1 else MAPPED
    objects = 0
    for address in range(start, end, 1 << SIZES_SHIFT):
        size = flight.sizes[unsigned(address >> SIZES_SHIFT)] - 1
        if size >= 0:
            loop.enter_object(heap, ledger, address, size, 1)
            objects += 1
    return objects


@kernel
def write_record(account, folder):
    """Append the record to the process's file in a folder."""
    number, digits = account.record[PROCESS], 1
    while number >= 10:
        number, digits = number // 10, digits + 1
    number = account.record[PROCESS]
    for place in range(digits - 1, -1, -1):
        account.file[unsigned(place)] = np.int8(ord("0") + number % 10)
        number //= 10
    inside = system_call(OPENAT, HERE, folder, OPEN_FOLDER)
    file = system_call(OPENAT, inside, real_address(account.file), OPEN_RECORD, 0o600)
    system_call(WRITE, file, real_address(account.record), 8 * RECORD)
    system_call(CLOSE, file)
    system_call(CLOSE, inside)
