"""Blocks freed by a thread that does not own their span go home by post.

    send ─► the sender's outbox: a chain of blocks for one owner ─full, or another owner─►
            the owner's mailbox, by one compare-and-swap of its first block
    mail ─► the owner takes all by one exchange and frees each as its own
    exit ─► the mailbox is CLOSED: who would write to it becomes the owner of the span

Terms      outbox: the four OUT_ words of a row; mail: blocks of other threads' senders, chained
           through their first words
Invariant  an outbox counts its chain; a block in the post is in no list and counts as taken from
           its span                                                            (invariants.py)
Source     snmalloc's message passing (Liétar et al., ISMM 2019), with one owner at a time
Omits      snmalloc's routing of batches through other threads
"""

from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.atomics import compare_and_swap, exchange, load_acquire
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import LAST
from heapwright.managers.malloc.wright.spans import claim, release
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    ALIVE,
    CLOSED,
    MAIL,
    MAILBOX,
    MESSAGE,
    ONE,
    OUT_COUNT,
    OUT_FIRST,
    OUT_LAST,
    OUT_OWNER,
    REMOTE,
    REMOTE_BATCH,
    ROW_SHIFT,
    START_THREAD,
    THREADS,
    entry_of,
    lock,
    owner_of,
    unlock,
)


@kernel(cold=True)
def start_thread(heap, row):
    """Open a thread's row, or open it again."""
    heap.paths[START_THREAD] += 1
    for size_class in range(1, heap.classes.fields[LAST] + 1):
        heap.rows[unsigned(row + size_class)] = heap.classes.empty_word[unsigned(size_class)]
    heap.rows[unsigned(row + ALIVE)] = 1
    lock(heap)
    compare_and_swap(heap.rows, unsigned(row + MAILBOX), CLOSED, 0)
    heap.fields[THREADS] = max(heap.fields[THREADS], row >> ROW_SHIFT)
    unlock(heap)


@kernel(inline=True)
def give_back(heap, row, span, address):
    """Free a block of a span of many: to the thread's own span, else by post."""
    owner = owner_of(heap, span)
    if likely(owner == row):
        release(heap, row, span, address)
    else:
        _send(heap, row, owner, address)


@kernel(cold=True)
def _send(heap, row, owner, address):
    """Put a block in the outbox, which is posted when it is full or for another owner."""
    heap.paths[REMOTE] += 1
    rows = heap.rows
    if rows[unsigned(row + OUT_COUNT)] and rows[unsigned(row + OUT_OWNER)] != owner:
        post(heap, row)
    first = rows[unsigned(row + OUT_FIRST)]
    touch(heap.machine, address, 8)
    store(heap.machine, address, first)
    if first == 0:
        rows[unsigned(row + OUT_LAST)] = address
        rows[unsigned(row + OUT_OWNER)] = owner
    rows[unsigned(row + OUT_FIRST)] = address
    rows[unsigned(row + OUT_COUNT)] += 1
    if rows[unsigned(row + OUT_COUNT)] >= heap.fields[REMOTE_BATCH]:
        post(heap, row)


@kernel(cold=True)
def post(heap, row):
    """Send the outbox to its owner's mailbox; where that is closed, block by block."""
    rows = heap.rows
    first, last = rows[unsigned(row + OUT_FIRST)], rows[unsigned(row + OUT_LAST)]
    rows[unsigned(row + OUT_FIRST)] = rows[unsigned(row + OUT_COUNT)] = 0
    if _deliver(heap, rows[unsigned(row + OUT_OWNER)], first, last):
        return
    while first:
        block, first = first, load(heap.machine, first)
        _give_to_claimed(heap, row, block)


@kernel
def _deliver(heap, owner, first, last):
    """Put a chain of blocks into a mailbox; False, and the chain as it was, where it is closed."""
    heap.paths[MESSAGE] += 1
    box = unsigned(owner + MAILBOX)
    while True:
        old = load_acquire(heap.rows, box)
        if old == CLOSED:
            store(heap.machine, last, 0)
            return False
        store(heap.machine, last, old)
        if compare_and_swap(heap.rows, box, old, first):
            return True


@kernel
def _give_to_claimed(heap, row, address):
    """Free a block whose span's owner had gone: as the span's new owner, if there is no other."""
    span = entry_of(heap, address) >> 8
    while True:
        lock(heap)
        owner = owner_of(heap, span)
        if owner != row and load_acquire(heap.rows, unsigned(owner + MAILBOX)) == CLOSED:
            claim(heap, row, span)
            owner = row
        unlock(heap)
        if owner == row:
            release(heap, row, span, address)
            return
        if _deliver(heap, owner, address, address):
            return


@kernel(cold=True)
def collect_mail(heap, row, to_cache):
    """Take what others sent: to the cache while it has room, if wanted, else to the spans."""
    heap.paths[MAIL] += 1
    block = exchange(heap.rows, unsigned(row + MAILBOX), 0)
    while block:
        after = load(heap.machine, block)
        entry = entry_of(heap, block)
        head = unsigned(row + (entry & 255))
        old = heap.rows[head]
        word = (old & ~ADDRESS) - ONE + block
        if word >= 0 and to_cache:
            store(heap.machine, block, old)
            heap.rows[head] = word
        else:
            give_back(heap, row, entry >> 8, block)
        block = after
