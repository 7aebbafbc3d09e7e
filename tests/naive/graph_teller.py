"""The naive oracle of the graph recorder's conversion: a dictionary of fields for each block."""

from collections import Counter

from heapwright.trace import schema
from heapwright.trace.merlin import KIND_BITS, NOBODY, OP_BITS
from heapwright.trace.recorder.graph_books import (
    BEGUN,
    COUNTED,
    FOUND,
    FREE,
    LOOK,
    LOST,
    NEW,
    OVER,
    ROOT,
    SEEN,
    TRACKED,
    TYPE,
    UNROOT,
    WRITE,
)

FIELD_BITS = 32


class Rows(list):
    """Stands for the mutator: what it is told, as the rows that it would keep."""

    objects = 0

    def new(self, size, fields, site):
        self.append(
            (schema.NEW | fields << OP_BITS, size, site + (1 << KIND_BITS))
        )  # all are atoms
        self.objects += 1

    def write(self, obj, field, target=NOBODY):
        self.append((schema.WRITE | field << OP_BITS, obj, target))

    def hold(self, obj):
        self.append((schema.HOLD, obj, NOBODY))

    def root(self, obj):
        self.append((schema.ROOT, obj, NOBODY))

    def unroot(self, obj):
        self.append((schema.UNROOT, obj, NOBODY))

    def push(self):
        self.append((schema.PUSH, NOBODY, NOBODY))

    def pop(self):
        self.append((schema.POP, NOBODY, NOBODY))


class Known:
    """What the whole log tells of each block beforehand."""

    def __init__(self, rows):
        births = sum(head & 0xFF == NEW for head, _, _ in rows)
        self.fields, self.types, self.found = [0] * births, [0] * births, Counter()
        born = 0
        lost, freed, self.runs = set(), set(), []
        begun = 0
        for head, first, second in rows:
            op = head & 0xFF
            if op == NEW:
                self.fields[born] = max(self.fields[born], head >> OP_BITS)
                born += 1
            if op == WRITE and second >= 0:
                self.fields[first] = max(self.fields[first], (head >> OP_BITS) + 1)
            elif op in (TYPE, FREE) and second > 0:
                self.types[first] = second
            elif op == FOUND:
                self.found[first] += 1
            if op in (LOST, FREE):
                (lost if op == LOST else freed).add(first)
            begun += op == BEGUN
            if op == OVER:
                self.runs.append((first, second))
        self.stays = lost if begun else lost & freed  # when a look loses it


class Teller:
    """Tells the mutator what the log says. A block's number is also the mutator's.

    Invariant  every block that is alive is reachable, and no other; `rooted` are the global roots
    """

    def __init__(self, mutator, known, sites):
        self.m, self.known, self.sites = mutator, known, sites
        self.again = Counter(known.found)  # how often a look will still find each
        self.fields = {}  # of each live block: target by field
        self.referrers = {}  # block << FIELD_BITS | field, perhaps outdated
        self.rooted = set()
        self.seen_as_root = set()  # by the last look, or born since
        self.held = {}  # rooted until the next look
        self.unseen = set()  # rooted until they are found again
        self.dying = []  # freed since the last other event
        self.leaving = []  # lost at this look
        self.looking = self.bearing = False
        self.lost = 0

    def tell(self, head, first, second):
        """One row."""
        op = head & 0xFF
        if op in (TYPE, OVER):
            return
        if op == FREE:
            if first in self.fields and first not in self.dying:
                self.dying.append(first)
            return
        if self.dying:
            self._bury(op == BEGUN)
        if op == BEGUN:
            size = schema.ran_size(first & 3, first >> 4, *self.known.runs.pop(0))
            self.m.append((schema.STEER, NOBODY, size))
        elif op == COUNTED:
            what = schema.THRESHOLD + first - 3 if first >= 3 else schema.COUNT + first
            size = what | second << schema.STEER_BITS
            self.m.append((schema.STEER, NOBODY, size))
        elif op == TRACKED:
            if first in self.fields:
                self.m.append((schema.TRACK | second << OP_BITS, first, NOBODY))
        elif op == NEW:
            self._bear(first)
        elif op == WRITE:
            if first in self.fields:
                self._write(first, head >> OP_BITS, second)
        elif op == LOOK:
            self._close()
            self.m.push()
            self.looking = True
        elif op == SEEN:
            self._seen()
        elif first in self.fields:
            self._reached(op, first)

    def end(self):
        """No more rows."""
        if self.dying:
            self._bury()
        self._close()

    def _bear(self, size):
        if not self.bearing:
            self.m.push()
            self.bearing = True
        number = self.m.objects
        self.m.new(size, self.known.fields[number], self.sites[number])
        self.m.root(number)
        self.fields[number] = {}
        self.rooted.add(number)
        self.seen_as_root.add(number)

    def _close(self):
        """Leave the frame in which blocks were born: a root holds each of them."""
        if self.bearing:
            self.m.pop()
            self.bearing = False

    def _write(self, block, field, target):
        fields = self.fields[block]
        old = fields.get(field, NOBODY)
        if target not in self.fields:
            target = NOBODY
        if target == old:
            return
        if self.looking and old != NOBODY:
            self.m.hold(old)
        elif old in self.fields:
            self._root(old)
            self.held.setdefault(old)
        self.m.write(block, field, target)
        if target == NOBODY:
            del fields[field]
        else:
            fields[field] = target
            self.referrers.setdefault(target, []).append(block << FIELD_BITS | field)

    def _root(self, block):
        if block not in self.rooted:
            self.m.root(block)
            self.rooted.add(block)

    def _reached(self, op, block):
        if op == ROOT:
            self.seen_as_root.add(block)
            self._root(block)
        elif op == UNROOT:
            self.seen_as_root.discard(block)
            self.held.setdefault(block)
        elif op == FOUND:
            self.unseen.discard(block)
            self.held.setdefault(block)
            self.again[block] -= 1
        elif block in self.known.stays or self.again[block]:
            self.unseen.add(block)
            self._root(block)
        else:
            self.leaving.append(block)

    def _seen(self):
        """End of a look: drop the roots that it did not confirm."""
        for block in self.held:
            if block in self.rooted and not (block in self.seen_as_root or block in self.unseen):
                self.m.unroot(block)
                self.rooted.discard(block)
        self.held.clear()
        self._close()
        self.m.pop()
        self.looking = False
        for block in self.leaving:
            if block in self.fields:
                self._forget(block)
                self.lost += 1
        self.leaving.clear()

    def _bury(self, dooms=False):
        """The blocks freed since the last other event die together."""
        self._close()
        dead = dict.fromkeys(self.dying)
        self.dying.clear()
        for block in dead:
            for _, target in sorted(self.fields[block].items()):
                if target not in dead and target in self.fields:
                    self._root(target)
                    self.held.setdefault(target)
                elif target in dead and not dooms:
                    self._root(block)
        for block in dead:
            for referrer in reversed(self.referrers.get(block, ())):  # the latest first
                source, field = referrer >> FIELD_BITS, referrer & (1 << FIELD_BITS) - 1
                stays = dooms and source in dead
                if not stays and self.fields.get(source, {}).get(field) == block:
                    self.m.write(source, field)
                    del self.fields[source][field]
        for block in dead:
            if block in self.rooted:
                self.m.unroot(block)
            self._forget(block)

    def _forget(self, block):
        del self.fields[block]
        self.referrers.pop(block, None)
        for kept in (self.rooted, self.seen_as_root, self.unseen):
            kept.discard(block)
