"""Segregated fit as dicts of blocks, a list per bin and a list per class."""

from collections import defaultdict

HEAP_START = 1 << 24
PAGE = 4096
MIN_BLOCK = 32
QUICK_BYTES = 32768
PROBES = 16

CLASSES = [*range(16, 1025, 16)]
while CLASSES[-1] < QUICK_BYTES:
    octave = 1 << (CLASSES[-1].bit_length() - 1)
    CLASSES.append(CLASSES[-1] + octave // 8)


def block_bytes(size):
    return max(MIN_BLOCK, (size + 8 + 15) // 16 * 16)


def rounded(size):
    need = block_bytes(size)
    return next(c for c in CLASSES if c >= need) if need <= QUICK_BYTES else need


def bin_of(size):
    """(octave, eighth) of a size; sizes below 256 are bins of their own."""
    if size < 256:
        return (0, size)
    octave = size.bit_length()
    return (octave, (size - (1 << (octave - 1))) * 8 >> (octave - 1))


class NaiveSegregatedFit:
    """`used` and `free_blocks`: head address -> bytes; blocks of quick lists are in `used`."""

    def __init__(self, quick_blocks=64, refill_bytes=1024, growth_bytes=1 << 17, trim_bytes=0):
        self.quick_blocks, self.refill_bytes = quick_blocks, refill_bytes
        self.growth, self.trim_bytes = growth_bytes, trim_bytes
        self.used, self.free_blocks = {}, {}
        self.bins = defaultdict(list)  # newest last
        self.quick = {size: [] for size in CLASSES}  # newest last
        self.end = HEAP_START

    def insert(self, block, size):
        self.free_blocks[block] = size
        self.bins[bin_of(size)].append(block)

    def unlink(self, block):
        size = self.free_blocks.pop(block)
        self.bins[bin_of(size)].remove(block)
        return size

    def find(self, need):
        for block in self.bins[bin_of(need)][::-1][:PROBES]:
            if self.free_blocks[block] >= need:
                return block
        larger = [
            number for number, blocks in self.bins.items() if blocks and number > bin_of(need)
        ]
        return self.bins[min(larger)][-1] if larger else None

    def block_of(self, need):
        block = self.find(need)
        if block is None and any(self.quick.values()):
            for size in CLASSES:
                self.flush(size)
            block = self.find(need)
        if block is None:
            last = next((b for b, s in self.free_blocks.items() if b + s == self.end - 8), None)
            have = self.free_blocks.get(last, 0)
            if have >= need:
                return last
            more = -(-max(self.growth, need - have + 16) // PAGE) * PAGE
            if self.end + more > 1 << 35:
                return None
            added = HEAP_START + 8 if self.end == HEAP_START else self.end - 8
            self.end += more
            block = self.merge(added, self.end - 8 - added)
        return block

    def merge(self, block, size):
        if block + size in self.free_blocks:
            size += self.unlink(block + size)
        below = next((b for b, s in self.free_blocks.items() if b + s == block), None)
        if below is not None:
            size += self.unlink(below)
            block = below
        self.insert(block, size)
        return block

    def release(self, block, size):
        block = self.merge(block, size)
        size = self.free_blocks[block]
        kept = -(-(block + MIN_BLOCK + 8) // PAGE) * PAGE
        at_end = block + size == self.end - 8
        if self.trim_bytes and at_end and size >= self.trim_bytes and kept < self.end:
            self.unlink(block)
            self.end = kept
            self.insert(block, kept - 8 - block)

    def flush(self, size):
        for block in self.quick[size][::-1]:
            self.release(block, self.used.pop(block))
        self.quick[size] = []

    def use(self, block, need, have):
        if have - need < MIN_BLOCK:
            self.used[block] = have
        else:
            self.used[block] = need
            self.insert(block + need, have - need)

    def alloc(self, size, align=16):
        need = rounded(size)
        if align > 16 or block_bytes(size) > QUICK_BYTES:
            return self.alloc_from_bins(need, align)
        if self.quick[need]:
            return self.quick[need].pop() + 8
        block = self.block_of(need)
        if block is None:
            return 0
        have = self.unlink(block)
        wanted = min(self.refill_bytes // need, self.quick_blocks, have // need)
        count = max(1, wanted)
        self.use(block, count * need, have)
        if count > 1:
            last = self.used[block] - (count - 1) * need
            self.used[block] = need
            for number in range(count - 1, 0, -1):
                part = block + number * need
                if number == count - 1 and last != need:
                    self.release(part, last)
                else:
                    self.used[part] = need
                    self.quick[need].append(part)
        return block + 8

    def alloc_from_bins(self, need, align):
        block = self.block_of(need if align == 16 else need + align + 16)
        if block is None:
            return 0
        have = self.unlink(block)
        user = -(-(block + 8) // align) * align
        while 0 < user - 8 - block < MIN_BLOCK:
            user += align
        lead = user - 8 - block
        self.use(user - 8, need, have - lead)
        if lead:
            self.insert(block, lead)
        return user

    def free(self, address):
        block = address - 8
        size = self.used[block]
        if size in self.quick and self.quick_blocks:
            if len(self.quick[size]) == self.quick_blocks:
                self.flush(size)
            self.quick[size].append(block)
            return
        del self.used[block]
        self.release(block, size)

    def realloc(self, address, size):
        block, need = address - 8, rounded(size)
        have = self.used[block]
        if need <= have:
            if have - need >= MIN_BLOCK:
                self.used[block] = need
                self.release(block + need, have - need)
            return address
        if have + self.free_blocks.get(block + have, 0) >= need:
            room = have + self.unlink(block + have)
            self.use(block, need, room)
            return address
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved

    def usable(self, address):
        return self.used[address - 8] - 8
