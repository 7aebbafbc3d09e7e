"""Programs whose memory has one planted cause, as small traces with call stacks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from heapwright.trace import schema
from heapwright.trace.schema import FREE, MALLOC, REALLOC, THREAD_EXIT
from heapwright.trace.stacks import Tree
from heapwright.trace.store import Trace, TraceWriter


class Program:
    """Tells what it allocates: `block = program.malloc(100, "main", "parse")`."""

    def __init__(self, seed: int = 1) -> None:
        self.draw = np.random.default_rng(seed)
        self.tree = Tree()
        self.rows: list[tuple[int, int, int, int, int]] = []  # op, slot, size, site, thread
        self._spare: list[int] = []
        self._slots = 0

    def malloc(self, size: int, *stack: str, thread: int = 0) -> int:
        slot = self._spare.pop() if self._spare else self._slots
        self._slots = max(self._slots, slot + 1)
        self.rows.append((MALLOC, slot, size, self.tree.node(stack), thread))
        return slot

    def realloc(self, slot: int, size: int, *stack: str, thread: int = 0) -> int:
        self.rows.append((REALLOC, slot, size, self.tree.node(stack), thread))
        return slot

    def free(self, slot: int, thread: int = 0) -> None:
        self._spare.append(slot)
        self.rows.append((FREE, slot, 0, -1, thread))

    def end_thread(self, thread: int) -> None:
        self.rows.append((THREAD_EXIT, -1, 0, -1, thread))

    def request(self, thread: int = 0) -> None:
        """What any of its requests does: a few blocks that live as long as it."""
        sizes = self.draw.integers(20, 2000, 4).tolist()
        held = [self.malloc(s, "main", "serve", "request", thread=thread) for s in sizes]
        for block in reversed(held):
            self.free(block, thread)

    def write(self, path: Path) -> Trace:
        op, slot, size, site, thread = (np.array(column) for column in zip(*self.rows, strict=True))
        with TraceWriter(path, program="planted", kind="synthetic") as out:
            out.write(schema.events(op=op, slot=slot, size=size, site=site, thread=thread))
            out.sites, out.stacks = self.tree.frames, self.tree.arrays()
        return Trace.open(path)


def leak(p: Program) -> None:
    """81 of 83 KiB in a hundred live at the end, 79 of them never freed."""
    for _ in range(800):
        p.request()
        p.malloc(1000, "main", "serve", "log_line")


def leak_behind_a_wrapper(p: Program) -> None:
    """One caller of a wrapper leaks; the others do not."""
    for number in range(1500):
        p.request()
        p.free(p.malloc(500, "main", "serve", "read", "xmalloc"))
        if number % 3 == 0:
            p.malloc(700, "main", "serve", "session", "xmalloc")


def leak_of_one_request_in_fifty(p: Program) -> None:
    """Beside a table that the program makes at its start."""
    for _ in range(300):
        p.malloc(1024, "main", "load", "row")
    for number in range(4000):
        p.request()
        if number % 50 == 0:
            p.malloc(8000, "main", "serve", "fail", "describe")


def leak_by_many_ways(p: Program) -> None:
    """Each stack leaks but once: only together do they grow."""
    for number in range(900):
        p.request()
        p.malloc(2000, "main", f"handler_{number}", "keep")


def leak_of_bytes(p: Program) -> None:
    """What leaks is less than what glibc adds to it."""
    for _ in range(900):
        p.request()
        for _ in range(16):
            p.malloc(11, "main", "serve", "flag")


def leak_that_swings(p: Program) -> None:
    """Large buffers come and go beside it."""
    for number in range(600):
        buffer = p.malloc(1 + number % 7 * 20_000, "main", "serve", "buffer")
        for _ in range(4):
            p.malloc(400, "main", "serve", "cookie")
        p.request()
        p.free(buffer)


def fragmentation(p: Program) -> None:
    """One block in 16 outlives the load and holds its page; requests follow."""
    load = [p.malloc(240, "main", "load", "item") for _ in range(8000)]
    for number, block in enumerate(load):
        if number % 16:
            p.free(block)
    for _ in range(600):
        p.request()


def fragmentation_of_messages(p: Program) -> None:
    """Small names that are kept lie between messages that are not."""
    for _ in range(40):
        messages = []
        for _ in range(60):
            messages.append(p.malloc(3000, "main", "read", "message"))
            p.malloc(24, "main", "read", "intern", "malloc")
        for block in messages[::-1]:
            p.free(block)
        p.malloc(3100, "main", "read", "index")
    for _ in range(2000):
        p.request()


def caches(p: Program) -> None:
    """Threads that have filled their caches and live on."""
    for thread in range(1, 9):
        for size in range(24, 1032, 16):
            held = [p.malloc(size, "start_thread", "work", thread=thread) for _ in range(7)]
            for block in held:
                p.free(block, thread)
    for _ in range(50):
        p.request()


def rounding(p: Program) -> None:
    """Blocks of a byte, in glibc 32 each."""
    for _ in range(12_000):
        p.malloc(1, "main", "index", "node")
    for _ in range(2000):
        p.request()


def retention(p: Program) -> None:
    """A load is freed below one block that stays."""
    load = [p.malloc(30_000, "main", "load", "item") for _ in range(150)]
    p.malloc(100, "main", "load", "summary")
    for block in load:
        p.free(block)
    for _ in range(100):
        p.request()


def odds_and_ends(p: Program) -> None:
    """A short program that frees nothing at its end, as many do."""
    for _ in range(40):
        p.request()
        p.malloc(3000, "main", "option")


def a_cache_that_fills(p: Program) -> None:
    """Filled by the first fifth of the requests and kept."""
    for number in range(1500):
        p.request()
        if number < 300:
            p.malloc(4000, "main", "cache", "insert")


def a_cache_that_evicts(p: Program) -> None:
    """The oldest entry goes when a new one comes."""
    entries = []
    for _ in range(1500):
        p.request()
        entries.append(p.malloc(4000, "main", "cache", "insert"))
        if len(entries) > 200:
            p.free(entries.pop(0))


def a_table_freed_at_the_exit(p: Program) -> None:
    """It grows to the end, and the program frees it before it returns."""
    rows = []
    for _ in range(900):
        p.request()
        rows.append(p.malloc(2000, "main", "table", "row"))
    for block in rows:
        p.free(block)


def a_working_set(p: Program) -> None:
    """Much is in use at the peak and nothing stays."""
    for _ in range(5):
        held = [p.malloc(34_000_000, "main", "render", "bitmap")]
        for _ in range(40):
            p.request()
        for block in held:
            p.free(block)
        for _ in range(40):
            p.request()


# Program, the verdict's kind, and the call site that is to be named first ("": none has to be)
PLANTED: dict[str, tuple[Callable[[Program], None], str, str]] = {
    "leak": (leak, "leak", "log_line"),
    "leak behind a wrapper": (leak_behind_a_wrapper, "leak", "session"),
    "leak of one request in fifty": (leak_of_one_request_in_fifty, "leak", "describe"),
    "leak by many ways": (leak_by_many_ways, "leak", "keep"),
    "leak of bytes": (leak_of_bytes, "leak", "flag"),
    "leak that swings": (leak_that_swings, "leak", "cookie"),
    "fragmentation": (fragmentation, "fragmentation", "item"),
    "fragmentation of messages": (fragmentation_of_messages, "fragmentation", "intern"),
    "caches": (caches, "caches", ""),
    "rounding": (rounding, "rounding", "node"),
    "retention": (retention, "retention", "summary"),
    "odds and ends": (odds_and_ends, "live", ""),
    "a cache that fills": (a_cache_that_fills, "live", "insert"),
    "a cache that evicts": (a_cache_that_evicts, "live", "insert"),
    "a table freed at the exit": (a_table_freed_at_the_exit, "live", "row"),
    "a working set": (a_working_set, "live", "bitmap"),
}
