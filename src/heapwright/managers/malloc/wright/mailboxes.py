"""Blocks freed by a thread that does not own their span go home by post.

    send ─► the sender's outbox: a chain of blocks for one owner ─full, or another owner─►
            the owner's mailbox, by one compare-and-swap of its first block
    mail ─► the owner takes all by one exchange and frees each as its own
    settle ► where the mailbox is CLOSED, or holds more than MAIL_LIMIT for an owner who does not
            look, the sender takes the mail to the spans: those that the owner has no free block of
            become orphans, and whole their pages are free for all

Terms      outbox: the four OUT_ words of a row; mail: blocks of other threads' senders, chained
           through their first words
Invariant  an outbox counts its chain; a block in the post is in no list and counts as taken from
           its span                                                            (invariants.py)
Source     snmalloc's message passing (Liétar et al., ISMM 2019), with one owner at a time
Omits      snmalloc's routing of batches through other threads
"""

from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.atomics import atomic_add, compare_and_swap, exchange, load_acquire
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import LAST
from heapwright.managers.malloc.wright.hardened import sign
from heapwright.managers.malloc.wright.spans import release, release_to_nobody
from heapwright.managers.malloc.wright.state import (
    ALIVE,
    CLOSED,
    LISTED,
    MAIL,
    MAIL_BYTES,
    MAIL_LIMIT,
    MAILBOX,
    MESSAGE,
    MOST_MAIL_BYTES,
    NOBODY,
    OUT_BYTES,
    OUT_COUNT,
    OUT_FIRST,
    OUT_LAST,
    OUT_OWNER,
    OWNER_SHIFT,
    REMOTE,
    REMOTE_BATCH,
    ROOM,
    ROW_SHIFT,
    SETTLE,
    START_THREAD,
    STATE_SHIFT,
    THREADS,
    entry_of,
    lock,
    owner_of,
    pushed,
    unlock,
)

SETTLED = 32  # blocks taken to their spans while the lock is held


@kernel(cold=True)
def start_thread(heap, row):
    """Open a thread's row, or open it again."""
    heap.paths[START_THREAD] += 1
    for size_class in range(1, heap.classes.fields[LAST] + 1):
        heap.rows[unsigned(row + size_class)] = heap.classes.empty_word[unsigned(size_class)]
        heap.rows[unsigned(row + ROOM + size_class)] = 0
    heap.rows[unsigned(row + ALIVE)] = row << OWNER_SHIFT - STATE_SHIFT | LISTED
    heap.rows[unsigned(row + MAIL_LIMIT)] = heap.fields[MOST_MAIL_BYTES]
    lock(heap)
    compare_and_swap(heap.rows, unsigned(row + MAILBOX), CLOSED, 0)
    heap.fields[THREADS] = max(heap.fields[THREADS], row >> ROW_SHIFT)
    unlock(heap)


@kernel(inline=True)
def give_back(heap, row, span, address):
    """Free a block of a span of many: to the thread's own span, else by post."""
    if not likely(release(heap, row, span, address)):
        send(heap, row, span, address)


@kernel(cold=True)
def send(heap, row, span, address):
    """Put a block in the outbox, which is posted when it is full or for another owner."""
    heap.paths[REMOTE] += 1
    rows, owner = heap.rows, owner_of(heap, span)
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
    size_class = entry_of(heap, address) & 255
    rows[unsigned(row + OUT_BYTES)] += heap.classes.bytes_of[unsigned(size_class)]
    if rows[unsigned(row + OUT_COUNT)] >= heap.fields[REMOTE_BATCH]:
        post(heap, row)


@kernel(cold=True)
def post(heap, row):
    """Send the outbox to its owner's mailbox, or take it to the spans if nobody reads that."""
    rows = heap.rows
    owner, length = rows[unsigned(row + OUT_OWNER)], rows[unsigned(row + OUT_BYTES)]
    first, last = rows[unsigned(row + OUT_FIRST)], rows[unsigned(row + OUT_LAST)]
    rows[unsigned(row + OUT_FIRST)] = rows[unsigned(row + OUT_COUNT)] = 0
    rows[unsigned(row + OUT_BYTES)] = 0
    if not _deliver(heap, owner, first, last):
        _settle(heap, first)
        return
    lying = atomic_add(rows, unsigned(owner + MAIL_BYTES), length) + length
    if lying > rows[unsigned(owner + MAIL_LIMIT)] and owner != row:
        settle_mail(heap, owner)


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


@kernel(cold=True)
def settle_mail(heap, owner):
    """Take a thread's mail to the spans in its stead. What only the owner may do waits on in its
    mailbox, and as much again may lie there before somebody looks next."""
    box = unsigned(owner + MAILBOX)
    while True:
        first = load_acquire(heap.rows, box)
        if first in (0, CLOSED):
            return
        if compare_and_swap(heap.rows, box, first, 0):
            break
    heap.rows[unsigned(owner + MAIL_BYTES)] = 0
    left = _settle(heap, first)
    atomic_add(heap.rows, unsigned(owner + MAIL_BYTES), left)
    heap.rows[unsigned(owner + MAIL_LIMIT)] = heap.fields[MOST_MAIL_BYTES] + 2 * left


@kernel(cold=True)
def _settle(heap, block):
    """Give a chain of blocks back to spans that are nobody's, or become so. The others go to their
    living owners' mailboxes; bytes of these."""
    heap.paths[SETTLE] += 1
    left = 0
    while block:
        lock(heap)
        for _ in range(SETTLED):
            if not block:
                break
            after = load(heap.machine, block)
            entry = entry_of(heap, block)
            if not _settle_one(heap, entry >> 8, block):
                left += heap.classes.bytes_of[unsigned(entry & 255)]
            block = after
        unlock(heap)
    return left


@kernel
def _settle_one(heap, span, block):
    """Give a block back to its span, or to the mailbox of the span's owner; whether the former.
    The caller holds the lock, so no thread can end meanwhile: a span with an owner has a living
    one, unless it is FULL."""
    while not release_to_nobody(heap, span, block):
        owner = owner_of(heap, span)
        if owner != NOBODY and _deliver(heap, owner, block, block):
            return False
    return True


@kernel(cold=True)
def collect_mail(heap, row, to_cache):
    """Take what others sent: to the cache while it has room, if wanted, else to the spans."""
    heap.paths[MAIL] += 1
    block = exchange(heap.rows, unsigned(row + MAILBOX), 0)
    heap.rows[unsigned(row + MAIL_BYTES)] = 0
    heap.rows[unsigned(row + MAIL_LIMIT)] = heap.fields[MOST_MAIL_BYTES]
    while block:
        after = load(heap.machine, block)
        entry = entry_of(heap, block)
        head = unsigned(row + (entry & 255))
        old = heap.rows[head]
        word = pushed(heap, old, block)
        if word >= 0 and to_cache:
            store(heap.machine, block, old)
            sign(heap, block, old)
            heap.rows[head] = word
        else:
            give_back(heap, row, entry >> 8, block)
        block = after
