"""wright: heapwright's own malloc, made to be the fastest at equal memory.

    alloc ─► thread's cache of the class ─empty─► mail ─► partial span ─► fresh span: carve
              │ above MOST_BYTES                          └► orphan ─► page heap ─► brk
              └────────────────────────────────────────────────────►┘
    free  ─► page map ─► thread's cache ─full─► its span: own ─► list ─whole─► page heap
                          │ no class                       another's ─► outbox ─► owner's mailbox
                          └──────────────────────────────────────────────────► page heap: merge

Terms      span: a run of 8 KiB pages; row: what one thread has: caches, spans, mailbox; single: a
           class above SPAN_MOST_BYTES, whose spans are one block
Invariant  spans tile the heap and the page map names them (check: 1, 2); free runs are merged, in
           their bins, and their dirty pages counted (3); a span's carved blocks are on its list,
           in caches, in the post or live, and rings hold what they should (4); a cache is as long
           as its word says, of blocks of its class (5); an outbox counts its chain (6)
Source     page map, spans, page heap and classes as TCMalloc's (gperftools docs/tcmalloc.html);
           spans owned by threads and free lists of their own as mimalloc's (Leijen, Zorn and de
           Moura, APLAS 2019); remote frees by mailbox as snmalloc's (Liétar et al., ISMM 2019)
Omits      arenas, transfer caches and a background thread; its tables lie outside the machine and
           are not counted: 64 bytes a span, 4 bytes a page of 8 KiB, 4 KiB a thread
"""

from typing import NamedTuple

from heapwright.class_tables import kept
from heapwright.compiler import kernel, likely, unlikely, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine import ADVISE_DONTNEED, clear, copy, load, madvise, store, touch
from heapwright.machine.address_space import SPACE_BYTES
from heapwright.managers.malloc.wright import page_heap
from heapwright.managers.malloc.wright.caches import (
    empty_row,
    end_thread,
    free_uncached,
    name_run,
    refill,
    take_run,
)
from heapwright.managers.malloc.wright.classes import (
    FIRST_SINGLE,
    GRANULE_BYTES,
    MOST_BYTES,
    PAGE_BYTES,
    PAGE_SHIFT,
    class_of,
    class_of_aligned,
    classes,
)
from heapwright.managers.malloc.wright.dirty import mark, next_page
from heapwright.managers.malloc.wright.hardened import SENTENCES, is_block, sentences, set_live
from heapwright.managers.malloc.wright.invariants import cached, check
from heapwright.managers.malloc.wright.mailboxes import settle_mail
from heapwright.managers.malloc.wright.resizing import resize_run
from heapwright.managers.malloc.wright.spans import release_easily
from heapwright.managers.malloc.wright.state import (
    ADDRESS,
    DIRTY_PAGES,
    FATAL,
    GROWTH_PAGES,
    HARDENED,
    HUGE_FROM_PAGES,
    INTERVAL_PAGES,
    LENGTH,
    LIMIT_PAGES,
    LIMIT_PERCENT,
    LOOK_PAGES,
    MOST_MAIL_BYTES,
    ONE,
    PATHS,
    REMOTE_BATCH,
    RETAIN_PAGES,
    RUN_TAKEN,
    START,
    THREADS,
    Heap,
    entry_of,
    get,
    lock,
    row_of,
    start_of,
    tables,
    unlock,
)

LOCKING = "own"
FOLLOWING = ("page_map", "spans", "dirty", "rows", "live")

__all__ = [
    "FOLLOWING",
    "LOCKING",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "alloc_cached",
    "alloc_uncached",
    "boot",
    "cached",
    "calloc",
    "check",
    "empty_thread",
    "extent",
    "fatal",
    "fork_child",
    "fork_parent",
    "fork_prepare",
    "free",
    "free_cached",
    "free_uncached",
    "metadata",
    "realloc",
    "thread_exit",
    "trim",
    "usable",
]


LEAST_PURGED_BYTES = 32 << 20  # asked of calloc; glibc maps as much afresh (M_MMAP_THRESHOLD)


class Config(NamedTuple):
    """Knobs."""

    steps: int = 8  # size classes a doubling: 4 or 8
    cache_bytes: int = 16 << 10  # of a class that a thread keeps, for classes that share spans
    single_cache_bytes: int = 256 << 10  # likewise, for the others
    span_bytes: int = 16 << 10  # least span of small blocks
    growth_bytes: int = 2 << 20  # asked of the system at a time
    look_bytes: int = 1 << 20  # that a thread fills caches from between two looks at them
    interval_bytes: int = 32 << 20  # freed between two looks at what was free all the time
    retain_bytes: int = 4 << 20  # of that, kept
    limit_bytes: int = 32 << 20  # free and perhaps dirty at any time, at most,
    limit_percent: int = 50  # and of the pages in use, and what was soon wanted again
    remote_batch: int = 32  # blocks posted to another thread at a time
    mail_bytes: int = 256 << 10  # for a thread that does not look, before who sends settles it
    huge_from_bytes: int = 0  # in use, from which on growth asks for huge pages; 0: never
    classes: int = 0  # a table of size classes made for a program: its file; 0: wright's own
    hardened: int = 0  # 1: tests every request, ends the program at its first mistake


