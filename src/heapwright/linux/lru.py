"""The lists that a memory group's pages are on: active and inactive, anonymous and of files.

    new page ─► a batch of 15 ─► front of a list ─► ... ─► its end, where reclaim looks

Terms      told: a statistic as it was last flushed, which is what the kernel's decisions read
Invariant  a listed page is in memory, and in the list that its bits name          (check: 1-3)
Source     Linux 6.1: mm/swap.c, include/linux/mm_inline.h, mm/memcontrol.c (memcg_rstat_updated)
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record, words

INACTIVE_ANON, ACTIVE_ANON, INACTIVE_FILE, ACTIVE_FILE = range(4)
LISTS = 4
CLUSTER = 32  # SWAP_CLUSTER_MAX: pages looked at, and freed, at a time
BATCH = 15  # PAGEVEC_SIZE: new pages wait until they are so many
CHANGES = 64  # MEMCG_CHARGE_BATCH: of statistics, that are a batch

# A page's bits
PRESENT, LISTED, ACTIVE, FILE = 1, 2, 4, 8  # in memory; in a list; which
YOUNG, REFERENCED, WORKINGSET, SWAPPED = 16, 32, 64, 128
TOLD_ACTIVATED = LISTS  # rows of `told` past the lists' sizes: activations, anonymous and file


@record(
    "pages",  # that there may be; the lists' heads are the nodes past them
    "limit",  # pages that the group may have charged
    "swap_limit",  # pages that it may have in swap
    "swappiness",
    "charged",  # pages, those of `stock` too
    "stock",  # charged ahead
    "swapped",  # pages in swap
    "tables",  # page tables, charged too
    "waiting",  # pages of the batch
    "age",  # pages put out and activated so far
    "anon_cost",  # pages written and refaulted of late, by kind: who was costly is looked at less
    "file_cost",
    "changes",  # of statistics since the last batch
    "batches",  # of changes since the last flush
    "may_deactivate",  # bit 0 anonymous, 1 file: what this pass may take from active lists
    "force",  # it may from both
    "skipped",  # it would have, and might not
    "killed",  # out of memory
    "forget",  # pages that were let go since the lists were last swept
)
class Memory(NamedTuple):
    """A group's memory. Kernels change it through lru.py and reclaim.py."""

    next: np.ndarray  # int32[page + list]
    previous: np.ndarray  # int32[page + list]
    state: np.ndarray  # uint8[page]  bits
    shadow: np.ndarray  # int64[page]  of one put out: the age then, times 2, + 1 of the working set
    table: np.ndarray  # uint8[page >> 9]  whether it has a page table
    size: np.ndarray  # int64[LISTS]  pages
    told: np.ndarray  # int64[LISTS + 2]  sizes and activations as last flushed
    activated: np.ndarray  # int64[2]  refaults that were activated, anonymous and file
    refaults: np.ndarray  # int64[2]  of those, when the last reclaim ended
    batch: np.ndarray  # int32[BATCH]  pages that wait for their list
    taken: np.ndarray  # int32[CLUSTER]  pages that reclaim looks at
    left: np.ndarray  # int64[LISTS]  pages that a pass has yet to look at
    targets: np.ndarray  # int64[LISTS]  and had at its start
    counts: np.ndarray  # int64[len(reclaim.COUNTS)]
    fields: np.ndarray  # int64[word]


def empty(pages: int, counts: int, **values: int) -> Memory:
    """A group that holds none of so many pages; `values` of its words."""
    heads = np.arange(pages, pages + LISTS)
    links = np.zeros(pages + LISTS, np.int32)
    links[pages:] = heads
    return Memory(
        links,
        links.copy(),
        np.zeros(pages, np.uint8),
        np.zeros(pages, np.int64),
        np.zeros((pages >> 9) + 1, np.uint8),
        np.zeros(LISTS, np.int64),
        np.zeros(LISTS + 2, np.int64),
        np.zeros(2, np.int64),
        np.zeros(2, np.int64),
        np.zeros(BATCH, np.int32),
        np.zeros(CLUSTER, np.int32),
        np.zeros(LISTS, np.int64),
        np.zeros(LISTS, np.int64),
        np.zeros(counts, np.int64),
        words(Memory, pages=pages, **values),
    )


