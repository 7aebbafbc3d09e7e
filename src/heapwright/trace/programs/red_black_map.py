"""A sorted map under churn: a red-black tree whose keys come and go.

    map ─► root ─► left, right ─► ...        each node: left, right, parent, value
                   ▲── parent ──┘

Until `entries` keys are in, most steps insert; then a step inserts a key that is not there, removes
one that is, or gives one a new value, at random. A node lives as long as its key, a value until it
is replaced. References to parents make a cycle of every pair of nodes, and every rotation writes
six references among old nodes.

Invariant  a red node has no red child; each way from the root down has equally many black nodes
Source     Guibas and Sedgewick, "A dichromatic framework for balanced trees", 1978; the cases are
           those of Cormen et al., "Introduction to Algorithms", chapter 13, its leaves null
Omits      iteration; threads
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice

SUMMARY = "a red-black tree under churn: parent references, rotations, values replaced"
SITES = ("map", "node", "value")
LEFT, RIGHT, UP, VALUE = range(4)  # fields of a node; the map's only field is its root
NODE_BYTES, MAP_BYTES = 48, 24
KEYS_PER_ENTRY = 4  # keys are drawn from so many times the entries that there shall be


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    entries: int = 20_000  # on average, once it has filled up
    replace_percent: int = 30  # of the steps give a key that is there a new value
    min_bytes: int = 16  # of a value
    max_bytes: int = 256


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "entries": (1, 1 << 26),
    "replace_percent": (0, 99),
    "min_bytes": (8, 1 << 30),
    "max_bytes": (8, 1 << 30),
}


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    dice, tree = Dice(parameters.seed), Tree(m)
    keys: list[int] = []  # those in the map, in no order
    entries = parameters.entries
    while m.objects < parameters.objects:
        with m.frame():
            if dice.below(100) < parameters.replace_percent and keys:
                tree.replace(keys[dice.below(len(keys))], _value(m, dice, parameters))
            elif keys and dice.below(2 * entries) < len(keys):
                place = dice.below(len(keys))
                tree.remove(keys[place])
                keys[place] = keys[-1]
                keys.pop()
            else:
                key = dice.below(KEYS_PER_ENTRY * entries)
                if key not in tree.nodes:
                    tree.insert(key, _value(m, dice, parameters))
                    keys.append(key)


def _value(m: Mutator, dice: Dice, parameters: Parameters) -> int:
    return m.new(dice.size(parameters.min_bytes, parameters.max_bytes), 0, 2)


class Node:
    """What the program knows of a node; `obj` is the object."""

    __slots__ = ("key", "kids", "obj", "red", "up", "value")

    def __init__(self, key: int, obj: int, value: int) -> None:
        self.key, self.obj, self.value, self.red = key, obj, value, True
        self.up: Node | None = None
        self.kids: list[Node | None] = [None, None]


class Tree:
    """The map. `nodes` finds a key's node where a program would search from the root."""

    def __init__(self, m: Mutator) -> None:
        self.m, self.map = m, m.root(m.new(MAP_BYTES, 1, 0))
        self.root: Node | None = None
        self.nodes: dict[int, Node] = {}

    def insert(self, key: int, value: int) -> None:
        """Put in a key that is not there."""
        node = Node(key, self.m.new(NODE_BYTES, 4, 1), value)
        self.nodes[key] = node
        self.m.write(node.obj, VALUE, value)
        above, side, at = None, 0, self.root
        while at:
            side = int(key > at.key)
            above, at = at, at.kids[side]
        if above:
            self._adopt(above, side, node)
        else:
            self._set_root(node)
        while node.up and node.up.red:
            parent, grand = node.up, node.up.up
            side = int(grand.kids[1] is parent)
            uncle = grand.kids[1 - side]
            if uncle and uncle.red:
                parent.red, uncle.red, grand.red = False, False, True
                node = grand
                continue
            if parent.kids[1 - side] is node:
                self._rotate(parent, side)
                node, parent = parent, node
            parent.red, grand.red = False, True
            self._rotate(grand, 1 - side)
        self.root.red = False

    def replace(self, key: int, value: int) -> None:
        """Give a key that is there another value."""
        node = self.nodes[key]
        node.value = value
        self.m.write(node.obj, VALUE, value)

    def remove(self, key: int) -> None:
        """Take out a key that is there."""
        node = self.nodes.pop(key)
        if node.kids[0] and node.kids[1]:  # what follows it moves here, and its node goes instead
            heir = node.kids[1]
            while heir.kids[0]:
                heir = heir.kids[0]
            self.m.write(node.obj, VALUE, heir.value)
            node.key, node.value = heir.key, heir.value
            self.nodes[node.key] = node
            node = heir
        child, parent = node.kids[0] or node.kids[1], node.up
        self._replace(node, child)
        if not node.red:
            self._blacken(child, parent)

    def _blacken(self, node: Node | None, parent: Node | None) -> None:
        """Ways through `node`, a child of `parent` and perhaps null, lack one black node."""
        while parent and not _red(node):
            side = int(parent.kids[1] is node)
            other = parent.kids[1 - side]
            if other.red:
                other.red, parent.red = False, True
                self._rotate(parent, side)
                other = parent.kids[1 - side]
            if not _red(other.kids[0]) and not _red(other.kids[1]):
                other.red = True
                node, parent = parent, parent.up
                continue
            if not _red(other.kids[1 - side]):
                other.kids[side].red, other.red = False, True
                self._rotate(other, 1 - side)
                other = parent.kids[1 - side]
            other.red, parent.red, other.kids[1 - side].red = parent.red, False, False
            self._rotate(parent, side)
            node, parent = self.root, None
        if node:
            node.red = False

    def _rotate(self, node: Node, side: int) -> None:
        """Turn towards `side`: the child on the other side takes the place of `node`."""
        child = node.kids[1 - side]
        self.m.hold(node.obj)
        self.m.hold(child.obj)
        self._replace(node, child)
        self._adopt(node, 1 - side, child.kids[side])
        self._adopt(child, side, node)

    def _replace(self, node: Node, child: Node | None) -> None:
        """Where `node` hangs, hang `child`."""
        if node.up:
            self._adopt(node.up, int(node.up.kids[1] is node), child)
        else:
            self._set_root(child)

    def _adopt(self, node: Node, side: int, child: Node | None) -> None:
        node.kids[side] = child
        self.m.write(node.obj, side, child.obj if child else -1)
        if child:
            child.up = node
            self.m.write(child.obj, UP, node.obj)

    def _set_root(self, node: Node | None) -> None:
        self.root = node
        self.m.write(self.map, 0, node.obj if node else -1)
        if node:
            node.up = None
            self.m.write(node.obj, UP)


def _red(node: Node | None) -> bool:
    return node is not None and node.red
