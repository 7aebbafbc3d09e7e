"""RosAlloc's space: brackets of sizes, and where the words of a run lie.

    space   │ run │ run of 2 pages │ free pages │ large object │ free pages ...      one byte a page
    run     │ bracket │ own │ free: head, tail, size │ bulk │ own: ... │ pad │ slot │ slot │ ...
              80 bytes, and what makes the slots end with the run

Terms      bracket: one of 42 slot sizes; own: slots of a thread's run that were freed meanwhile;
           page map: what each page is
Source     ART 11 runtime/gc/allocator/rosalloc.h, rosalloc.cc (Initialize)
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.record import record
from heapwright.machine import PAGE_BYTES, Machine, load, store, touch
from heapwright.machine.address_space import PAGE_SHIFT
from heapwright.structures.ranked_tree import RankedTree
from heapwright.structures.sorted_keys import SortedKeys

BRACKETS, OWN_BRACKETS = 42, 16  # of these a thread has runs of its own: up to 128 bytes
LARGEST_BYTES = 2048  # of a slot
FINE_BYTES, MIDDLE_BYTES = 128, 512  # brackets are 8 bytes apart, then 16, then 1 and 2 KiB
HEADER_BYTES = 80
MOST_THREADS = 1 << 16

# Words of a run
BRACKET, OWN = 0, 8  # the real one's bytes 1 and 2 of the first word
HEAD, SIZE = 16, 24
OWN_HEAD, OWN_TAIL, OWN_SIZE = 56, 64, 72

# What a page is: ART's kPageMap...
RELEASED, EMPTY, LARGE, LARGE_PART, RUN, RUN_PART = range(6)
# When free pages go back: kPageReleaseMode...
NEVER, AT_END, BY_SIZE, BY_SIZE_AT_END, ALWAYS = range(5)

PATHS = ("alloc", "free", "own_merged", "refill", "new_run", "run_back", "large", "refused")
ALLOC, FREE, OWN_MERGED, REFILL, NEW_RUN, RUN_BACK, LARGE_OBJECT, REFUSED = range(len(PATHS))


def brackets():
    """int64[BRACKETS] each of slot bytes, pages of a run, first slot's offset, slots."""
    fine = np.arange(8, FINE_BYTES + 1, 8)
    middle = np.arange(FINE_BYTES + 16, MIDDLE_BYTES + 1, 16)
    sizes = np.concatenate([fine, middle, [1024, 2048]]).astype(np.int64)
    pages = np.ones(BRACKETS, np.int64)
    pages[-2:] = 2, 4
    padded = HEADER_BYTES + -HEADER_BYTES % sizes
    slots = (pages * PAGE_BYTES - padded) // sizes
    return sizes, pages, pages * PAGE_BYTES - slots * sizes, slots


@record(
    "base",  # address of the space; 0 while there was no request
    "map",  # address of the page map
    "pages",  # of the space
    "mode",  # when free pages go back
    "threshold",  # pages of a run that is large enough for it
    "threads",  # numbers below it were seen
)
class Heap(NamedTuple):
    """The whole state but what lies in runs."""

    machine: Machine
    slot_bytes: np.ndarray  # int64[bracket]
    run_pages: np.ndarray  # int64[bracket]
    first_slot: np.ndarray  # int64[bracket]  offset in a run
    slots: np.ndarray  # int64[bracket]  of a run
    kind: np.ndarray  # uint8[page]  what it is
    free: RankedTree  # by first page: pages of a free run
    first: np.ndarray  # int32[page]  of a free run's last page: its first
    spare: SortedKeys  # runs with room that no one uses: bracket << 32 | page
    current: np.ndarray  # int64[bracket]  the run that all threads share; 0 none
    own: np.ndarray  # int64[thread * OWN_BRACKETS + bracket]  a thread's run; 0 none
    fields: np.ndarray  # int64[word]
    paths: np.ndarray  # int64[path]  times taken


@kernel
def bracket_of(size):
    """The bracket of a size up to LARGEST_BYTES; 0 has the first."""
    if size <= FINE_BYTES:
        return (max(size, 1) + 7) // 8 - 1
    if size <= MIDDLE_BYTES:
        return OWN_BRACKETS + (size - FINE_BYTES + 15) // 16 - 1
    return BRACKETS - 2 if size <= 1024 else BRACKETS - 1


@kernel(inline=True)
def page_of(heap, address):
    """Number of the page that an address lies in."""
    return (address - heap.base) >> PAGE_SHIFT


@kernel
def run_of(heap, address):
    """The run or large object that an address lies in."""
    page = page_of(heap, address)
    while heap.kind[unsigned(page)] in (RUN_PART, LARGE_PART):
        page -= 1
    return heap.base + (page << PAGE_SHIFT)


@kernel(inline=True)
def is_run(heap, address):
    """Whether a run begins there, and no large object."""
    return heap.kind[unsigned(page_of(heap, address))] == RUN


@kernel
def set_kinds(heap, page, count, first, further):
    """Enter what `count` pages are in the page map."""
    for each in range(page, page + count):
        heap.kind[unsigned(each)] = first if each == page else further
    touch(heap.machine, heap.map + page, count)


@kernel(inline=True)
def pop(heap, run):
    """Take the newest free slot of a run that has one."""
    machine = heap.machine
    slot = load(machine, run + HEAD)
    store(machine, run + HEAD, load(machine, slot))
    store(machine, run + SIZE, load(machine, run + SIZE) - 1)
    return slot


@kernel
def merge_own(heap, run):
    """What was freed of a thread's run meanwhile comes first in its list; whether there was any."""
    machine = heap.machine
    size = load(machine, run + OWN_SIZE)
    if not size:
        return False
    store(machine, load(machine, run + OWN_TAIL), load(machine, run + HEAD))
    store(machine, run + HEAD, load(machine, run + OWN_HEAD))
    store(machine, run + SIZE, load(machine, run + SIZE) + size)
    for word in (OWN_HEAD, OWN_TAIL, OWN_SIZE):
        store(machine, run + word, 0)
    return True


@kernel(inline=True)
def spare_key(heap, bracket, run):
    """The key of a run in `spare`."""
    return bracket << 32 | page_of(heap, run)