def named(memory: Memory) -> dict[str, int]:
    """Its words by their names, for people."""
    return dict(zip(Memory.WORDS, memory.fields.tolist(), strict=True))  # type: ignore[attr-defined]


@kernel
def list_of(state):
    """The list that a page's bits name."""
    active = 1 if state & ACTIVE else 0
    return active + (INACTIVE_FILE if state & FILE else INACTIVE_ANON)


@kernel
def updated(memory, changes):
    """Statistics changed by so much."""
    memory.changes += changes
    if memory.changes > CHANGES:
        if memory.batches <= 1:
            memory.batches += memory.changes // CHANGES
        memory.changes = 0


@kernel
def flush(memory):
    """What decisions read is brought up to date, if enough has changed."""
    if memory.batches > 1:
        memory.batches = 0
        for which in range(LISTS):
            memory.told[which] = memory.size[which]
        for file in range(2):
            memory.told[TOLD_ACTIVATED + file] = memory.activated[file]


@kernel
def link(memory, page):
    """A page at the front of its list."""
    state = np.int64(memory.state[unsigned(page)])
    which = list_of(state)
    head = memory.pages + which
    after = np.int64(memory.next[unsigned(head)])
    memory.next[unsigned(page)], memory.previous[unsigned(page)] = after, head
    memory.previous[unsigned(after)] = memory.next[unsigned(head)] = page
    memory.state[unsigned(page)] = state | LISTED
    memory.size[which] += 1


@kernel
def unlink(memory, page):
    """A page out of its list."""
    state = np.int64(memory.state[unsigned(page)])
    after = np.int64(memory.next[unsigned(page)])
    before = np.int64(memory.previous[unsigned(page)])
    memory.next[unsigned(before)], memory.previous[unsigned(after)] = after, before
    memory.state[unsigned(page)] = state & ~LISTED
    memory.size[list_of(state)] -= 1


@kernel
def drain(memory):
    """The pages that wait go to the front of their lists."""
    for i in range(memory.waiting):
        link(memory, np.int64(memory.batch[i]))
        updated(memory, 1)
    memory.waiting = 0


@kernel
def queue(memory, page):
    """A new page waits for its list."""
    memory.batch[memory.waiting] = page
    memory.waiting += 1
    if memory.waiting == BATCH:
        drain(memory)


@kernel
def isolate(memory, which, most):
    """Take up to `most` pages off a list's end into `taken`, the last one first; how many."""
    head = memory.pages + which
    found = 0
    while found < most:
        page = np.int64(memory.previous[unsigned(head)])
        if page == head:
            break
        unlink(memory, page)
        memory.taken[found] = page
        found += 1
    if found:
        updated(memory, found)
    return found


@kernel
def put_back(memory, count):
    """The first `count` of `taken` go to the front of the lists that they are of now."""
    for i in range(count):
        page = np.int64(memory.taken[i])
        link(memory, page)
        updated(memory, 1)
        if memory.state[unsigned(page)] & ACTIVE:
            memory.age += 1


@kernel
def forget(memory, page):
    """A page that was unmapped: out of its list, its batch, and its swap; without a trace."""
    state = np.int64(memory.state[unsigned(page)])
    if state & PRESENT:
        if state & LISTED:
            unlink(memory, page)
        else:
            kept = 0
            for i in range(memory.waiting):
                if np.int64(memory.batch[i]) != page:
                    memory.batch[kept] = memory.batch[i]
                    kept += 1
            memory.waiting = kept
        memory.charged -= 1
    elif state & SWAPPED and not state & FILE:
        memory.swapped -= 1
    memory.state[unsigned(page)] = 0


@kernel
def check(memory):
    """Number of the broken invariant, 0 if none."""
    for which in range(LISTS):
        head = memory.pages + which
        before, page, found = head, np.int64(memory.next[unsigned(head)]), 0
        while page != head:
            state = np.int64(memory.state[unsigned(page)])
            if np.int64(memory.previous[unsigned(page)]) != before:
                return 1
            if state & (PRESENT | LISTED) != PRESENT | LISTED or list_of(state) != which:
                return 2
            before, page, found = page, np.int64(memory.next[unsigned(page)]), found + 1
        if found != memory.size[which]:
            return 3
    return 0
