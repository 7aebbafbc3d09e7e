"""First, next, best and worst fit as a dict of blocks and a list that is really walked."""

from bisect import insort

HEAP_START = 1 << 24
PAGE = 4096
MIN_BLOCK = 32
ADDRESS, LIFO, FIFO = range(3)


def block_bytes(size):
    return max(MIN_BLOCK, (size + 8 + 15) // 16 * 16)


class NaiveFreeList:
    """`used` and `free`: head address -> bytes. `list`: [key, address] of free blocks, in order."""

    def __init__(self, policy, order=0, coalescing=0, growth_bytes=1 << 17, trim_bytes=0):
        self.policy, self.order, self.deferred = policy, order, coalescing == 1
        self.growth, self.trim_bytes = growth_bytes, trim_bytes
        self.used, self.free_blocks = {}, {}
        self.list = []
        self.serial = 0
        self.rover = 0 if order == ADDRESS else float("-inf")
        self.unmerged = 0
        self.end = HEAP_START
        self.examined = 0

    # The list

    def enter(self, address, size):
        if self.order == ADDRESS:
            key = address
        else:
            self.serial += 1
            key = self.serial if self.order == FIFO else -self.serial
        self.free_blocks[address] = size
        insort(self.list, [key, address])

    def leave(self, address):
        del self.free_blocks[address]
        self.list = [entry for entry in self.list if entry[1] != address]

    def replace(self, old, new, size):
        del self.free_blocks[old]
        self.free_blocks[new] = size
        for entry in self.list:
            if entry[1] == old:
                entry[1] = new
                if self.order == ADDRESS:
                    entry[0] = new
        self.list.sort()

    # The walk

    def find(self, need):
        walk = self.list
        if self.policy == "next-fit":
            walk = [e for e in walk if e[0] >= self.rover] + [e for e in walk if e[0] < self.rover]
        chosen = None
        for entry in walk:
            self.examined += 1
            size = self.free_blocks[entry[1]]
            if self.policy == "worst-fit":
                if chosen is None or size > self.free_blocks[chosen[1]]:
                    chosen = entry
                continue
            if size < need:
                continue
            if self.policy in ("first-fit", "next-fit"):
                chosen = entry
                break
            if chosen is None or size < self.free_blocks[chosen[1]]:
                chosen = entry
            if size == need:
                break
        if chosen is None or self.free_blocks[chosen[1]] < need:
            return None
        if self.policy == "next-fit":
            self.rover = chosen[0]
        return chosen[1]

    # The verbs

    def alloc(self, size, align=16):
        need = block_bytes(size)
        if align > 16:
            need += align + 16
        block = self.find(need)
        if block is None and self.unmerged:
            self.sweep()
            block = self.find(need)
        if block is None and self.grow(need):
            block = self.find(need)
        return 0 if block is None else self.place(block, size, align)

    def place(self, block, size, align):
        have, need = self.free_blocks[block], block_bytes(size)
        user = -(-(block + 8) // align) * align
        while 0 < user - 8 - block < MIN_BLOCK:
            user += align
        lead = user - 8 - block
        tail = have - lead - need
        if tail < MIN_BLOCK:
            need, tail = have - lead, 0
        if lead:
            self.replace(block, block, lead)
            if tail:
                self.enter(user - 8 + need, tail)
        elif tail:
            self.replace(block, block + need, tail)
        else:
            self.leave(block)
        self.used[user - 8] = need
        return user

    def free(self, address):
        size = self.used.pop(address - 8)
        if self.deferred:
            self.enter(address - 8, size)
            self.unmerged += 1
        else:
            self.merge(address - 8, size)
            self.trim()

    def merge(self, block, size):
        below = next((b for b, s in self.free_blocks.items() if b + s == block), None)
        above = block + size if block + size in self.free_blocks else None
        start = block if below is None else below
        end = block + size + (0 if above is None else self.free_blocks[above])
        for neighbour in (below, above):
            if neighbour is not None:
                self.leave(neighbour)
        self.enter(start, end - start)
        self.settle_rover(start, end)

    def settle_rover(self, start, end):
        if self.order == ADDRESS and start < self.rover < end:
            self.rover = start

    def sweep(self):
        self.unmerged = 0
        for block in sorted(self.free_blocks):
            if block not in self.free_blocks:
                continue
            end = block + self.free_blocks[block]
            if end not in self.free_blocks:
                continue
            while end in self.free_blocks:
                size = self.free_blocks[end]
                self.leave(end)
                end += size
            self.leave(block)
            self.enter(block, end - block)
            self.settle_rover(block, end)
        self.trim()

    def last_free(self):
        return next((b for b, s in self.free_blocks.items() if b + s == self.end - 8), None)

    def trim(self):
        last = self.last_free()
        if not self.trim_bytes or last is None or self.free_blocks[last] < self.trim_bytes:
            return
        kept = -(-(last + MIN_BLOCK + 8) // PAGE) * PAGE
        if kept < self.end:
            self.end = kept
            self.replace(last, last, kept - 8 - last)

    def grow(self, need):
        last = self.last_free()
        have = 0 if last is None else self.free_blocks[last]
        more = -(-max(self.growth, need - have + 16) // PAGE) * PAGE
        if self.end + more > 1 << 35:
            return False
        block = HEAP_START + 8 if self.end == HEAP_START else self.end - 8
        self.end += more
        self.merge(block, self.end - 8 - block)
        return True

    def realloc(self, address, size):
        block, need = address - 8, block_bytes(size)
        have = self.used[block]
        above = block + have
        if need <= have:
            if have - need >= MIN_BLOCK:
                self.used[block] = need
                self.used[block + need] = have - need
                self.free(block + need + 8)
            return address
        room = have + self.free_blocks.get(above, 0)
        if room >= need:
            if room - need >= MIN_BLOCK:
                self.replace(above, block + need, room - need)
                self.used[block] = need
            else:
                self.leave(above)
                self.used[block] = room
            return address
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved

    def usable(self, address):
        return self.used[address - 8] - 8
