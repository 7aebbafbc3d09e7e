"""Mark-sweep: trace what lives, then free the rest where it lies.

    new ─► cell or hole ─none─► sweep on ─done─► grow ─limit─► mark ─► sweep
    mark   roots ─► stack ─► prefetched queue ─► each reachable object once
    sweep  eager: the whole heap within the pause
           lazy:  begun in the pause, gone on with by the allocations that need memory

Invariant  the space's (check: 1-22); the mark stack is empty (31); the goal is the limit (32); each
           handle is 0 or that of an object born in its slot (33)
Source     McCarthy, "Recursive functions of symbolic expressions", CACM 1960; Hughes, "A
           semi-incremental garbage collection algorithm", Software: Practice and Experience 1982;
           Jones, Hosking and Moss, "The Garbage Collection Handbook", 2nd edition, chapter 2
Omits      mark bits beside the heap; returning memory to the system

Nothing moves, so an object costs its header and nothing else, and what the dead leave between the
living is used again only by what fits there.
"""

from heapwright.collectors import pace, swept_heap, swept_space, textbook
from heapwright.collectors.log import FULL, begin_cycle, begin_pause
from heapwright.collectors.mark import MarkStack, mark_from_roots, mark_stack
from heapwright.collectors.objects import MOST_BYTES, block_bytes
from heapwright.collectors.swept_space import Space, finish_sweep, obtain
from heapwright.compiler import kernel
from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES

EAGER, LAZY = range(2)

PATHS = ("new", "write", "collect")
NEW, WRITE, COLLECT = range(3)

Config = textbook.knobs(
    __name__,
    sweeping=LAZY,  # 0: eager, 1: lazy
    layout=swept_space.SIZE_CLASSES,  # 0: free list; 1: size classes, from 1 MiB on
)
Heap = textbook.heap(__name__, "sweeping", space=Space, stack=MarkStack)

cached, extent, usable = textbook.cached, textbook.extent, textbook.usable
write, notes = textbook.write, textbook.notes
metadata, vacant, check = swept_heap.metadata, swept_heap.vacant, swept_heap.check


def boot(machine, config, mutator):
    """An empty heap; HeapwrightError for a knob without that value."""
    pacing = pace.pace("mark-sweep", config, PAGE_BYTES)
    if config.sweeping > LAZY or config.layout > swept_space.SIZE_CLASSES:
        raise HeapwrightError("sweeping and layout of mark-sweep are 0 or 1.")
    space = swept_space.swept_space(config.layout, config.heap_bytes)
    parts = {"space": space, "stack": mark_stack(), "sweeping": config.sweeping}
    return textbook.empty(Heap, PATHS, machine, mutator, pacing, **parts)


@kernel(inline=True)
def new(heap, thread, slot, size, fields):
    """Address of a new object in a free cell or hole."""
    heap.paths[NEW] += 1
    need = block_bytes(size)
    space = heap.space
    block = bytes_ = 0
    if space.occupied - space.pending + need <= heap.pace.goal:
        block, bytes_ = obtain(heap.machine, heap.space, heap.mutator, heap.log, need)
    if not block:
        block, bytes_ = _collect_and_obtain(heap, need)
        if not block:
            return 0
    space.occupied += bytes_
    return textbook.born(heap, (block, bytes_), slot, fields)


@kernel
def _collect_and_obtain(heap, need):
    """(block, bytes) after a collection; (0, 0) if it did not help."""
    if need > MOST_BYTES or not pace.may_hold(heap.pace, need):
        return 0, 0
    _collect(heap, need)
    return obtain(heap.machine, heap.space, heap.mutator, heap.log, need)


@kernel
def collect(heap):
    """Mark, and sweep the whole heap whatever the setting says."""
    _collect(heap, 0)
    finish_sweep(heap.machine, heap.space, heap.mutator, heap.log)


@kernel
def _collect(heap, need):
    """Mark, begin to sweep, and set the goal for a heap of `need` bytes more."""
    machine, space = heap.machine, heap.space
    heap.paths[COLLECT] += 1
    begin_pause(heap.log)
    finish_sweep(machine, space, heap.mutator, heap.log)
    occupied = space.occupied
    begin_cycle(heap.log, FULL, occupied, heap.pace.goal)
    live = mark_from_roots(machine, heap.mutator, heap.stack, heap.log)
    swept_space.begin_sweep(machine, space, live)
    if heap.sweeping == EAGER:
        finish_sweep(machine, space, heap.mutator, heap.log)
    textbook.end(heap, live, occupied - live, need)
