"""Blocks freed by a thread that does not own their span go home by post.

    send ─► the sender's outbox: addresses of blocks of one owner ─full, or another owner─►
            letters: the largest block carries the addresses of the others, as many as it has room
            for, then another does ─► the owner's mailbox, by one compare-and-swap of its first
    mail ─► the owner takes all by one exchange and frees each block as its own
    settle ► where the mailbox is CLOSED, or holds more than MAIL_LIMIT for an owner who does not
            look, the sender takes the mail to the spans: those that the owner has no free block of
            become orphans, and whole their pages are free for all

    letter    next letter | CARRIES │ how many │ address │ address │ ... │ last word, as it was
              next letter           │ as it was ...                      where it carries none

Terms      outbox: OUT_COUNT columns of a row from OUTBOX on; envelope: its largest block
Invariant  a block in the post is in no list and counts as taken from its span; an outbox holds
           blocks of classes that share spans                                (invariants.py)
Source     snmalloc's message passing (Liétar et al., ISMM 2019), with one owner at a time; letters
           are our own: whoever frees or gets a block that is carried touches none of its lines, so
           they stay where its owner had them
Omits      snmalloc's routing of batches through other threads
"""

from heapwright.compiler import kernel, likely, unsigned
from heapwright.compiler.atomics import atomic_add, compare_and_swap, exchange, load_acquire
from heapwright.machine import load, store, touch
from heapwright.managers.malloc.wright.classes import LAST
from heapwright.managers.malloc.wright.hardened import fill, sign
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
    OUT_ENVELOPE,
    OUT_LARGEST,
    OUT_OWNER,
    OUTBOX,
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

SETTLED = 32  # blocks taken to their spans while the lock is held, and what one letter has more
CARRIES = 1  # in a letter's first word: addresses follow
CARRIED_FROM = 16  # bytes from a letter's start
KEPT_WORDS = 3  # of a letter that are no address: two before, and its last word, which hardened has


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
    count = rows[unsigned(row + OUT_COUNT)]
    if count and rows[unsigned(row + OUT_OWNER)] != owner:
        post(heap, row)
        count = 0
    rows[unsigned(row + OUT_OWNER)] = owner
    rows[unsigned(row + OUTBOX + count)] = address
    size = heap.classes.bytes_of[unsigned(entry_of(heap, address) & 255)]
    if size > rows[unsigned(row + OUT_LARGEST)]:
        rows[unsigned(row + OUT_LARGEST)] = size
        rows[unsigned(row + OUT_ENVELOPE)] = count
    rows[unsigned(row + OUT_BYTES)] += size
    count += 1
    rows[unsigned(row + OUT_COUNT)] = count
    if count >= heap.fields[REMOTE_BATCH]:
        post(heap, row)


@kernel
def _written(heap, row, number, count, next_letter):
    """Make block `number` of an outbox of `count` a letter that carries those behind it; how many
    it had room for."""
    machine, letter = heap.machine, heap.rows[unsigned(row + OUTBOX + number)]
    size = heap.classes.bytes_of[unsigned(entry_of(heap, letter) & 255)]
    carried = min((size >> 3) - KEPT_WORDS, count - number - 1)
    if carried <= 0:
        touch(machine, letter, 8)
        store(machine, letter, next_letter)
        return 0
    touch(machine, letter, CARRIED_FROM + 8 * carried)
    store(machine, letter, next_letter | CARRIES)
    store(machine, letter + 8, carried)
    for each in range(carried):
        address = heap.rows[unsigned(row + OUTBOX + number + 1 + each)]
        store(machine, letter + CARRIED_FROM + 8 * each, address)
    return carried


@kernel(cold=True)
def post(heap, row):
    """Send the outbox to its owner's mailbox, or take it to the spans if nobody reads that."""
    rows = heap.rows
    owner, length = rows[unsigned(row + OUT_OWNER)], rows[unsigned(row + OUT_BYTES)]
    count, envelope = (
        rows[unsigned(row + OUT_COUNT)],
        row + OUTBOX + rows[unsigned(row + OUT_ENVELOPE)],
    )
    rows[unsigned(row + OUT_COUNT)] = rows[unsigned(row + OUT_LARGEST)] = 0
    rows[unsigned(row + OUT_BYTES)] = 0
    last = rows[unsigned(envelope)]
    rows[unsigned(envelope)] = rows[unsigned(row + OUTBOX)]
    rows[unsigned(row + OUTBOX)] = last
    first = number = 0
    while number < count:
        carried = _written(heap, row, number, count, first)
        first = rows[unsigned(row + OUTBOX + number)]
        number += 1 + carried
    if not _deliver(heap, owner, first, last):
        _settle(heap, first)
        return
    lying = atomic_add(rows, unsigned(owner + MAIL_BYTES), length) + length
    if lying > rows[unsigned(owner + MAIL_LIMIT)] and owner != row:
        settle_mail(heap, owner)


