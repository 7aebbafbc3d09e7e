"""A cache of bitmaps, least recently used out first, before a second tier on disk.

    memory tier  map ─► buckets ─► entry ─► bitmap ─► pixels      at most `memory_bytes` of pixels
                  ╰──► entry ◄═► entry ◄═► entry                   in order of use
    disk tier    the same map, its entries refer to a file's name  at most `files`

An image is asked for: popular ones more often, by a log-uniform draw over `images`. If it is in
memory, its entry moves to the end of the list. Else it is decoded, through a buffer that dies at
once, from a file or, chunk by chunk, from what is downloaded; the file is entered in the disk tier.
Either tier drops its eldest entries until the rest fits. So large objects live as long as the
cache's discipline says, and never die young nor all at once. With `entry_removed` the cache's
callback recycles a bitmap that is dropped: it lets its pixels go at once, and not when a collector
finds it dead.

What an image costs to wait for is counted: nothing from memory, `disk_us` from a file,
`download_us` else. The trace's notes say how often each was so.

Source     LinkedHashMap in order of access, as in Android's LruCache (sizeOf, entryRemoved);
           DiskLruCache; Bitmap.recycle
Omits      bytes on disk; a pool of bitmaps whose pixels are used again; threads
"""

from typing import NamedTuple

from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice

SUMMARY = "a cache of bitmaps in memory before a tier on disk: large objects, least recently used"
SITES = ("map", "entry", "bitmap", "pixels", "file", "buffer", "chunk")
TABLE, OLDEST, NEWEST = range(3)  # fields of a map
CHAIN, BEFORE, AFTER, VALUE = range(4)  # fields of an entry
PIXELS = 0  # field of a bitmap
MAP_BYTES, ENTRY_BYTES, BITMAP_BYTES = 48, 48, 56
COMPRESSION = 8  # bytes of pixels to a byte of a file
CHUNK_BYTES = 8 << 10  # of a download
WORD = 8  # bytes of a reference


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    images: int = 10_000
    files: int = 2_000
    memory_bytes: int = 64 << 20
    min_bytes: int = 4 << 10  # of pixels
    max_bytes: int = 4 << 20
    entry_removed: int = 0  # 0: a dropped bitmap is left to the collector, 1: recycled
    disk_us: int = 8_000  # to wait for a file
    download_us: int = 150_000  # for what is in neither tier


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "images": (1, 1 << 26),
    "files": (1, 1 << 26),
    "memory_bytes": (1, 1 << 40),
    "min_bytes": (1, 1 << 32),
    "max_bytes": (1, 1 << 32),
    "entry_removed": (0, 1),
    "disk_us": (0, 10**9),
    "download_us": (0, 10**9),
}


class Tally(NamedTuple):
    """Images that were asked for, by where they came from, and those that memory dropped."""

    from_memory: int
    from_disk: int
    downloaded: int
    dropped: int

    @property
    def asked(self) -> int:
        """All of them."""
        return self.from_memory + self.from_disk + self.downloaded

    def waited_us(self, parameters: Parameters) -> int:
        """For files and downloads, one after another."""
        return self.from_disk * parameters.disk_us + self.downloaded * parameters.download_us


def run(m: Mutator, parameters: Parameters) -> list[str]:
    """The program; what is to be said of its trace."""
    tally = play(m, parameters)
    how = "recycled" if parameters.entry_removed else "left to the collector"
    return [
        f"Of {tally.asked:,} images {tally.from_memory:,} were in memory, {tally.from_disk:,} in "
        f"the tier on disk and {tally.downloaded:,} in neither, which is "
        f"{tally.waited_us(parameters) / 1e6:,.1f} s to wait; {tally.dropped:,} were dropped from "
        f"memory and {how}."
    ]


def play(m: Mutator, parameters: Parameters) -> Tally:
    """The program, and what its images came from."""
    dice = Dice(parameters.seed)
    memory, disk = Map(m, 1 << 10), Map(m, 1 << 12)
    lengths: dict[int, int] = {}  # bytes of the pixels of each image
    used = hits = found = fetched = dropped = 0
    while m.objects < parameters.objects:
        image = dice.size(1, parameters.images)
        if memory.find(image):
            hits += 1
            continue
        if image not in lengths:
            lengths[image] = dice.size(parameters.min_bytes, parameters.max_bytes)
        with m.frame():
            if disk.find(image):
                found += 1
            else:
                fetched += 1
                _download(m, lengths[image])
                disk.put(image, m.new(dice.size(40, 120), 0, 4))
            memory.put(image, _decode(m, lengths[image]))
        used += lengths[image]
        while used > parameters.memory_bytes and len(memory.entries) > 1:
            used -= lengths[memory.drop_oldest(recycle=bool(parameters.entry_removed))]
            dropped += 1
        while len(disk.entries) > parameters.files:
            disk.drop_oldest()
    return Tally(hits, found, fetched, dropped)


