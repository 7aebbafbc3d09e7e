"""What was given back to the system and soon asked for again: from this the schedule learns.

    purge ─► PURGED_PAGES ─a run is handed out that has clean pages─► WANTED_PAGES, twice as many,
             but no more than twice what the heap has: so much more may lie free; and
             REGRETTED_PAGES, by which intervals get longer

Source     our own
Omits      which pages these were: clean ones are taken for purged ones while there are any
"""

from heapwright.compiler import kernel
from heapwright.managers.malloc.wright.dirty import dirty_pages
from heapwright.managers.malloc.wright.state import (
    DIRTY_PAGES,
    PATIENCE,
    PURGED_PAGES,
    REGRETTED_PAGES,
    USED_PAGES,
    WANTED_PAGES,
)

MOST_PATIENCE = 5


@kernel
def regret(heap, start, pages):
    """A run is handed out: of its clean pages as many as were purged of late were wanted."""
    fields = heap.fields
    wanted = min(pages - dirty_pages(heap, start, pages), fields[PURGED_PAGES])
    fields[PURGED_PAGES] -= wanted
    most = max(fields[WANTED_PAGES], 2 * (fields[USED_PAGES] + fields[DIRTY_PAGES]))
    fields[WANTED_PAGES] = min(fields[WANTED_PAGES] + 2 * wanted, most)
    fields[REGRETTED_PAGES] += wanted


@kernel
def learn(heap):
    """At the end of an interval: the next is longer if much of what was purged was wanted again,
    and shorter if little was."""
    fields = heap.fields
    regretted, purged = fields[REGRETTED_PAGES], fields[PURGED_PAGES] + fields[REGRETTED_PAGES]
    if regretted * 4 > purged:
        fields[PATIENCE] = min(fields[PATIENCE] + 1, MOST_PATIENCE)
    elif regretted * 16 <= purged:
        fields[PATIENCE] = max(fields[PATIENCE] - 1, 0)
    fields[REGRETTED_PAGES] = 0
    fields[PURGED_PAGES] >>= 1
