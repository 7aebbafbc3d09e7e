"""A heap of two generations in one reserved range: young, which is copied, and old.

    │ eden ─►      │ survivors ─► │ spare │     │ old: own │ table │ objects ─►            │
    └─────────────── young ───────────────┘       what the JVM keeps for itself

    serial: young below old      parallel: old below young

Terms      spare: the other survivor space, empty unless a promotion failed; bump: where the next
           small object is born, in eden or in the buffer there
Source     OpenJDK 17 src/hotspot/share/gc/shared/genCollectedHeap.cpp
Omits      what the JVM itself allocates, but for `own_bytes`; stacks: what the program holds lies
           in a table (see layout.py)

A heap's state has the words SPACES beside its own, and machine, mutator, log, java, stack,
shown_ages, history, references and paths under these names; `bounds` says where they begin.
"""

import numpy as np

from heapwright.allocators.frame import write_row
from heapwright.collectors.hotspot import tlab
from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.history import COLUMNS, expect, remember, report, rows
from heapwright.collectors.hotspot.layout import HEADER_BYTES, entered, initialise, table_bytes
from heapwright.collectors.hotspot.layout import write as store_reference
from heapwright.collectors.log import (
    ALLOCATED_BYTES,
    ALLOCATED_OBJECTS,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.collectors.mark import own_memory
from heapwright.collectors.mutator import SLOTS, handle
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import mmap, touch

SPACES = (
    "young",  # addresses: of young, and where it ends
    "young_end",
    "eden",  # of a space, of its first free byte, and where it ends
    "eden_top",  # without buffers it is brought up to `bump` only by `settle_eden`
    "eden_end",
    "survivors",
    "survivors_top",
    "spare",
    "spare_top",
    "survivor_bytes",  # of each
    "old",
    "old_top",
    "old_end",
    "objects",  # where the program's objects begin in old
    "bump",
    "bump_end",
    "tlab_bytes",  # desired; 0 no buffers
    "tlab_reserve",
    "waste_limit",
    "threshold",  # age at which the next collection promotes
    "promotion_failed",
    "fulls",  # full collections so far, those of the JVM's start among them
)
PATHS = ("new", "write", "full", "young", "failed", "slow", "old", "buffer")  # the first ones
NEW, WRITE, FULL_PATH, YOUNG_PATH, FAILED_PATH, SLOW, OLD, BUFFER = range(len(PATHS))
LEAST_TLAB = 2048


def aged(heap):
    """Young and old at each collection; bytes of old are with what the JVM keeps there."""
    told = rows(heap.history)
    eden, first, second, old = (told[:, COLUMNS.index(each)] for each in COLUMNS[2:6])
    capacity = {
        "eden": int(heap.eden_end - heap.eden),
        "survivors": int(heap.survivor_bytes),
        "old": int(heap.old_end - heap.old),
    }
    return report(told, np.stack([eden, first + second, old], axis=1), capacity, heap.shown_ages)


def bounds(name, config, sizes, mutator):
    """The words of SPACES before the heap is mapped: addresses are sizes. HeapwrightError where
    the options leave no room."""
    if config.TLABSize < LEAST_TLAB and config.UseTLAB:
        raise HeapwrightError(f"{name}.TLABSize is at least {LEAST_TLAB} bytes.")
    slots = int(mutator.counts[SLOTS])
    table = table_bytes(slots, compressed=bool(getattr(config, "UseCompressedOops", 1)))
    own = max(config.own_bytes, config.table_offset_bytes + table)
    if own > sizes.old:
        raise HeapwrightError(
            f"{name}.Xmx leaves {sizes.old:,} bytes for the old generation, and the program's "
            f"table of {slots:,} objects, with what the JVM keeps, takes {own:,}."
        )
    return {
        "eden_end": sizes.eden,
        "survivor_bytes": sizes.survivor,
        "old_end": sizes.old,
        "objects": own,
        "tlab_bytes": config.TLABSize & ~7 if config.UseTLAB else 0,
        "tlab_reserve": config.tlab_reserve_bytes,
        "threshold": config.MaxTenuringThreshold,
        "fulls": config.own_fulls,
    }


@kernel
def map_heap(heap, old_first):
    """Map the heap, old below young or young below old; whether the system allows it."""
    base = mmap(heap.machine, 0, heap.java.reserved_bytes)
    if not base:
        return False
    young_bytes_ = heap.eden_end + 2 * heap.survivor_bytes
    heap.old = base if old_first else base + young_bytes_
    heap.old_end += heap.old
    heap.objects += heap.old
    heap.old_top = heap.objects
    heap.young = heap.eden = heap.eden_top = heap.old_end if old_first else base
    heap.young_end = heap.young + young_bytes_
    heap.eden_end += heap.eden
    heap.survivors = heap.survivors_top = heap.eden_end
    heap.spare = heap.spare_top = heap.survivors + heap.survivor_bytes
    heap.java.base = base
    heap.java.table += heap.old
    heap.java.finalizers += heap.old
    touch(heap.machine, heap.java.table - HEADER_BYTES, heap.java.slots << heap.java.shift)
    reopen(heap)
    return True


@kernel(inline=True)
def is_young(heap, address):
    """Whether the object lies in young; not of 0."""
    return heap.young < address <= heap.young_end


@kernel
def settle_eden(heap):
    """Where there are no buffers, `bump` is eden's top."""
    if not heap.tlab_bytes and heap.bump_end:
        heap.eden_top = heap.bump


@kernel
def retire(heap):
    """Before a collection, and before eden is handed out piece by piece: it can be walked."""
    if heap.tlab_bytes:
        tlab.retire(heap)
    settle_eden(heap)


@kernel
def reopen(heap):
    """After it: where objects are born again."""
    if not heap.tlab_bytes:
        heap.bump, heap.bump_end = heap.eden_top, heap.eden_end


@kernel
def young_bytes(heap):
    """Bytes of young's objects, dead or alive."""
    return heap.eden_top - heap.eden + heap.survivors_top - heap.survivors


@kernel
def occupied(heap):
    """Bytes of all objects, dead or alive, without the JVM's own and the table."""
    return young_bytes(heap) + heap.spare_top - heap.spare + heap.old_top - heap.objects


@kernel
def found(heap):
    """Note what a collection finds."""
    survivors = heap.survivors_top - heap.survivors + heap.spare_top - heap.spare
    expect(heap.history, heap.eden_top - heap.eden, survivors, heap.old_top - heap.old)


@kernel
def begin(heap, kind):
    """The program stands still for a collection of `kind`."""
    found(heap)
    begin_pause(heap.log)
    begin_cycle(heap.log, kind, occupied(heap), 0)


@kernel
def left(heap, kind):
    """Note what it left."""
    spaces = (
        heap.eden_top - heap.eden,
        heap.survivors_top - heap.survivors,
        heap.spare_top - heap.spare,
        heap.old_top - heap.old,
        heap.threshold,
    )
    remember(heap.history, heap.log, kind, spaces, heap.shown_ages)


@kernel
def end(heap, kind):
    """It goes on, and what is left is noted."""
    left(heap, kind)
    end_pause(heap.log)
    end_cycle(heap.log, occupied(heap))


@kernel
def swap_survivors(heap):
    """What was the spare space holds the survivors now."""
    survivors, top = heap.survivors, heap.survivors_top
    heap.survivors, heap.survivors_top = heap.spare, heap.spare_top
    heap.spare, heap.spare_top = survivors, top


@kernel(inline=True)
def born(heap, slot, block, need, fields):
    """The program holds the new object of the block in `slot`; its address."""
    heap.log.totals[ALLOCATED_OBJECTS] += 1
    heap.log.totals[ALLOCATED_BYTES] += need
    address = initialise(heap.java, heap.machine, block, need, fields)
    heap.mutator.handles[unsigned(slot)] = address
    entered(heap.java, slot)
    return address


@kernel
def in_buffer(heap, need):
    """A block in a new buffer; 0 where the old one is kept or eden has no room for one."""
    if heap.bump_end and tlab.retained(heap):
        return 0
    bytes_ = tlab.new_bytes(heap, need)
    tlab.retire(heap)
    if not bytes_:
        return 0
    heap.paths[BUFFER] += 1
    tlab.open_buffer(heap, bytes_)
    block = heap.bump
    heap.bump += need
    return block


@kernel
def in_eden(heap, need):
    """A block at eden's top, if it fits."""
    block = heap.eden_top
    if block + need > heap.eden_end:
        return 0
    heap.eden_top = block + need
    return block


@kernel
def in_survivors(heap, need):
    """A block at the survivors' top, if it fits."""
    block = heap.survivors_top
    if block + need > heap.survivors + heap.survivor_bytes:
        return 0
    heap.survivors_top = block + need
    return block


@kernel
def in_old(heap, need):
    """A block at old's top, if it fits."""
    block = heap.old_top
    if block + need > heap.old_end:
        return 0
    heap.paths[OLD] += 1
    heap.old_top = block + need
    settle(heap.java, block, need)
    return block


@kernel(inline=True)
def write(heap, slot, field, target):
    """The reference, and the barrier: its card is dirty."""
    heap.paths[WRITE] += 1
    address, referred = handle(heap.mutator, slot), handle(heap.mutator, target)
    store_reference(heap.java, heap.machine, address, field, referred)


@kernel
def cached(heap, blocks):
    """What is left of the buffer."""
    if not heap.tlab_bytes or not heap.bump_end:
        return 0
    return write_row(blocks, 0, heap.bump, heap.bump_end + heap.tlab_reserve - heap.bump)


@kernel
def metadata(heap, blocks):
    """The table, with what the JVM keeps, and the stack of grey objects."""
    rows = own_memory(heap.stack, blocks)
    if heap.java.base:
        rows = write_row(blocks, rows, heap.old, heap.objects - heap.old)
    return rows


@kernel
def vacant_young(heap, blocks):
    """What lies above the top of each space of young."""
    if not heap.java.base:
        return 0
    settle_eden(heap)
    rows = write_row(blocks, 0, heap.eden_top, heap.eden_end - heap.eden_top)
    end = heap.survivors + heap.survivor_bytes
    rows = write_row(blocks, rows, heap.survivors_top, end - heap.survivors_top)
    end = heap.spare + heap.survivor_bytes
    return write_row(blocks, rows, heap.spare_top, end - heap.spare_top)


@kernel
def vacant(heap, blocks):
    """What lies above the top of each space."""
    rows = vacant_young(heap, blocks)
    return write_row(blocks, rows, heap.old_top, heap.old_end - heap.old_top) if rows else 0