def boot(machine, config):
    """An empty heap at the break; HeapwrightError for knobs that do not fit."""
    if min(config) < 0:
        raise HeapwrightError("a knob of wright is not negative.")
    if config.steps not in (4, 8):
        raise HeapwrightError(f"steps of wright is 4 or 8, not {config.steps}.")
    given = kept(config.classes) if config.classes else None
    room = config.cache_bytes, config.single_cache_bytes
    sizes = classes(config.steps, *room, config.span_bytes, given)
    if config.hardened:  # without room in any cache every request meets the tests
        sizes.empty_word[:] = 0
        sizes.carved_of[:] = 1
    heap = tables(machine, sizes, page_heap.BINS, sentences() if config.hardened else None)
    heap.fields[GROWTH_PAGES] = config.growth_bytes >> PAGE_SHIFT
    heap.fields[RETAIN_PAGES] = config.retain_bytes >> PAGE_SHIFT
    heap.fields[INTERVAL_PAGES] = config.interval_bytes >> PAGE_SHIFT
    heap.fields[LOOK_PAGES] = config.look_bytes >> PAGE_SHIFT
    heap.fields[LIMIT_PAGES] = config.limit_bytes >> PAGE_SHIFT
    heap.fields[LIMIT_PERCENT] = config.limit_percent
    heap.fields[HUGE_FROM_PAGES] = -(-config.huge_from_bytes >> PAGE_SHIFT)
    heap.fields[REMOTE_BATCH] = config.remote_batch
    heap.fields[MOST_MAIL_BYTES] = config.mail_bytes
    return heap


@kernel(inline=True)
def alloc(heap, thread, size, align):
    """Address of a block of at least `size` bytes. The fast path: the thread's cache has one."""
    if align > GRANULE_BYTES:
        return _alloc_aligned(heap, thread, size, align)
    block = alloc_cached(heap, thread, size)
    return block if likely(block != 0) else alloc_uncached(heap, thread, size)


@kernel(inline=True)
def alloc_cached(heap, thread, size):
    """The newest block of the class's cache; 0 if it is empty."""
    return _take_cached(heap, thread, class_of(heap.classes, size))


@kernel(inline=True)
def _take_cached(heap, thread, size_class):
    """The newest block of a cache; 0 if it is empty, as that of class 0 always is."""
    head = unsigned(row_of(thread) + size_class)
    block = heap.rows[head] & ADDRESS
    if likely(block != 0):
        heap.rows[head] = load(heap.machine, block)
    return block


@kernel
def alloc_uncached(heap, thread, size):
    """A block where the cache has none."""
    return _alloc_slowly(heap, thread, size, class_of(heap.classes, size))


@kernel
def _alloc_slowly(heap, thread, size, size_class):
    """A block of a class, or beyond the classes, that comes from no cache."""
    block = refill(heap, thread, size_class) if size_class else _alloc_run(heap, size, 1)
    if unlikely(heap.fields[HARDENED] != 0):
        set_live(heap, block, 1)
    return block


@kernel
def _alloc_run(heap, size, align_pages):
    """A block beyond the classes; 0 if refused."""
    if unsigned(size) > unsigned(SPACE_BYTES) or align_pages > SPACE_BYTES >> PAGE_SHIFT:
        return 0
    return take_run(heap, max(1, (size + PAGE_BYTES - 1) >> PAGE_SHIFT), align_pages, 0)


@kernel(cold=True)
def _alloc_aligned(heap, thread, size, align):
    """A block at a multiple of `align`: of a class that is a multiple of it, else a run."""
    if align <= PAGE_BYTES:
        size_class = class_of_aligned(heap.classes, size, align)
        if size_class:
            block = _take_cached(heap, thread, size_class)
            return block if block else _alloc_slowly(heap, thread, size, size_class)
    block = _alloc_run(heap, size, max(1, align >> PAGE_SHIFT))
    if heap.fields[HARDENED]:
        set_live(heap, block, 1)
    return block


@kernel(inline=True)
def free(heap, thread, address):
    """Give the block back. The fast path: the thread's cache has room."""
    if not likely(free_cached(heap, thread, address)):
        free_uncached(heap, thread, address)


@kernel(inline=True)
def free_cached(heap, thread, address):
    """Put the block in the class's cache, else on its own span's list; whether that was easy."""
    row, entry = row_of(thread), entry_of(heap, address)
    head = unsigned(row + (entry & 255))
    old = heap.rows[head]
    word = (old & ~ADDRESS) - ONE + address
    if likely(word >= 0):  # the list of class 0 has no room
        touch(heap.machine, address, 8)
        store(heap.machine, address, old)
        heap.rows[head] = word
        return True
    if unlikely(old == 0):  # no list of a class, or of a row that is not open
        return False
    return release_easily(heap, row, entry >> 8, address)


