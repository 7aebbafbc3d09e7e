"""What holds between two events of CPython's heap; the numbers are those of manager.py's header."""

from heapwright.collectors.mutator import SLOTS
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load
from heapwright.managers.runtime.cpython import blocks
from heapwright.managers.runtime.cpython.heads import (
    COLLECTING,
    NODES,
    TENTATIVE,
    count_of,
    fields_of,
    following,
    has,
    is_tracked,
    node,
    preceding,
    refs_of,
    set_refs,
    slot_of,
)
from heapwright.managers.runtime.cpython.weak import is_sound


@kernel
def check(heap):
    """Number of the broken invariant, 0 if none."""
    broken = blocks.check(heap.machine, heap.blocks)
    if broken:
        return broken
    heads = heap.heads
    for ring in range(NODES):
        address = following(heads, node(ring))
        if preceding(heads, address) != node(ring):
            return 3
        while address != node(ring):
            if preceding(heads, following(heads, address)) != address:
                return 3
            if has(heads, address, COLLECTING | TENTATIVE):
                return 5
            set_refs(heads, address, count_of(heads, address))
            address = following(heads, address)
    for ring in range(NODES):
        if not _has_its_counts(heap, ring):
            return 4
    if heap.collecting:
        return 5
    for slot in range(heap.mutator.counts[SLOTS]):
        address = heap.mutator.handles[unsigned(slot)]
        if address and slot_of(heads, address) != slot:
            return 6
    return 0 if is_sound(heap) else 7


@kernel
def _has_its_counts(heap, ring):
    """Whether nothing that the ring refers to, and that is tracked, has too low a count."""
    heads, address = heap.heads, following(heap.heads, node(ring))
    while address != node(ring):
        for field in range(fields_of(heads, address)):
            target = load(heap.machine, address + 8 * field)
            if target and is_tracked(heads, target):
                if not refs_of(heads, target):
                    return False
                set_refs(heads, target, refs_of(heads, target) - 1)
        address = following(heads, address)
    return True