@kernel
def _deliver(heap, owner, first, last):
    """Put a chain of letters into a mailbox; False, and the chain as it was, where it is closed."""
    heap.paths[MESSAGE] += 1
    box, carries = unsigned(owner + MAILBOX), load(heap.machine, last) & CARRIES
    while True:
        old = load_acquire(heap.rows, box)
        if old == CLOSED:
            store(heap.machine, last, carries)
            return False
        store(heap.machine, last, old | carries)
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


@kernel(inline=True)
def next_letter(heap, letter):
    """The letter behind one; 0 if it is the last."""
    return load(heap.machine, letter) & ~CARRIES


@kernel(inline=True)
def carried_by(heap, letter):
    """How many addresses a letter carries."""
    return load(heap.machine, letter + 8) if load(heap.machine, letter) & CARRIES else 0


@kernel(inline=True)
def carried(heap, letter, number):
    """One of the addresses that a letter carries."""
    return load(heap.machine, letter + CARRIED_FROM + 8 * number)


@kernel(inline=True)
def _erase(heap, letter, count):
    """Make the `count` addresses in a letter what a free block is filled with, where hardened."""
    if heap.guarded[0] and count:
        size_class = entry_of(heap, letter) & 255
        fill(heap, letter, heap.classes.bytes_of[unsigned(size_class)])


@kernel(cold=True)
def _settle(heap, letter):
    """Give the blocks of a chain of letters back to spans that are nobody's, or become so. The
    others go to their living owners' mailboxes; bytes of these."""
    heap.paths[SETTLE] += 1
    left = 0
    while letter:
        lock(heap)
        done = 0
        while letter and done < SETTLED:
            after, count = next_letter(heap, letter), carried_by(heap, letter)
            for number in range(count):
                left += _settle_one(heap, carried(heap, letter, number))
            _erase(heap, letter, count)
            left += _settle_one(heap, letter)
            done += 1 + count
            letter = after
        unlock(heap)
    return left


@kernel
def _settle_one(heap, block):
    """Give a block back to its span, or to the mailbox of the span's owner; its bytes if the
    latter. The caller holds the lock, so no thread can end meanwhile: a span with an owner has a
    living one, unless it is FULL."""
    entry = entry_of(heap, block)
    span = entry >> 8
    while not release_to_nobody(heap, span, block):
        owner = owner_of(heap, span)
        if owner != NOBODY:
            touch(heap.machine, block, 8)
            store(heap.machine, block, 0)
            if _deliver(heap, owner, block, block):
                return heap.classes.bytes_of[unsigned(entry & 255)]
    return 0


@kernel(cold=True)
def collect_mail(heap, row, to_cache):
    """Take what others sent: to the cache while it has room, if wanted, else to the spans."""
    heap.paths[MAIL] += 1
    letter = exchange(heap.rows, unsigned(row + MAILBOX), 0)
    heap.rows[unsigned(row + MAIL_BYTES)] = 0
    heap.rows[unsigned(row + MAIL_LIMIT)] = heap.fields[MOST_MAIL_BYTES]
    while letter:
        after, count = next_letter(heap, letter), carried_by(heap, letter)
        for number in range(count):
            _receive(heap, row, carried(heap, letter, number), to_cache)
        _erase(heap, letter, count)
        _receive(heap, row, letter, to_cache)
        letter = after


@kernel(inline=True)
def _receive(heap, row, block, to_cache):
    """Take one block of the mail."""
    entry = entry_of(heap, block)
    head = unsigned(row + (entry & 255))
    old = heap.rows[head]
    word = pushed(heap, old, block)
    if word >= 0 and to_cache:
        touch(heap.machine, block, 8)
        store(heap.machine, block, old)
        sign(heap, block, old)
        heap.rows[head] = word
    else:
        give_back(heap, row, entry >> 8, block)