@kernel
def calloc(heap, thread, size):
    """A cleared block. Of a run, only pages that may have been written are cleared; of a large one
    they are given back, for it may never be written in full."""
    size_class = class_of(heap.classes, size)
    if size_class and size_class < heap.classes.fields[FIRST_SINGLE]:
        address = alloc(heap, thread, size, GRANULE_BYTES)
        if address:
            clear(heap.machine, address, size)
        return address
    if size_class and heap.rows[unsigned(row_of(thread) + size_class)] & ADDRESS:
        address = alloc(heap, thread, size, GRANULE_BYTES)
        clear(heap.machine, address, size)
        return address
    return _calloc_run(heap, size, size_class)


@kernel
def _calloc_run(heap, size, size_class):
    """A cleared span of one block; 0 if refused."""
    if unsigned(size) > unsigned(SPACE_BYTES):
        return 0
    heap.paths[RUN_TAKEN] += 1
    pages = (size + PAGE_BYTES - 1) >> PAGE_SHIFT
    if size_class:
        pages = heap.classes.pages_of[unsigned(size_class)]
    lock(heap)
    span = page_heap.take(heap, pages, 1)
    unlock(heap)
    if not span:
        return 0
    name_run(heap, span, size_class)
    address, page = start_of(heap, span), get(heap, span, START)
    end = page + ((size + PAGE_BYTES - 1) >> PAGE_SHIFT)
    page = next_page(heap, page, end, True)
    while page < end:
        past = next_page(heap, page, end, False)
        start, past_start = page << PAGE_SHIFT, past << PAGE_SHIFT
        if size >= LEAST_PURGED_BYTES:
            madvise(heap.machine, start, past_start - start, ADVISE_DONTNEED)
        else:
            clear(heap.machine, start, min(past_start, address + size) - start)
        page = next_page(heap, past, end, True)
    lock(heap)
    mark(heap, get(heap, span, START), pages, True)
    unlock(heap)
    if heap.fields[HARDENED]:
        set_live(heap, address, 1)
    return address


@kernel
def realloc(heap, thread, address, size):
    """The block resized where it lies if it fits; a run, as resizing.py says; else copied."""
    if unlikely(heap.fields[HARDENED] != 0):
        if not is_block(heap, address):
            return 0
    entry = entry_of(heap, address)
    room = usable(heap, address, size)
    if entry & 255:
        if size <= room and 2 * size >= room:
            return address
    elif size > MOST_BYTES:
        moved = resize_run(heap, entry >> 8, size)
        if moved:
            if unlikely(heap.fields[HARDENED] != 0):
                set_live(heap, address, 0)
                set_live(heap, moved, 1)
            return moved
    moved = alloc(heap, thread, size, GRANULE_BYTES)
    if moved:
        copy(heap.machine, moved, address, min(room, size))
        free(heap, thread, address)
    return moved


@kernel
def empty_thread(heap, thread):
    """Give back what the thread caches, its mail, and its spans without a block in use."""
    empty_row(heap, row_of(thread))


@kernel
def trim(heap, pad):
    """Take all mail to the spans, then give the dirty pages of all free runs back, but for `pad`
    bytes; bytes given back."""
    for thread in range(heap.fields[THREADS]):
        settle_mail(heap, row_of(thread))
    lock(heap)
    before = heap.fields[DIRTY_PAGES]
    page_heap.purge(heap, pad >> PAGE_SHIFT)
    given = before - heap.fields[DIRTY_PAGES]
    unlock(heap)
    return given << PAGE_SHIFT


@kernel
def fork_prepare(heap):
    """Before a fork: nobody is inside the page heap."""
    lock(heap)


@kernel
def fork_parent(heap):
    """After a fork, in the parent."""
    unlock(heap)


@kernel
def fork_child(heap):
    """After a fork, in the child: what other threads cached is lost to it."""
    unlock(heap)


@kernel
def thread_exit(heap, thread):
    """Give the thread's cached blocks back; its spans with room become orphans."""
    end_thread(heap, thread)


@kernel
def usable(heap, address, size):
    """Bytes of the block: its class's, or its span's."""
    entry = entry_of(heap, address)
    if entry & 255:
        return heap.classes.bytes_of[unsigned(entry & 255)]
    return get(heap, entry >> 8, LENGTH) << PAGE_SHIFT


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, usable(heap, address, size)


@kernel
def metadata(heap, blocks):
    """None in the machine's memory."""
    return 0


def fatal(heap):
    """What the program did that it may not do, found out where `hardened` is set; else ""."""
    return SENTENCES.get(int(heap.fields[FATAL]), "")
