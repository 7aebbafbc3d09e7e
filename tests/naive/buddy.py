"""The buddy system as a dict of used blocks: each goes to the lowest aligned place that is free."""

HEAP_START = 1 << 24
MIN_BYTES = 32


def place(used, size):
    """Lowest multiple of `size` in the heap that overlaps none of `used`, address -> bytes."""
    taken = sorted(used.items())
    address = HEAP_START
    for start, length in taken:
        if start + length <= address:
            continue
        if address + size <= start:
            break
        address = -(-(start + length) // size) * size
    return -(-address // size) * size


class NaiveBuddy:
    """`used`: address -> bytes."""

    def __init__(self):
        self.used = {}
        self.most = 0  # bytes from the heap's start to the end of the highest block ever

    @staticmethod
    def block_bytes(size, align=16):
        block = MIN_BYTES
        while block < max(size, align):
            block *= 2
        return block

    def alloc(self, size, align=16):
        block = self.block_bytes(size, align)
        address = place(self.used, block)
        if address + block > 1 << 35:
            return 0
        self.used[address] = block
        self.most = max(self.most, address + block - HEAP_START)
        return address

    def free(self, address):
        del self.used[address]

    def realloc(self, address, size, end):
        """`end`: the break, beyond which a block does not grow in place."""
        old, block = self.used[address], self.block_bytes(size)
        others = {start: length for start, length in self.used.items() if start != address}
        fits = (
            address % block == 0
            and address + block <= end
            and not any(
                start < address + block and address < start + length
                for start, length in others.items()
            )
        )
        if block <= old or fits:
            self.used[address] = block
            return address
        moved = self.alloc(size)
        if moved:
            self.free(address)
        return moved
