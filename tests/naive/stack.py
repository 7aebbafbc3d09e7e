"""A stack as a list of blocks, the top last."""

TOP = (1 << 36) - (1 << 24)


class NaiveStack:
    """Blocks are [address, dead]."""

    def __init__(self, limit_bytes, thread=0):
        self.base = TOP - thread * limit_bytes
        self.limit = self.base - limit_bytes
        self.blocks = []

    def alloc(self, size, align=16):
        """None on overflow."""
        top = self.blocks[-1][0] if self.blocks else self.base
        address = (top - max(size, 1)) // align * align
        if address < self.limit:
            return None
        self.blocks.append([address, False])
        return address

    def free(self, address):
        next(block for block in self.blocks if block[0] == address)[1] = True
        while self.blocks and self.blocks[-1][1]:
            self.blocks.pop()
