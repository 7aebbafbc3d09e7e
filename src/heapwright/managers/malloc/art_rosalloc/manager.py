"""RosAlloc of Android's ART 11: slots in runs, by bracket of size; a thread's own up to 128 bytes.

    alloc ─► up to 128 bytes: the thread's run of the bracket: its newest free slot
              │  none: what was freed of the run meanwhile; else the lowest spare run, a fresh one
              ├ up to 2 KiB: the bracket's current run, which all threads share; likewise
              └ larger: whole pages, the lowest that are side by side
    free  ─► a thread's run: a list apart, till it is out of slots
              any other: the slot; the last one frees its pages, the first of a full run spares it

Terms      bracket, run, page map: see state.py
Invariant  free pages are runs that touch no other and know both ends (check: 1); what the page map
           says of every page is what lies there (2); a run's lists hold as many of its slots as
           they say (3); a spare run has a used and a free slot and no other is spare (4)
Source     ART 11 (Android 11) runtime/gc/allocator/rosalloc.cc; parts in the files beside
Omits      the footprint that grows in steps of 2 MiB up to the capacity, where a run lies as well;
           bulk frees of a collector; what C++ keeps beside the space: sets of runs, sizes of free
           ones; the runtime's header of an object. What ART has no function for: realloc is a
           block, a copy and a free here, memalign a size of a multiple of it, none beyond a page
"""

from typing import NamedTuple

import numpy as np

from heapwright.allocators.frame import ALIGN_BYTES, counters, write_row
from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import words
from heapwright.compiler.reserve import reserve
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, copy, load, mmap, store, touch
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.managers.malloc.art_rosalloc.invariants import check
from heapwright.managers.malloc.art_rosalloc.runs import (
    enter_free,
    give_pages,
    leave,
    refill,
    take_pages,
)
from heapwright.managers.malloc.art_rosalloc.state import (
    ALLOC,
    ALWAYS,
    BRACKET,
    BRACKETS,
    BY_SIZE_AT_END,
    FREE,
    HEAD,
    LARGE,
    LARGE_OBJECT,
    LARGE_PART,
    LARGEST_BYTES,
    MOST_THREADS,
    OWN,
    OWN_BRACKETS,
    OWN_HEAD,
    OWN_MERGED,
    OWN_SIZE,
    OWN_TAIL,
    PATHS,
    REFUSED,
    SIZE,
    Heap,
    bracket_of,
    brackets,
    is_run,
    merge_own,
    page_of,
    pop,
    run_of,
    spare_key,
)
from heapwright.structures.ranked_tree import ranked_tree
from heapwright.structures.sorted_keys import remove, sorted_keys
from heapwright.versions import version_number
from heapwright.words import counted

__all__ = [
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "boot",
    "cached",
    "calloc",
    "check",
    "extent",
    "free",
    "metadata",
    "misaligned",
    "notes",
    "realloc",
    "space",
    "thread_exit",
    "usable",
]

LEAST_BYTES, MOST_BYTES = 64 << 10, 2 << 30


class Config(NamedTuple):
    """What ART gives its allocator."""

    capacity_bytes: int = 64 << 20  # of the space, whole pages; as dalvik.vm.heapgrowthlimit
    page_release_mode: int = BY_SIZE_AT_END  # which free pages go back: 0 none, 1 those at the end,
    # 2 as many as the threshold, 3 those that are both, 4 all
    page_release_size_threshold_bytes: int = 4 << 20  # of free pages side by side, for modes 2, 3
    version: int = version_number("11")


def boot(machine, config):
    """No space yet; HeapwrightError for a size or mode that ART has not."""
    size, threshold = config.capacity_bytes, config.page_release_size_threshold_bytes
    if not LEAST_BYTES <= size <= MOST_BYTES or size % PAGE_BYTES:
        raise HeapwrightError(
            f"art-rosalloc.capacity_bytes is whole pages from {LEAST_BYTES:,} to {MOST_BYTES:,}, "
            f"not {size:,}."
        )
    if not 0 <= config.page_release_mode <= ALWAYS or threshold < 0 or threshold % PAGE_BYTES:
        raise HeapwrightError(
            "art-rosalloc.page_release_mode is 0 to 4 and its page_release_size_threshold_bytes "
            "whole pages."
        )
    pages = size >> PAGE_SHIFT
    return Heap(
        machine,
        *brackets(),
        reserve(pages, np.uint8),
        ranked_tree(pages),
        reserve(pages, np.int32),
        sorted_keys(pages),
        np.zeros(BRACKETS, np.int64),
        reserve(MOST_THREADS * OWN_BRACKETS, np.int64),
        words(
            Heap,
            pages=pages,
            mode=config.page_release_mode,
            threshold=threshold >> PAGE_SHIFT,
        ),
        counters(PATHS),
    )


def notes(heap):
    """What its figures mean, in sentences."""
    refused = int(heap.paths[REFUSED])
    if not refused:
        return []
    return [
        f"Its space of {heap.pages * PAGE_BYTES:,} bytes had no room for "
        f"{counted(refused, 'request')}; ART would collect and try again."
    ]


def space(heap):
    """What the real one is told: bytes of its space; when free pages go back, from how many on."""
    pages, mode, threshold = int(heap.pages), int(heap.mode), int(heap.threshold)
    return pages << PAGE_SHIFT, (mode, threshold << PAGE_SHIFT)


def misaligned(size, align):
    """Whether a block may lie elsewhere than at a multiple of `align`: one of 24 bytes, say."""
    return align <= ALIGN_BYTES


@kernel(cold=True)
def _open(heap):
    """Map the space and its page map; whether there was room."""
    machine = heap.machine
    space = mmap(machine, 0, heap.pages << PAGE_SHIFT)
    map_ = mmap(machine, 0, (heap.pages + PAGE_BYTES - 1) & -PAGE_BYTES) if space else 0
    if not map_:
        return False
    heap.base, heap.map = space, map_
    enter_free(heap, 0, heap.pages)
    return True


@kernel
def alloc(heap, thread, size, align):
    """A slot of a run, or whole pages; 0 where there is no room."""
    heap.paths[ALLOC] += 1
    if align > ALIGN_BYTES:
        size = (max(size, 1) + align - 1) & -align
    address = 0
    if (heap.base or _open(heap)) and align <= PAGE_BYTES:
        if unsigned(size) > unsigned(LARGEST_BYTES):
            heap.paths[LARGE_OBJECT] += 1
            pages = (size + PAGE_BYTES - 1) >> PAGE_SHIFT
            address = take_pages(heap, pages, LARGE, LARGE_PART)
        else:
            address = _alloc_slot(heap, thread, bracket_of(size))
    if not address:
        heap.paths[REFUSED] += 1
    return address


@kernel
def _alloc_slot(heap, thread, bracket):
    """A slot of the thread's run, or of the one that all share."""
    machine = heap.machine
    if bracket >= OWN_BRACKETS:
        run = heap.current[unsigned(bracket)]
        if not run or not load(machine, run + SIZE):
            run = refill(heap, bracket)
            heap.current[unsigned(bracket)] = run
        return pop(heap, run) if run else 0
    thread &= MOST_THREADS - 1
    heap.threads = max(heap.threads, thread + 1)
    place = thread * OWN_BRACKETS + bracket
    run = heap.own[unsigned(place)]
    if run and load(machine, run + SIZE):
        return pop(heap, run)
    if run and merge_own(heap, run):
        heap.paths[OWN_MERGED] += 1
        return pop(heap, run)
    if run:
        store(machine, run + OWN, 0)
    run = refill(heap, bracket)
    heap.own[unsigned(place)] = run
    if not run:
        return 0
    store(machine, run + OWN, 1)
    return pop(heap, run)


@kernel
def free(heap, thread, address):
    """Zero the slot and list it, or free the pages."""
    heap.paths[FREE] += 1
    machine, run = heap.machine, run_of(heap, address)
    if not is_run(heap, run):
        give_pages(heap, run, False)
        return
    bracket = load(machine, run + BRACKET)
    touch(machine, address, heap.slot_bytes[unsigned(bracket)])
    if load(machine, run + OWN):
        size = load(machine, run + OWN_SIZE)
        store(machine, address, load(machine, run + OWN_HEAD))
        store(machine, run + OWN_HEAD, address)
        store(machine, run + OWN_SIZE, size + 1)
        if not size:
            store(machine, run + OWN_TAIL, address)
        return
    size = load(machine, run + SIZE)
    store(machine, address, load(machine, run + HEAD))
    store(machine, run + HEAD, address)
    store(machine, run + SIZE, size + 1)
    is_current = run == heap.current[unsigned(bracket)]
    if size + 1 == heap.slots[unsigned(bracket)]:
        if is_current:
            heap.current[unsigned(bracket)] = 0
        elif size:
            remove(heap.spare, spare_key(heap, bracket, run))
        leave(heap, run)
    elif not size and not is_current:
        leave(heap, run)


@kernel
def thread_exit(heap, thread):
    """Its runs are everyone's (RevokeThreadLocalRuns)."""
    thread &= MOST_THREADS - 1
    for bracket in range(OWN_BRACKETS):
        place = thread * OWN_BRACKETS + bracket
        run = heap.own[unsigned(place)]
        if run:
            heap.own[unsigned(place)] = 0
            merge_own(heap, run)
            store(heap.machine, run + OWN, 0)
            leave(heap, run)


@kernel
def calloc(heap, thread, size):
    """What is handed out is zero: nothing is written."""
    return alloc(heap, thread, size, ALIGN_BYTES)


@kernel
def realloc(heap, thread, address, size):
    """A new block, a copy, and the old one freed, which stays where there is no room."""
    moved = alloc(heap, thread, size, ALIGN_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(usable(heap, address, 0), size))
        free(heap, thread, address)
    return moved


@kernel
def usable(heap, address, size):
    """The bracket's size, or whole pages."""
    run = run_of(heap, address)
    if is_run(heap, run):
        return heap.slot_bytes[unsigned(load(heap.machine, run + BRACKET))]
    page, pages = page_of(heap, run), 1
    while page + pages < heap.pages and heap.kind[unsigned(page + pages)] == LARGE_PART:
        pages += 1
    return pages << PAGE_SHIFT


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, usable(heap, address, size)


@kernel
def cached(heap, blocks):
    """Free slots of threads' runs."""
    machine, count = heap.machine, 0
    for place in range(heap.threads * OWN_BRACKETS):
        run = heap.own[unsigned(place)]
        if run:
            bytes_ = heap.slot_bytes[unsigned(load(machine, run + BRACKET))]
            for list_ in (HEAD, OWN_HEAD):
                slot = load(machine, run + list_)
                while slot:
                    count = write_row(blocks, count, slot, bytes_)
                    slot = load(machine, slot)
    return count


@kernel
def metadata(heap, blocks):
    """The page map, and what of each run lies before its slots."""
    if not heap.base:
        return 0
    count = write_row(blocks, 0, heap.map, (heap.pages + PAGE_BYTES - 1) & -PAGE_BYTES)
    for page in range(heap.pages):
        run = heap.base + (page << PAGE_SHIFT)
        if is_run(heap, run):
            bracket = load(heap.machine, run + BRACKET)
            count = write_row(blocks, count, run, heap.first_slot[unsigned(bracket)])
    return count
