"""nginx's pool as lists: blocks in order, the large list newest first."""

from naive.good_fit import NaiveGoodFit

HEADER, BLOCK_HEADER, RECORD = 80, 32, 16


class NaivePool:
    """`beneath` is malloc. A block: [start, last, end, failed]; a record: [address, block or 0]."""

    def __init__(self, pool_bytes=16384, growth_bytes=1 << 17):
        self.beneath = NaiveGoodFit(32, growth_bytes)
        self.pool_bytes, self.small_most = pool_bytes, min(pool_bytes - HEADER, 4095)
        self.blocks, self.current, self.large = [], 0, []

    def new_block(self, header):
        start = self.beneath.alloc(self.pool_bytes)
        self.blocks.append([start, start + header, start + self.pool_bytes, 0])

    @staticmethod
    def bump(block, size):
        address = -(-block[1] // 16) * 16
        if address + size > block[2]:
            return None
        block[1] = address + size
        return address

    def small(self, size):
        if not self.blocks:
            self.new_block(HEADER)
        for block in self.blocks[self.current :]:
            address = self.bump(block, size)
            if address is not None:
                return address
        self.new_block(BLOCK_HEADER)
        for number in range(self.current, len(self.blocks) - 2):
            if self.blocks[number][3] > 4:
                self.current = number + 1
            self.blocks[number][3] += 1
        return self.bump(self.blocks[-1], size)

    def alloc(self, size, align=16):
        size = max(size, 1)
        if size <= self.small_most and align == 16:
            return self.small(size)
        address = self.beneath.alloc(size, align)
        if not address:
            return 0
        if align == 16:
            for record in self.large[:5]:
                if not record[1]:
                    record[1] = address
                    return address
        self.large.insert(0, [self.small(RECORD), address])
        return address

    def free(self, address):
        """Whether the block was a large one."""
        for record in self.large:
            if record[1] == address:
                record[1] = 0
                self.beneath.free(address)
                return True
        return False

    def reset(self):
        for _, address in self.large:
            if address:
                self.beneath.free(address)
        self.large, self.current = [], 0
        for block in self.blocks:
            block[1], block[3] = block[0] + HEADER, 0

    def destroy(self):
        self.reset()
        for block in self.blocks:
            self.beneath.free(block[0])
        self.blocks = []