def _download(m: Mutator, length: int) -> None:
    """What is read before it is a file: chunks in a list."""
    m.push()
    last = -1
    for _ in range(1 + length // COMPRESSION // CHUNK_BYTES):
        chunk = m.new(WORD + CHUNK_BYTES, 1, 6)
        if last >= 0:
            m.write(chunk, 0, last)
        last = chunk
    m.pop()


def _decode(m: Mutator, length: int) -> int:
    """A bitmap from a file, through a buffer."""
    m.push()
    m.new(max(1, length // COMPRESSION), 0, 5)
    bitmap, pixels = m.new(BITMAP_BYTES, 1, 2), m.new(length, 0, 3)
    m.write(bitmap, PIXELS, pixels)
    return m.pop(bitmap)


class Entry:
    """What the program knows of an entry; `obj` is the object."""

    def __init__(self, key: int, obj: int, value: int) -> None:
        self.key, self.obj, self.value = key, obj, value
        self.before: Entry | None = None
        self.after: Entry | None = None


class Map:
    """A hash table with chains, whose entries are also a list in order of use."""

    def __init__(self, m: Mutator, buckets: int) -> None:
        self.m = m
        self.map = m.root(m.new(MAP_BYTES, 3, 0))
        self.table = m.new(WORD * buckets, buckets, 0)
        m.write(self.map, TABLE, self.table)
        self.entries: dict[int, Entry] = {}
        self.chains: list[list[Entry]] = [[] for _ in range(buckets)]
        self.oldest: Entry | None = None
        self.newest: Entry | None = None

    def find(self, key: int) -> bool:
        """Whether `key` is there; if so it is the newest now."""
        entry = self.entries.get(key)
        if entry is None:
            return False
        with self.m.frame():
            self.m.hold(entry.obj)
            self._unlink(entry)
            self._link(entry)
        return True

    def put(self, key: int, value: int) -> None:
        """Enter a key that is not there."""
        entry = self.entries[key] = Entry(key, self.m.new(ENTRY_BYTES, 4, 1), value)
        bucket = key % len(self.chains)
        chain = self.chains[bucket]
        self.m.write(entry.obj, VALUE, value)
        self.m.write(entry.obj, CHAIN, _object(chain[0] if chain else None))
        self.m.write(self.table, bucket, entry.obj)
        chain.insert(0, entry)
        self._link(entry)

    def drop_oldest(self, *, recycle: bool = False) -> int:
        """Take out the entry used longest ago; its key. Its bitmap may let go its pixels."""
        entry = self.oldest
        bucket = entry.key % len(self.chains)
        chain = self.chains[bucket]
        at = chain.index(entry)
        following = _object(chain[at + 1] if at + 1 < len(chain) else None)
        with self.m.frame():
            self.m.hold(entry.obj)
            if at:
                self.m.write(chain[at - 1].obj, CHAIN, following)
            else:
                self.m.write(self.table, bucket, following)
            self._unlink(entry)
            if recycle:
                self.m.write(self.m.hold(entry.value), PIXELS)
        del chain[at], self.entries[entry.key]
        return entry.key

    def _link(self, entry: Entry) -> None:
        """Append to the list."""
        entry.before, self.newest = self.newest, entry
        self.m.write(self.map, NEWEST, entry.obj)
        if entry.before:
            entry.before.after = entry
            self.m.write(entry.obj, BEFORE, entry.before.obj)
            self.m.write(entry.before.obj, AFTER, entry.obj)
        else:
            self.oldest = entry
            self.m.write(self.map, OLDEST, entry.obj)

    def _unlink(self, entry: Entry) -> None:
        """Take out of the list, and clear its links."""
        before, after = entry.before, entry.after
        entry.before = entry.after = None
        if before:
            before.after = after
            self.m.write(before.obj, AFTER, _object(after))
        else:
            self.oldest = after
            self.m.write(self.map, OLDEST, _object(after))
        if after:
            after.before = before
            self.m.write(after.obj, BEFORE, _object(before))
        else:
            self.newest = before
            self.m.write(self.map, NEWEST, _object(before))
        self.m.write(entry.obj, BEFORE)
        self.m.write(entry.obj, AFTER)


def _object(entry: Entry | None) -> int:
    return entry.obj if entry else -1
