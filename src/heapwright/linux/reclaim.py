"""Memory under a limit: which pages stay, which are written to swap, and when a program is killed.

    access ─► in memory: young         new, or in swap: a fault ─► charge ─► inactive list
    charge ─► over the limit ─► reclaim by 32: inactive ends ─► young: kept, twice: active
                                                             ─► else out: swap, or dropped (file)
              active ends ─► inactive, where that is the shorter or refaults were seen

Terms      young: its page table's entry was used since it was last looked at; refault: a page is
           wanted again after it was put out; age: pages put out and activated so far, by which a
           refault's distance is told: one that memory could have held goes to the active list
Invariant  a list has as many pages as its size says, each of its kind and in memory; charged pages
           are those in memory, the tables' and the stock                              (check)
Source     Linux 6.1: mm/vmscan.c, mm/workingset.c, mm/memcontrol.c (try_charge_memcg), mm/swap.c
Omits      the machine's own shortage (kswapd), pages mapped by several processes, huge pages,
           writeback that takes time, readahead from swap: as of a disk in memory

One memory group of one process. Statistics that the kernel reads of a group are those that were
last flushed: it does so once two batches of 64 changes have gathered.
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.linux.lru import (
    ACTIVE,
    ACTIVE_ANON,
    ACTIVE_FILE,
    CLUSTER,
    FILE,
    INACTIVE_ANON,
    INACTIVE_FILE,
    LISTED,
    LISTS,
    PRESENT,
    REFERENCED,
    SWAPPED,
    WORKINGSET,
    YOUNG,
    Memory,
    empty,
    flush,
    link,
    queue,
    unlink,
    updated,
)
from heapwright.linux.shrink import (
    ACTIVATE,
    COUNTS,
    FILE_REFAULT,
    MAJOR,
    MINOR,
    RECLAIM,
    REFAULT,
    RESTORE,
    SWAP_IN,
    note_cost,
    shrink_active,
    shrink_inactive,
)

TABLE_SHIFT = 9  # pages that a page table maps: 512
FIRST_PRIORITY = 12  # DEF_PRIORITY: of a list the 4096th part is looked at, then twice as much
STOCK = 64  # MEMCG_CHARGE_BATCH: pages charged at once while there is room
RETRIES = 16  # MAX_RECLAIM_RETRIES
SWAPPINESS = 60  # vm.swappiness


def group(pages: int, limit: int, swap_limit: int = 0, kernel_pages: int = 0) -> Memory:
    """A memory group of up to so many pages, of which `limit` may be in memory and `swap_limit` in
    swap; `kernel_pages` of the limit are the kernel's own for it."""
    return empty(
        pages,
        len(COUNTS),
        limit=limit,
        swap_limit=swap_limit,
        swappiness=SWAPPINESS,
        charged=kernel_pages,
    )


@kernel(inline=True)
def access(memory, page):
    """The program reads or writes an anonymous page; False where it is killed for it."""
    state = np.int64(memory.state[unsigned(page)])
    if state & PRESENT:
        memory.state[unsigned(page)] = state | YOUNG
        return True
    return fault(memory, page, False)


@kernel
def fault(memory, page, file):
    """A page that is not in memory gets some, or one of a file that is read; False where the
    program is killed for it."""
    state = np.int64(memory.state[unsigned(page)])
    if not file and not memory.table[unsigned(page >> TABLE_SHIFT)]:
        if not charge(memory):
            return False
        memory.table[unsigned(page >> TABLE_SHIFT)] = 1
        memory.tables += 1
        updated(memory, 2)
    if not charge(memory):
        return False
    fresh = PRESENT | YOUNG | (FILE if file else 0)
    updated(memory, 3)
    if state & SWAPPED:
        memory.counts[MAJOR] += 0 if file else 1
        updated(memory, 1)
        if not file:
            memory.counts[SWAP_IN] += 1
            memory.swapped -= 1
            updated(memory, 1)
        fresh |= _refault(memory, page, 1 if file else 0)
    elif not file:
        memory.counts[MINOR] += 1
    memory.state[unsigned(page)] = fresh
    queue(memory, page)
    return True


@kernel
def _refault(memory, page, file):
    """A page comes back: whether it is active from now on, and of the working set, as bits."""
    memory.counts[FILE_REFAULT if file else REFAULT] += 1
    updated(memory, 1)
    shadow = memory.shadow[unsigned(page)]
    told = memory.told
    room = told[ACTIVE_FILE]
    if not file:
        room += told[INACTIVE_FILE]
    if memory.swap_limit - memory.swapped > 0:
        room += told[ACTIVE_ANON]
        if file:
            room += told[INACTIVE_ANON]
    if memory.age - (shadow >> 1) > room:
        return 0
    memory.age += 1
    memory.counts[ACTIVATE] += 1
    memory.activated[file] += 1
    updated(memory, 1)
    if not shadow & 1:
        return ACTIVE
    note_cost(memory, file, 1)
    memory.counts[RESTORE] += 1
    updated(memory, 1)
    return ACTIVE | WORKINGSET


@kernel
def charge(memory):
    """Charge a page to the group, reclaiming others; False where the program is killed for it."""
    if memory.stock:
        memory.stock -= 1
        return True
    if memory.charged + STOCK <= memory.limit:
        memory.charged += STOCK
        memory.stock = STOCK - 1
        return True
    tries = RETRIES
    while memory.charged >= memory.limit:
        freed = reclaim(memory, CLUSTER)
        if memory.charged < memory.limit:
            break
        if not freed:
            tries -= 1
            if tries < 0:
                memory.killed = 1
                return False
    memory.charged += 1
    return True


