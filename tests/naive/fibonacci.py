"""Fibonacci buddies as a dict of used blocks; what is free follows from the splits of the root."""

HEAP_START = 1 << 24
UNIT = 32
UNITS = [1, 1]
while len(UNITS) < 45:
    UNITS.append(UNITS[-1] + UNITS[-2])


class NaiveFibonacci:
    """`used`: start in units -> order. The root is the whole heap, of order `root`."""

    def __init__(self):
        self.used, self.root = {}, None

    def empty(self, start, order):
        return not any(start <= one < start + UNITS[order] for one in self.used)

    def free_nodes(self, start, order):
        """(start, order) of the largest free parts, in address order."""
        if self.empty(start, order):
            yield start, order
        elif self.used.get(start) != order:
            yield from self.free_nodes(start, order - 1)
            yield from self.free_nodes(start + UNITS[order - 1], order - 2)

    @staticmethod
    def order_for(size):
        return next((k for k in range(1, 45) if UNITS[k] * UNIT >= size), None)

    def alloc(self, size, align=16):
        order = self.order_for(size + max(0, align - UNIT))
        if order is None:
            return 0
        if self.root is None:
            self.root = order
        while True:
            for start, have in self.free_nodes(0, self.root):
                if UNITS[have] >= UNITS[order]:
                    self.used[start] = min(order, have)
                    block = HEAP_START + start * UNIT
                    return -(-block // align) * align
            self.root += 1

    def block_of(self, address):
        return max(s for s in self.used if HEAP_START + s * UNIT <= address)

    def free(self, address):
        del self.used[self.block_of(address)]

    def usable(self, address):
        start = self.block_of(address)
        return HEAP_START + (start + UNITS[self.used[start]]) * UNIT - address

    def path(self, start, order):
        """The blocks that hold (start, order), from the root down."""
        at, have = 0, self.root
        while (at, have) != (start, order):
            yield at, have
            if start < at + UNITS[have - 1]:
                have -= 1
            else:
                at, have = at + UNITS[have - 1], have - 2

    def realloc(self, address, size):
        start = self.block_of(address)
        old, need = self.used[start], self.order_for(address - HEAP_START - start * UNIT + size)
        if need is not None and UNITS[old] >= UNITS[need]:
            self.used[start] = min(old, need) if old else 0
            return address
        larger = [] if need is None else list(self.path(start, old))[::-1]
        for at, order in larger:
            others = [one for one in self.used if at <= one < at + UNITS[order] and one != start]
            if at != start or others:
                break
            if order >= need:
                self.used[start] = order
                return address
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved
