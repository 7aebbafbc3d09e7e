"""What reclaim does with a list's end: who stays, who becomes inactive, who leaves memory.

    active end   ─► inactive, whether it was used or not: it has its chance there
    inactive end ─► used: stays, used twice: active      else: to swap, or it is the file's again

Source     Linux 6.1: mm/vmscan.c (shrink_folio_list, folio_check_references), mm/swap.c
           (lru_note_cost), mm/workingset.c (workingset_eviction)
"""

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.linux.lru import (
    ACTIVE,
    ACTIVE_ANON,
    ACTIVE_FILE,
    FILE,
    INACTIVE_ANON,
    INACTIVE_FILE,
    REFERENCED,
    SWAPPED,
    WORKINGSET,
    YOUNG,
    drain,
    isolate,
    put_back,
    updated,
)

COUNTS = (
    *("minor_faults", "major_faults", "refaults", "file_refaults"),
    *("scanned", "file_scanned", "stolen", "file_stolen"),
    *("swapped_in", "swapped_out", "activated", "restored"),
    *("refilled", "deactivated", "promoted", "reclaims", "most_swapped"),
)
(
    MINOR,
    MAJOR,
    REFAULT,
    FILE_REFAULT,
    SCAN,
    FILE_SCAN,
    STEAL,
    FILE_STEAL,
    SWAP_IN,
    SWAP_OUT,
    ACTIVATE,
    RESTORE,
    REFILL,
    DEACTIVATE,
    PROMOTE,
    RECLAIM,
    MOST_SWAPPED,
) = range(len(COUNTS))


@kernel
def note_cost(memory, file, pages):
    """Reclaim of a kind has cost so many pages of reading and writing; what was long ago fades."""
    if file:
        memory.file_cost += pages
    else:
        memory.anon_cost += pages
    told = memory.told
    listed = told[INACTIVE_ANON] + told[ACTIVE_ANON] + told[INACTIVE_FILE] + told[ACTIVE_FILE]
    if memory.file_cost + memory.anon_cost > listed // 4:
        memory.file_cost //= 2
        memory.anon_cost //= 2


@kernel
def shrink_active(memory, which, most):
    """Pages of an active list's end become inactive, whether they are young or not."""
    drain(memory)
    found = isolate(memory, which, most)
    memory.counts[REFILL] += found
    updated(memory, found)
    for i in range(found):
        page = unsigned(np.int64(memory.taken[i]))
        state = np.int64(memory.state[page]) & ~(ACTIVE | YOUNG)
        memory.state[page] = state | WORKINGSET
    put_back(memory, found)
    memory.counts[DEACTIVATE] += found
    updated(memory, found)


@kernel
def shrink_inactive(memory, which, most):
    """Put out what of an inactive list's end was not used twice; pages freed."""
    drain(memory)
    found = isolate(memory, which, most)
    file = which == INACTIVE_FILE
    memory.counts[FILE_SCAN if file else SCAN] += found
    updated(memory, found)
    kept = written = 0
    for i in range(found):
        page = np.int64(memory.taken[i])
        state = np.int64(memory.state[unsigned(page)])
        was = state & REFERENCED
        if state & YOUNG:
            state = state & ~YOUNG | REFERENCED
            if was:
                state |= ACTIVE
        elif file:
            state = 0
        elif memory.swapped < memory.swap_limit:
            state = 0
            written += 1
        else:  # swap is full
            state = state & ~REFERENCED | ACTIVE
        if not state:
            _put_out(memory, page, file)
            continue
        if state & ACTIVE:
            memory.counts[PROMOTE] += 1
            updated(memory, 1)
        memory.state[unsigned(page)] = state
        memory.taken[kept] = page
        kept += 1
    put_back(memory, kept)
    memory.counts[FILE_STEAL if file else STEAL] += found - kept
    updated(memory, found - kept)
    note_cost(memory, file, written)
    return found - kept


@kernel
def _put_out(memory, page, file):
    """A page leaves memory: to swap, or it is the file's again."""
    old = np.int64(memory.state[unsigned(page)])
    memory.shadow[unsigned(page)] = memory.age << 1 | (1 if old & WORKINGSET else 0)
    memory.age += 1
    memory.charged -= 1
    memory.state[unsigned(page)] = SWAPPED | (FILE if file else 0)
    updated(memory, 2 if file else 7)
    if not file:
        memory.swapped += 1
        memory.counts[SWAP_OUT] += 1
        memory.counts[MOST_SWAPPED] = max(memory.counts[MOST_SWAPPED], memory.swapped)
