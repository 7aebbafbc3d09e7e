"""A pool of slots as a list of freed ones; the rest passes to a good fit."""

from naive.good_fit import NaiveGoodFit

TOP = (1 << 36) - (1 << 24)


class NaiveSlots:
    def __init__(self, slot_bytes=64, chunk_bytes=1 << 16, growth_bytes=1 << 17):
        self.slot_bytes, self.chunk_bytes = slot_bytes, chunk_bytes
        self.beneath = NaiveGoodFit(32, growth_bytes)
        self.freed, self.untouched, self.chunks = [], [], 0

    def alloc(self, size, align=16):
        if size > self.slot_bytes or align > 16:
            return self.beneath.alloc(size, align)
        if self.freed:
            return self.freed.pop()
        if not self.untouched:
            self.chunks += 1
            start = TOP - self.chunks * self.chunk_bytes
            count = self.chunk_bytes // self.slot_bytes
            self.untouched = [start + i * self.slot_bytes for i in range(count)]
        return self.untouched.pop(0)

    def free(self, address):
        if address >= 1 << 35:
            self.freed.append(address)
        else:
            self.beneath.free(address)

    def realloc(self, address, size):
        fits = size <= self.slot_bytes
        if address >= 1 << 35:
            if fits:
                return address
        elif not fits:
            return self.beneath.realloc(address, size)
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved
