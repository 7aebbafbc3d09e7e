"""From addresses to slots: who is freed, who moves, which number an object bears.

    Records (addresses) ─► AddressTable ─► Events (slots)      a dead object's slot is reused first

Invariant  an address is in the table exactly while an object lies there, with its slot and size
Source     open addressing, linear probing, deletion by shifting back: Knuth, TAOCP 3, 6.4, R

A free of an unknown address is left out and counted. An allocation where an object already lies
means that its free was missed: it is put in before, and counted.
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.schema import FREE, MALLOC, REALLOC, THREAD_EXIT, Events, events

# Of the tools that log a realloc as a free and an allocation: both together, if they follow each
# other and their importer guesses. It is taken for one if the block moved to grow, or stayed and
# changed its size class. A block that still fits is never moved; one that comes back in the same
# class is malloc's favourite answer to a free, and if it was a realloc after all, no allocator can
# tell.
GUESSED_REALLOC = 6
CLASS_BYTES = 16  # spacing of size classes, glibc's

(SLOTS, UNUSED, UNMATCHED, MISSED, LEAKS, JOINED, PARTED, TOTALS) = range(8)
FEWEST_ROWS = 1 << 12
NO_SLOT = -1  # of an event without an object, and of an object that is new


class Records(NamedTuple):
    """A run of consecutive records of any tool."""

    op: np.ndarray  # uint8[record]  an operation of the schema, or GUESSED_REALLOC
    address: np.ndarray  # int64[record]  the block, 0 for a refused request; after a realloc
    old: np.ndarray  # int64[record]  where a realloc found it, 0 for realloc(NULL); else unread
    size: np.ndarray  # int64[record]  bytes
    align: np.ndarray  # uint8[record]  log2
    thread: np.ndarray  # int32[record]
    site: np.ndarray  # int32[record]


class AddressTable(NamedTuple):
    """Which object lies where; a row whose address is 0 is empty."""

    address: np.ndarray  # int64[row], a power of two of rows
    slot: np.ndarray  # int32[row]
    size: np.ndarray  # int64[slot], bytes
    unused: np.ndarray  # int32[slot], a stack of the dead objects' slots
    totals: np.ndarray
    # int64[TOTALS]  SLOTS given out so far, height of UNUSED, counts; LEAKS is 1 where names are
    # reused without a free: the object that bore the name stays for ever. JOINED and PARTED count
    # what became of GUESSED_REALLOC: a realloc, or a free and a malloc


class Matcher:
    """Turns the records of one process, batch by batch, into events.

    With `leaks`, an object whose name is given to another lives on, out of everybody's reach.
    """

    def __init__(self, leaks: bool = False) -> None:
        self._table = AddressTable(
            np.zeros(FEWEST_ROWS, np.int64),
            np.zeros(FEWEST_ROWS, np.int32),
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros(TOTALS, np.int64),
        )
        self._table.totals[LEAKS] = leaks

    @property
    def unmatched_frees(self) -> int:
        """Frees of addresses where no object was known."""
        return int(self._table.totals[UNMATCHED])

    @property
    def missed_frees(self) -> int:
        """Frees put in, or with `leaks` objects lost, as another came to the same place."""
        return int(self._table.totals[MISSED])

    @property
    def joined(self) -> int:
        """Reallocs that were guessed from a free and an allocation."""
        return int(self._table.totals[JOINED])

    @property
    def parted(self) -> int:
        """Pairs of a free and an allocation that could not be a realloc worth the name."""
        return int(self._table.totals[PARTED])

    def events(self, records: Records) -> Events:
        """The events of the next batch of records, at most three for each."""
        self._make_room(len(records.op))
        columns = ("op", "slot", "size", "align", "thread", "site")
        kinds = (np.uint8, np.int32, np.int64, np.uint8, np.int32, np.int32)
        room = 3 * len(records.op)  # a guess that was a free and a malloc, where one lay already
        made = events(**{c: np.empty(room, kind) for c, kind in zip(columns, kinds, strict=True)})
        rows = match(self._table, records, made)
        return Events(*(column[:rows] for column in made))

    def _make_room(self, more: int) -> None:
        """Keep the table at most half full and the slots enough for `more` allocations."""
        table = self._table
        totals = table.totals
        live = int(totals[SLOTS] - totals[UNUSED])
        if totals[SLOTS] + more > len(table.size):
            wider = max(2 * len(table.size), int(totals[SLOTS]) + more)
            size, unused = np.zeros(wider, np.int64), np.zeros(wider, np.int32)
            size[: len(table.size)], unused[: len(table.unused)] = table.size, table.unused
            table = table._replace(size=size, unused=unused)
        if 2 * (live + more) > len(table.address):
            rows = 1 << int(2 * (live + more)).bit_length()
            wide = table._replace(address=np.zeros(rows, np.int64), slot=np.zeros(rows, np.int32))
            rehash(table, wide)
            table = wide
        self._table = table


@kernel
def _home(table, address):
    """The row where `address` would lie if nobody else did."""
    folded = ((address >> 4) ^ (address >> 36)) & 0xFFFFFFFF
    return (folded * 0x4F1BBCDD >> 16) & (len(table.address) - 1)


@kernel
def _find(table, address):
    """The row of `address`, or the empty row where it belongs."""
    row = _home(table, address)
    while table.address[unsigned(row)] != address and table.address[unsigned(row)] != 0:
        row = (row + 1) & (len(table.address) - 1)
    return row


@kernel
def _remove(table, row):
    """Empty `row` and close the gap in what was probed past it."""
    mask = len(table.address) - 1
    gap, probe = row, (row + 1) & mask
    while table.address[unsigned(probe)] != 0:
        home = _home(table, table.address[unsigned(probe)])
        if (probe - home) & mask >= (probe - gap) & mask:  # probed past the gap to get here
            table.address[unsigned(gap)] = table.address[unsigned(probe)]
            table.slot[unsigned(gap)] = table.slot[unsigned(probe)]
            gap = probe
        probe = (probe + 1) & mask
    table.address[unsigned(gap)] = 0


@kernel
def rehash(table, wide):
    """Enter every address of `table` in `wide`, which is empty."""
    for row in range(len(table.address)):
        address = table.address[unsigned(row)]
        if address:
            new = unsigned(_find(wide, address))
            wide.address[new] = address
            wide.slot[new] = table.slot[unsigned(row)]


@kernel
def _emit(made, row, op, slot):
    """Write an event that has neither size nor call site."""
    i = unsigned(row)
    made.op[i], made.slot[i], made.size[i], made.align[i], made.site[i] = op, slot, 0, 0, -1


@kernel
def _leave(table, address, made, row):
    """The object at `address` dies in event `row`. Returns whether there was one."""
    found = _find(table, address)
    if table.address[unsigned(found)] == 0:
        return False
    slot = table.slot[unsigned(found)]
    _remove(table, found)
    table.unused[unsigned(table.totals[UNUSED])] = slot
    table.totals[UNUSED] += 1
    _emit(made, row, FREE, slot)
    return True


@kernel
def _forget(table, address):
    """Forget the object at `address`, its slot in use for ever. Returns 1 if there was one."""
    found = _find(table, address)
    if table.address[unsigned(found)] == 0:
        return 0
    _remove(table, found)
    return 1


@kernel
def _enter(table, address, slot):
    """An object comes to lie at `address`, where none lies; slot NO_SLOT for a new object."""
    totals = table.totals
    if slot < 0:
        if totals[UNUSED]:
            totals[UNUSED] -= 1
            slot = np.int64(table.unused[unsigned(totals[UNUSED])])
        else:
            slot = totals[SLOTS]
            totals[SLOTS] += 1
    row = unsigned(_find(table, address))
    table.address[row] = address
    table.slot[row] = slot
    return slot


@kernel
def match(table, records, made):
    """Write the events of `records` to `made`, room for three of each; returns how many."""
    totals, row = table.totals, 0
    for number in range(len(records.op)):
        i = unsigned(number)
        op, address, size = np.int64(records.op[i]), records.address[i], records.size[i]
        before, slot = row, NO_SLOT
        if address == 0 and op in (REALLOC, GUESSED_REALLOC):
            continue  # refused: the block stays as it was
        if op == THREAD_EXIT:
            _emit(made, row, op, NO_SLOT)
            row += 1
        elif op == FREE:
            if _leave(table, address, made, row):
                row += 1
            else:
                totals[UNMATCHED] += 1
        else:
            if op in (REALLOC, GUESSED_REALLOC):
                op, slot = _moved(table, op, records.old[i], (address, size))
                if op == FREE:  # what looked like a realloc was a free and a malloc
                    _leave(table, records.old[i], made, row)
                    op = MALLOC
                    row += 1
            if address != 0:
                if totals[LEAKS]:
                    totals[MISSED] += _forget(table, address)
                elif _leave(table, address, made, row):
                    totals[MISSED] += 1
                    row += 1
                slot = _enter(table, address, slot)
                table.size[unsigned(slot)] = size
            _emit(made, row, op, slot)
            made.size[unsigned(row)] = size
            made.align[unsigned(row)] = records.align[i]
            made.site[unsigned(row)] = records.site[i]
            row += 1
        for new in range(before, row):
            made.thread[unsigned(new)] = records.thread[i]
    return row


@kernel
def _class(size):
    """Number of the size class of a block of `size` bytes behind a header of one word."""
    return max(1, (size + 7) // CLASS_BYTES)


@kernel
def _moved(table, op, old, new):
    """What a realloc from `old` to `new` = (address, size) comes to: (operation, slot).

    (REALLOC, its slot) and the object is taken out of the table; (MALLOC, NO_SLOT) when nothing
    known lay there; (FREE, NO_SLOT) when it was no realloc.
    """
    if old == 0:
        return MALLOC, NO_SLOT
    found = _find(table, old)
    if table.address[unsigned(found)] == 0:
        table.totals[UNMATCHED] += 1
        return MALLOC, NO_SLOT
    slot = np.int64(table.slot[unsigned(found)])
    if op == GUESSED_REALLOC:
        before, after = _class(table.size[unsigned(slot)]), _class(new[1])
        if after == before or (new[0] != old and after < before):
            table.totals[PARTED] += 1
            return FREE, NO_SLOT
        table.totals[JOINED] += 1
    _remove(table, found)
    return REALLOC, slot
