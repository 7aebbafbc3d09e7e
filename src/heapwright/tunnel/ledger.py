"""What each resident byte is: a page's bytes by cause, added up.

    enter_block ─► live, rounding, header of each page        kept from event to event
    add_up      ─► cached, vacant, the manager's own memory   entered for a moment, then summed

Invariant  the columns of a page never add up to more than PAGE_BYTES; a sample's parts add up to
           the resident bytes                                        (asserted by `replay`)
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.machine import PAGE_BYTES
from heapwright.machine.address_space import (
    BREAK,
    FIRST_BREAK,
    LOWEST_MAPPED,
    MAPPED_TOP,
    PAGE_SHIFT,
    RESIDENT,
)


class Ledger(NamedTuple):
    """What each page holds; a page's parts never exceed PAGE_BYTES."""

    live: np.ndarray  # int16[page], bytes requested by live objects
    rounding: np.ndarray  # int16[page], bytes usable but not requested
    header: np.ndarray  # int16[page], the rest of live blocks, and the manager's own memory
    cached: np.ndarray  # int16[page], free blocks in caches; filled and cleared by `add_up`
    vacant: np.ndarray  # int16[page], of a manager with a collector: memory that no object, dead
    # or alive, occupies; filled and cleared by `add_up`
    free: (
        np.ndarray
    )  # int16[page], partial or retained bytes of a resident page, when last added up
    blocks: np.ndarray  # int64[row, 2], room for the rows of `cached`, `metadata` and `vacant`


def ledger(page_count: int, block_rows: int) -> Ledger:
    """An empty ledger; its pages cost memory when first entered."""
    columns = (np.zeros(page_count, np.int16) for _ in Ledger._fields[:-1])
    return Ledger(*columns, blocks=np.zeros((block_rows, 2), np.int64))


@kernel
def enter(column, start, length, sign):
    """Add `length` bytes from `start` to the pages of `column`, or take them off (sign -1)."""
    while length > 0:
        part = min(length, PAGE_BYTES - (start & (PAGE_BYTES - 1)))
        column[unsigned(start >> PAGE_SHIFT)] += sign * part
        start += part
        length -= part


@kernel
def enter_block(ledger, block, user, sign):
    """Enter a live block (start, bytes) whose owner has `user`: (address, size asked for, usable
    bytes). With sign -1 take it off."""
    start, length = block
    address, size, room = user
    enter(ledger.live, address, size, sign)
    enter(ledger.rounding, address + size, room - size, sign)
    enter(ledger.header, start, address - start, sign)
    enter(ledger.header, address + room, start + length - address - room, sign)


# A sample's columns. The parts after RESIDENT_BYTES sum to it exactly.
(
    SAMPLE_EVENT,
    MAPPED,
    RESIDENT_BYTES,
    LIVE,
    ROUNDING,
    HEADER,
    CACHED,
    PARTIAL,
    RETAINED,
    GARBAGE,
    SAMPLE_COLUMNS,
) = range(11)


@kernel
def add_up(machine, ledger, rows, collected, sample):
    """Say what each resident byte is; `sample` int64[SAMPLE_COLUMNS] is written.

    `rows` (cached, own, vacant) counts the rows of `ledger.blocks`, in this order. A free byte is
    partial when its page holds a live byte, else retained. Free is what is left of a page; where
    the manager is `collected`, only what is vacant, and what is left then is garbage.
    """
    cached, own, vacant = rows
    _enter_rows(ledger.cached, ledger.blocks, (0, cached), 1)
    _enter_rows(ledger.header, ledger.blocks, (cached, cached + own), 1)
    _enter_rows(ledger.vacant, ledger.blocks, (cached + own, cached + own + vacant), 1)
    sample[RESIDENT_BYTES:] = 0
    meters = machine.meters
    top = (meters[BREAK] + PAGE_BYTES - 1) >> PAGE_SHIFT
    _add_pages(machine, ledger, (meters[FIRST_BREAK] >> PAGE_SHIFT, top), collected, sample)
    mapped = (meters[LOWEST_MAPPED] >> PAGE_SHIFT, MAPPED_TOP >> PAGE_SHIFT)
    _add_pages(machine, ledger, mapped, collected, sample)
    _enter_rows(ledger.cached, ledger.blocks, (0, cached), -1)
    _enter_rows(ledger.header, ledger.blocks, (cached, cached + own), -1)
    _enter_rows(ledger.vacant, ledger.blocks, (cached + own, cached + own + vacant), -1)


@kernel
def _enter_rows(column, blocks, rows, sign):
    """Enter rows [rows[0], rows[1]) of `blocks`."""
    for row in range(rows[0], rows[1]):
        enter(column, blocks[row, 0], blocks[row, 1], sign)


@kernel
def _add_pages(machine, ledger, pages, collected, sample):
    """Add the resident pages of [pages[0], pages[1]) to the sample."""
    for number in range(pages[0], pages[1]):
        page = unsigned(number)
        if not machine.pages[page] & RESIDENT:
            continue
        live, rounding = np.int64(ledger.live[page]), np.int64(ledger.rounding[page])
        header, kept = np.int64(ledger.header[page]), np.int64(ledger.cached[page])
        free = PAGE_BYTES - live - rounding - header - kept
        garbage = 0
        if collected:
            garbage = free - np.int64(ledger.vacant[page])
            free -= garbage
        ledger.free[page] = free
        sample[RESIDENT_BYTES] += PAGE_BYTES
        sample[LIVE] += live
        sample[ROUNDING] += rounding
        sample[HEADER] += header
        sample[CACHED] += kept
        sample[GARBAGE] += garbage
        if live:
            sample[PARTIAL] += free
        else:
            sample[RETAINED] += free
