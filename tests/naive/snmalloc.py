"""snmalloc's rules with lists and dicts: who owns what, which object comes next, who tells whom."""

from dataclasses import dataclass, field

KIB, MIB = 1 << 10, 1 << 20
CHUNK, SLAB = 16 * MIB, 64 * KIB
SMALL, MEDIUM = 56 * KIB, 14 * MIB
SIZES = [16, 32, 48, 64]
while SIZES[-1] < MEDIUM:
    SIZES += [SIZES[-1] * steps // 4 for steps in (5, 6, 7, 8)]
TOP = (1 << 36) - CHUNK  # the mapped zone's end
BUCKETS = 64


@dataclass
class Area:
    """A slab, or a chunk of medium objects."""

    chunk: int
    size: int
    owner: int
    free: list[int]  # the next one last
    live: int = 0


@dataclass
class Chunk:
    """Of slabs."""

    at: int
    owner: int
    free: list[int] = field(default_factory=lambda: [SLAB * n for n in range(255, 0, -1)])
    live: int = 0


@dataclass
class Allocator:
    """A thread's; lists have what comes next first."""

    number: int
    areas: dict[int, list[Area]] = field(default_factory=dict)  # with room, by object size
    chunks: list[Chunk] = field(default_factory=list)  # with room for a slab
    buckets: dict[int, list[int]] = field(default_factory=dict)
    waiting: int = 0
    queue: list[int] = field(default_factory=list)


class NaiveSnmalloc:
    """The same addresses, found without a table or a link."""

    def __init__(self, remote_cache=1 << 20, remote_batch=64):
        self.remote_cache, self.remote_batch = remote_cache, remote_batch
        self.end, self.spare = TOP, {}
        self.of_thread, self.idle, self.all = {}, [], []
        self.area_of, self.chunk_of, self.large = {}, {}, {}
        self.posts = 0

    def of(self, thread):
        """The thread's allocator."""
        if thread not in self.of_thread:
            if not self.idle:
                self.all.append(Allocator(len(self.all) + 1))
                self.idle.append(self.all[-1])
            self.of_thread[thread] = self.idle.pop()
        return self.of_thread[thread]

    def _take(self, order):
        if self.spare.setdefault(order, []):
            return self.spare[order].pop()
        self.end -= CHUNK << order
        return self.end

    def alloc(self, thread, size, align=16):
        """The block's address."""
        own = self.of(thread)
        if align > 16:
            size = -(-max(size, 1) // align) * align
        if size > MEDIUM:
            self.receive(own)
            order = next(n for n in range(20) if CHUNK << n >= size)
            address = self._take(order)
            self.large[address] = order
            return address
        size = next(each for each in SIZES if each >= size)
        areas = own.areas.setdefault(size, [])
        if not areas:
            self.receive(own)
        if not areas:
            areas.append(self._area(own, size))
        area = areas[0]
        address = area.free.pop()
        area.live += 1
        self.area_of[address] = area
        if not area.free:
            areas.pop(0)
        return address

    def _area(self, own, size):
        if size > SMALL:
            at = self._take(0)
            count = (CHUNK - SLAB) // size
            return Area(
                at, size, own.number, [at + CHUNK - n * size for n in range(count, 0, -1)][::-1]
            )
        if not own.chunks:
            own.chunks.append(Chunk(self._take(0), own.number))
        chunk = own.chunks[0]
        at = chunk.at + chunk.free.pop()
        chunk.live += 1
        self.chunk_of[at] = chunk
        if not chunk.free:
            own.chunks.pop(0)
        return Area(at, size, own.number, [at + size * n for n in range(SLAB // size)][::-1])

    def free(self, thread, address):
        """Free a block, or tell its owner."""
        own = self.of(thread)
        if address in self.large:
            order = self.large.pop(address)
            self.spare.setdefault(order, []).append(address)
        elif self.area_of[address].owner == own.number:
            self._free_own(own, address)
        else:
            self._keep(own, address)
            if own.waiting >= self.remote_cache:
                self.post(own)

    def _free_own(self, own, address):
        area = self.area_of.pop(address)
        areas = own.areas[area.size]
        area.free.append(address)
        area.live -= 1
        if area.live:
            if area not in areas:
                areas.insert(0, area)
            return
        if area in areas:
            areas.remove(area)
        if area.size > SMALL:
            self.spare[0].append(area.chunk)
            return
        chunk = self.chunk_of.pop(area.chunk)
        chunk.free.append(area.chunk - chunk.at)
        chunk.live -= 1
        if chunk not in own.chunks:
            own.chunks.insert(0, chunk)
        if not chunk.live:
            own.chunks.remove(chunk)
            self.spare[0].append(chunk.at)

    def _keep(self, own, address):
        area = self.area_of[address]
        own.buckets.setdefault(area.owner % BUCKETS, []).append(address)
        own.waiting += area.size

    def post(self, own):
        """Send every bucket to the owner of its first message."""
        own.waiting, unit = 0, 1
        while own.buckets:
            mine = own.number // unit % BUCKETS
            again = own.buckets.pop(mine, [])
            for bucket in sorted(own.buckets):
                messages = own.buckets[bucket]
                self.all[self.area_of[messages[0]].owner - 1].queue += messages
                self.posts += 1
            own.buckets, unit = {}, unit * BUCKETS
            for address in again:
                owner = self.area_of[address].owner
                own.buckets.setdefault(owner // unit % BUCKETS, []).append(address)

    def receive(self, own):
        """Take a batch of messages."""
        if not own.queue:
            return
        batch, own.queue = own.queue[: self.remote_batch], own.queue[self.remote_batch :]
        for address in batch:
            if self.area_of[address].owner == own.number:
                self._free_own(own, address)
            else:
                self._keep(own, address)
        if own.waiting >= self.remote_cache:
            self.post(own)

    def end_thread(self, thread):
        """Its allocator waits for another one."""
        if thread and thread in self.of_thread:
            own = self.of_thread.pop(thread)
            self.post(own)
            self.idle.append(own)
