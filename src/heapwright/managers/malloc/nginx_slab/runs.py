"""Runs of pages: the first in the list that is long enough, cut from its low end; merged when free.

    free runs ─► ring: longer than wanted: its rest keeps its place ─► what was freed comes first

Source     nginx 1.22 src/core/ngx_slab.c: ngx_slab_alloc_pages, ngx_slab_free_pages
"""

from heapwright.compiler import kernel
from heapwright.machine import load, store
from heapwright.managers.malloc.nginx_slab.layout import (
    ENTRY_BYTES,
    INNER,
    KIND_MASK,
    MERGED,
    NEXT,
    PREVIOUS,
    RUN,
    TAKEN,
    WORD,
    kind,
    link_first,
    next_of,
    unlink,
    word,
    write_entry,
)


@kernel
def take_run(heap, pages):
    """The entry of the first of so many pages; 0 where no run is as long."""
    machine, entry = heap.machine, next_of(heap, heap.ring)
    while entry != heap.ring:
        length = word(heap, entry)
        if length >= pages:
            if length > pages:
                rest = entry + pages * ENTRY_BYTES
                last = entry + (length - 1) * ENTRY_BYTES
                store(machine, last + PREVIOUS, rest)
                before = load(machine, entry + PREVIOUS) & ~KIND_MASK
                after = next_of(heap, entry)
                write_entry(heap, rest, length - pages, after, before)
                store(machine, before + NEXT, rest)
                store(machine, after + PREVIOUS, rest)
            else:
                unlink(heap, entry)
            write_entry(heap, entry, pages | TAKEN, 0, RUN)
            for inner in range(1, pages):
                write_entry(heap, entry + inner * ENTRY_BYTES, INNER, 0, RUN)
            heap.free_pages -= pages
            return entry
        entry = next_of(heap, entry)
    return 0


@kernel
def give_run(heap, entry, pages):
    """So many pages are free; merged with the run above, then with the one below."""
    machine = heap.machine
    heap.free_pages += pages
    store(machine, entry + WORD, pages)
    for inner in range(1, pages):
        write_entry(heap, entry + inner * ENTRY_BYTES, 0, 0, 0)
    if next_of(heap, entry):
        unlink(heap, entry)
    above = entry + pages * ENTRY_BYTES
    if above < heap.entries + heap.total_pages * ENTRY_BYTES and kind(heap, above) == RUN:
        if next_of(heap, above):
            heap.paths[MERGED] += 1
            pages += word(heap, above)
            store(machine, entry + WORD, pages)
            unlink(heap, above)
            write_entry(heap, above, 0, 0, RUN)
    if entry > heap.entries and kind(heap, entry - ENTRY_BYTES) == RUN:
        below = entry - ENTRY_BYTES
        if not word(heap, below):  # the last page of a free run knows the first
            below = load(machine, below + PREVIOUS) & ~KIND_MASK
        if below and next_of(heap, below):
            heap.paths[MERGED] += 1
            pages += word(heap, below)
            store(machine, below + WORD, pages)
            unlink(heap, below)
            write_entry(heap, entry, 0, 0, RUN)
            entry = below
    if pages > 1:
        store(machine, entry + (pages - 1) * ENTRY_BYTES + PREVIOUS, entry)
    link_first(heap, heap.ring, entry, RUN)
