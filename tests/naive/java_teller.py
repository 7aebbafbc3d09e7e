"""The naive oracle of a Java graph's conversion: deaths that no row tells, by plain loops."""

from heapwright.trace import schema
from heapwright.trace.merlin import OP_BITS
from heapwright.trace.recorder.graph_books import FOUND, FREE, LOOK, LOST, NEW, PARTS, SEEN
from naive.graph_teller import Known, Rows, Teller


class JavaRows(Rows):
    """As Rows, of objects whose kind is not known."""

    def new(self, size, fields, site):
        self.append((schema.NEW | fields << OP_BITS, size, site))
        self.objects += 1


class JavaKnown(Known):
    """And which look loses each for good, and who is never reached by any."""

    def __init__(self, rows):
        super().__init__(rows)
        self.windows, self.lost_at, mark = {}, {}, {}
        births = looks = looked_at = 0
        for head, first, _ in rows:
            op = head & 0xFF
            births += op == NEW
            if op == LOOK:
                self.windows[looks + 1] = births
            elif op == SEEN:
                looks, looked_at = looks + 1, births
            elif op == FOUND:
                self.lost_at[first] = 0
            elif op == LOST:
                self.lost_at[first] = looks + 1
                if first >= looked_at:
                    mark[first] = LOST
            elif op == FREE:
                mark[first] = FREE
        total = sum(head & 0xFF in (LOOK, SEEN) for head, _, _ in rows) + 2
        self.windows = [self.windows.get(look, 0) for look in range(total)]
        self.brief = {n for n, of in mark.items() if of == LOST and not self.found[n]}
        self.stays = {n for n in self.stays if mark.get(n) == FREE}


class JavaTeller(Teller):
    """As Teller, with the layout of a JVM: a header, and references that are narrower."""

    def __init__(self, mutator, known, sites, layout):
        super().__init__(mutator, known, sites)
        self.header, self.wider, self.briefly = layout
        self.slots, self.spare, self.used = {}, [], 0  # slot of each live object
        self.since = self.looks = self.part = 0

    def tell(self, head, first, second):
        if head & 0xFF == NEW and not self.looking and self._due():
            self.part += 1
            for number in sorted(self.fields, key=self.slots.__getitem__):
                last = self.known.lost_at.get(number, 0) == self.looks + 1
                part = self._part_of(number)
                if last and part == self.part - 1 and number not in self.known.brief:
                    self.dying += [number] if number not in self.dying else []
        super().tell(head, first, second)

    def _part_of(self, number):
        windows = self.known.windows
        look = max([n for n in range(1, self.looks + 1) if windows[n] <= number], default=0)
        span = max(1, windows[look + 1] - windows[look])
        return min(PARTS - 1, (number - windows[look]) * PARTS // span)

    def _due(self):
        windows, look = self.known.windows, self.looks
        if not look or look + 1 >= len(windows) or self.part == PARTS - 1:
            return False
        span = windows[look + 1] - windows[look]
        return self.m.objects >= windows[look] + span * (self.part + 1) // PARTS

    def _bear(self, size):
        if self.since == self.briefly:
            self._close()
        if not self.bearing:
            self.m.push()
            self.bearing, self.since = True, 0
        self.since += 1
        number = self.m.objects
        fields = self.known.fields[number]
        size += self.wider * fields - self.header
        self.m.new(size, fields, self.sites[number])
        self.slots[number] = self.spare.pop() if self.spare else self.used
        self.used = max(self.used, self.slots[number] + 1)
        if number not in self.known.brief:
            self.m.root(number)
            self.rooted.add(number)
        self.fields[number] = {}
        self.seen_as_root.add(number)

    def _seen(self):
        self.part, self.looks = 0, self.looks + 1
        super()._seen()

    def _forget(self, block):
        super()._forget(block)
        self.spare.append(self.slots.pop(block))
