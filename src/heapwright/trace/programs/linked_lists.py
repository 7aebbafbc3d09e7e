"""Doubly linked lists that are caches: cycles everywhere, and whole lists that die at once.

    table ─► list ◄══► node ◄══► node ◄══► list     prev and next, closed to a ring by the list
              ▲────────┘ │ ▲
                         ▼ │ back_percent of the values refer to their node
                        value

At each step a list chosen at random gains a node at its front, loses one at its back or sometimes
in the middle, or, once in a while, is replaced by a new one. A list that is dropped is one large
cycle with its nodes; a node that is taken out has its own links cleared, and dies alone or in a
small cycle with its value. Counting references finds none of these cycles.

Omits      threads
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice

SUMMARY = "doubly linked lists used as caches: garbage in small cycles and large"
SITES = ("table", "list", "node", "value")
PREV, NEXT, LIST, VALUE = range(4)  # fields of a node; of a list the first two
NODE_BYTES, LIST_BYTES = 40, 32
PATIENCE = 8  # steps of a list between two replacements, on average, in multiples of `nodes`


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    lists: int = 200
    nodes: int = 50  # of a list, about
    back_percent: int = 50  # values that refer to their node
    min_bytes: int = 16  # of a value
    max_bytes: int = 512


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "lists": (1, 1 << 20),
    "nodes": (1, 1 << 16),
    "back_percent": (0, 100),
    "min_bytes": (8, 1 << 30),
    "max_bytes": (8, 1 << 30),
}


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    dice, lists = Dice(parameters.seed), parameters.lists
    table = m.root(m.new(8 * lists, lists, 0))
    rings = [_fresh(m, table, i) for i in range(lists)]
    while m.objects < parameters.objects:
        i = dice.below(lists)
        ring, choice = rings[i], dice.below(PATIENCE * parameters.nodes)
        with m.frame():
            if choice == 0:
                rings[i] = _fresh(m, table, i)
            elif choice % (2 * parameters.nodes) < len(ring) - 1:
                place = len(ring) - 1 if dice.below(4) else 1 + dice.below(len(ring) - 1)
                _unlink(m, ring, place)
            else:
                _link(m, ring, dice, parameters)


def _fresh(m: Mutator, table: int, i: int) -> list[int]:
    """An empty list in place `i` of the table; the list, then its nodes from the front."""
    m.push()
    head = m.new(LIST_BYTES, 2, 1)
    m.write(head, PREV, head)
    m.write(head, NEXT, head)
    m.write(table, i, head)
    m.pop()
    return [head]


def _link(m: Mutator, ring: list[int], dice: Dice, parameters: Parameters) -> None:
    """A new node at the front."""
    head, second = ring[0], ring[1 % len(ring)]
    node = m.new(NODE_BYTES, 4, 2)
    value = m.new(dice.size(parameters.min_bytes, parameters.max_bytes), 1, 3)
    m.write(node, PREV, head)
    m.write(node, NEXT, second)
    m.write(node, LIST, head)
    m.write(node, VALUE, value)
    if dice.below(100) < parameters.back_percent:
        m.write(value, 0, node)
    m.write(head, NEXT, node)
    m.write(second, PREV, node)
    ring.insert(1, node)


def _unlink(m: Mutator, ring: list[int], place: int) -> None:
    """Take a node out."""
    node, before, after = ring[place], ring[place - 1], ring[(place + 1) % len(ring)]
    m.hold(node)
    m.write(before, NEXT, after)
    m.write(after, PREV, before)
    m.write(node, PREV)
    m.write(node, NEXT)
    del ring[place]