@kernel
def reclaim(memory, wanted):
    """Free `wanted` pages, or some; how many."""
    memory.counts[RECLAIM] += 1
    memory.force = memory.skipped = 0
    while True:
        freed = 0
        priority = FIRST_PRIORITY
        while priority >= 0:
            freed += _pass(memory, priority, wanted)
            if freed >= wanted:
                break
            priority -= 1
        for file in range(2):
            memory.refaults[file] = memory.told[LISTS + file]
        if freed or not memory.skipped:
            return freed
        memory.force, memory.skipped = 1, 0


@kernel
def inactive_is_low(memory, file):
    """Whether the inactive list is the shorter one, by a ratio that grows with their size."""
    first = INACTIVE_FILE if file else INACTIVE_ANON
    inactive, active = memory.told[first], memory.told[first + 1]
    gib = (inactive + active) >> 18
    ratio = np.int64(np.sqrt(np.float64(10 * gib))) if gib else np.int64(1)
    return inactive * ratio < active


@kernel
def _may_deactivate(memory):
    """What this pass may take from active lists."""
    if memory.force:
        return 3
    found = 0
    for file in range(2):
        if memory.told[LISTS + file] != memory.refaults[file] or inactive_is_low(memory, file):
            found |= 1 << file
    return found


@kernel
def _shares(memory, priority, trim):
    """What part of the anonymous lists' and of the files' this pass looks at: (anonymous, file,
    of how many)."""
    if memory.swap_limit - memory.swapped <= 0 or not memory.swappiness:
        return 0, 1, 1
    if not priority:
        return 1, 1, 1
    if trim:
        return 0, 1, 1
    total = memory.anon_cost + memory.file_cost
    anon_cost, file_cost = total + memory.anon_cost, total + memory.file_cost
    total = anon_cost + file_cost
    anon = memory.swappiness * (total + 1) // (anon_cost + 1)
    file = (200 - memory.swappiness) * (total + 1) // (file_cost + 1)
    return anon, file, anon + file


@kernel
def _pass(memory, priority, wanted):
    """Look at a part of each list; pages freed."""
    flush(memory)
    memory.may_deactivate = _may_deactivate(memory)
    trim = memory.told[INACTIVE_FILE] >> priority and not memory.may_deactivate & 2
    anon, file, whole = _shares(memory, priority, trim)
    left, targets = memory.left, memory.targets
    for which in range(LISTS):
        share = file if which >= INACTIVE_FILE else anon
        left[which] = targets[which] = (memory.size[which] >> priority) * share // whole
    freed = 0
    while left[INACTIVE_ANON] or left[ACTIVE_FILE] or left[INACTIVE_FILE]:
        for which in range(LISTS):
            some = min(left[which], CLUSTER)
            if some:
                left[which] -= some
                freed += _shrink(memory, which, some)
        if freed < wanted:
            continue
        if not _in_proportion(left, targets):
            break
    if inactive_is_low(memory, 0):
        shrink_active(memory, ACTIVE_ANON, CLUSTER)
    return freed


@kernel
def _in_proportion(left, targets):
    """Enough is freed: stop at the kind of which less is left to look at, and go on with the other
    as far as that one came; False where one is done."""
    anon = left[INACTIVE_ANON] + left[ACTIVE_ANON]
    file = left[INACTIVE_FILE] + left[ACTIVE_FILE]
    if not file or not anon:
        return False
    stopped, other, rest = INACTIVE_FILE, INACTIVE_ANON, file
    if file > anon:
        stopped, other, rest = INACTIVE_ANON, INACTIVE_FILE, anon
    done = rest * 100 // (targets[stopped] + targets[stopped + 1] + 1)
    left[stopped] = left[stopped + 1] = 0
    for which in (other, other + 1):
        looked = targets[which] - left[which]
        left[which] = targets[which] * (100 - done) // 100
        left[which] -= min(left[which], looked)
    return True


@kernel
def _shrink(memory, which, most):
    """Look at up to `most` pages of a list; pages freed."""
    if which not in (ACTIVE_ANON, ACTIVE_FILE):
        return shrink_inactive(memory, which, most)
    if memory.may_deactivate & (2 if which == ACTIVE_FILE else 1):
        shrink_active(memory, which, most)
    else:
        memory.skipped = 1
    return 0


@kernel
def access_mixed(memory, accesses, file):
    """Accesses int64[n] one after the other: of anonymous pages, and with bit 40 set reads of the
    pages from `file` on; how many were done before it was killed."""
    for row in range(len(accesses)):
        page = accesses[row]
        if page >> 40:
            alive = read_file(memory, (page & 0xFFFFFFFFFF) + file)
        else:
            alive = access(memory, page)
        if not alive:
            return row
    return len(accesses)


@kernel
def read_file(memory, page):
    """read() of a page of a file; False where the program is killed for it."""
    state = np.int64(memory.state[unsigned(page)])
    if not state & PRESENT:
        if not fault(memory, page, True):
            return False
        state = np.int64(memory.state[unsigned(page)]) & ~YOUNG
    if not state & REFERENCED:
        memory.state[unsigned(page)] = state | REFERENCED
        return True
    if not state & ACTIVE:
        if state & LISTED:
            unlink(memory, page)
            memory.state[unsigned(page)] = np.int64(memory.state[unsigned(page)]) | ACTIVE
            link(memory, page)
            updated(memory, 2)
            state = np.int64(memory.state[unsigned(page)])
        else:
            state |= ACTIVE
        memory.age += 1
    memory.state[unsigned(page)] = state & ~REFERENCED
    return True
