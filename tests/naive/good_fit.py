"""Good fit as dicts of blocks and lists by size: a search only among lists that surely fit."""

HEAP_START = 1 << 24
PAGE = 4096
MIN_BLOCK = 32


def block_bytes(size):
    return max(MIN_BLOCK, (size + 8 + 15) // 16 * 16)


class NaiveGoodFit:
    """`used` and `free_blocks`: head address -> bytes; `steps` lists a doubling."""

    def __init__(self, steps, growth_bytes=1 << 17, trim_bytes=0):
        self.steps, self.growth, self.trim_bytes = steps, growth_bytes, trim_bytes
        self.used, self.free_blocks = {}, {}
        self.newest_last = []  # free blocks by the time they entered their list
        self.end = HEAP_START

    def lower_bound(self, size):
        """The smallest size that shares a list with `size`."""
        width = 16
        while size >= 2 * width * self.steps:
            width *= 2
        return size // width * width

    def insert(self, block, size):
        self.free_blocks[block] = size
        self.newest_last.append(block)

    def unlink(self, block):
        self.newest_last.remove(block)
        return self.free_blocks.pop(block)

    def find(self, need):
        fitting = [s for s in self.free_blocks.values() if self.lower_bound(s) >= need]
        if not fitting:
            return None
        chosen = self.lower_bound(min(fitting))
        return next(
            block
            for block in reversed(self.newest_last)
            if self.lower_bound(self.free_blocks[block]) == chosen
        )

    def merge(self, block, size):
        if block + size in self.free_blocks:
            size += self.unlink(block + size)
        below = next((b for b, s in self.free_blocks.items() if b + s == block), None)
        if below is not None:
            size += self.unlink(below)
            block = below
        self.insert(block, size)
        return block

    def grow(self, need):
        last = next((b for b, s in self.free_blocks.items() if b + s == self.end - 8), None)
        have = self.free_blocks.get(last, 0)
        if have >= need:
            return last
        more = -(-max(self.growth, need - have + 16) // PAGE) * PAGE
        if self.end + more > 1 << 35:
            return None
        added = HEAP_START + 8 if self.end == HEAP_START else self.end - 8
        self.end += more
        return self.merge(added, self.end - 8 - added)

    def release(self, block, size):
        block = self.merge(block, size)
        size = self.free_blocks[block]
        kept = -(-(block + MIN_BLOCK + 8) // PAGE) * PAGE
        at_end = block + size == self.end - 8
        if self.trim_bytes and at_end and size >= self.trim_bytes and kept < self.end:
            self.unlink(block)
            self.end = kept
            self.insert(block, kept - 8 - block)

    def use(self, block, need, have):
        rest = have - need
        self.used[block] = have if rest < MIN_BLOCK else need
        if rest >= MIN_BLOCK:
            self.insert(block + need, rest)

    def alloc(self, size, align=16):
        need = block_bytes(size)
        wanted = need if align == 16 else need + align + 16
        block = self.find(wanted)
        if block is None:
            block = self.grow(wanted)
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
        self.release(address - 8, self.used.pop(address - 8))

    def realloc(self, address, size):
        block, need = address - 8, block_bytes(size)
        have = self.used[block]
        if need <= have:
            if have - need >= MIN_BLOCK:
                self.used[block] = need
                self.release(block + need, have - need)
            return address
        if have + self.free_blocks.get(block + have, 0) >= need:
            self.use(block, need, have + self.unlink(block + have))
            return address
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved

    def usable(self, address):
        return self.used[address - 8] - 8
