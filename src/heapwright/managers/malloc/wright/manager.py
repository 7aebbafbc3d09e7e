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
           as its word says, of blocks of its class (5); an outbox holds blocks (6)
Source     page map, spans, page heap and classes as TCMalloc's (gperftools docs/tcmalloc.html);
           spans owned by threads and free lists of their own as mimalloc's (Leijen, Zorn and de
           Moura, APLAS 2019); remote frees by mailbox as snmalloc's (Liétar et al., ISMM 2019)
Omits      arenas, transfer caches and a background thread; its tables lie outside the machine and
           are not counted: 64 bytes a span, 4 bytes a page of 8 KiB, 4 to 8 KiB a thread
"""

from typing import NamedTuple

from heapwright.class_tables import kept
from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError
from heapwright.machine.address_space import BREAK_BASE
from heapwright.managers.malloc.wright import page_heap
from heapwright.managers.malloc.wright.caches import empty_row, end_thread
from heapwright.managers.malloc.wright.classes import (
    FIRST_SINGLE,
    GRANULE_BYTES,
    LEAST_BYTES,
    MOST_CACHED,
    PAGE_SHIFT,
    SPAN_MOST_BYTES,
    classes,
    is_small,
)
from heapwright.managers.malloc.wright.growing import GROWING, begin, more_rows
from heapwright.managers.malloc.wright.hardened import (
    FILLED_BYTES,
    SENTENCES,
    sentences,
)
from heapwright.managers.malloc.wright.invariants import cached, check
from heapwright.managers.malloc.wright.mailboxes import settle_mail
from heapwright.managers.malloc.wright.requests import (
    alloc,
    alloc_cached,
    alloc_cached_larger,
    alloc_uncached,
    calloc,
    free,
    free_cached,
    free_elsewhere,
    free_uncached,
    realloc,
    usable,
)
from heapwright.managers.malloc.wright.spans import free_in_span
from heapwright.managers.malloc.wright.state import (
    DIRTY_PAGES,
    FATAL,
    GROWTH_PAGES,
    HEAP_BYTES,
    HUGE_FROM_PAGES,
    INTERVAL_PAGES,
    LIMIT_PAGES,
    LIMIT_PERCENT,
    LOOK_PAGES,
    MOST_BATCH,
    MOST_MAIL_BYTES,
    PATHS,
    REMOTE_BATCH,
    RETAIN_PAGES,
    THREADS,
    USED_PAGES,
    WIDEST,
    Heap,
    lock,
    nowhere,
    place_of,
    room_of,
    row_of,
    tables,
    unlock,
)

LOCKING = "own"
NOWHERE = "nobody"
LARGEST = HEAP_BYTES - (BREAK_BASE << 4)  # bytes of a request

__all__ = [
    "GROWING",
    "HEAP_BYTES",
    "LARGEST",
    "LOCKING",
    "NOWHERE",
    "PATHS",
    "Config",
    "Heap",
    "alloc",
    "alloc_cached",
    "alloc_cached_larger",
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
    "free_elsewhere",
    "free_in_span",
    "free_uncached",
    "idle_bytes",
    "is_here",
    "is_small",
    "metadata",
    "nowhere",
    "place_of",
    "realloc",
    "thread_begins",
    "thread_exit",
    "trim",
    "usable",
    "used_bytes",
]


class Config(NamedTuple):
    """Knobs."""

    steps: int = 8  # size classes a doubling: 4 or 8
    least_bytes: int = 16  # of a block: 8 or 16
    cache_bytes: int = 32 << 10  # of a class that a thread keeps, for classes that share spans
    widest: int = 4  # times as much, where threads pass blocks to and fro
    single_cache_bytes: int = 256 << 10  # likewise, for the others
    span_bytes: int = 16 << 10  # least span of small blocks
    growth_bytes: int = 2 << 20  # asked of the system at a time
    look_bytes: int = 1 << 20  # that a thread fills caches from between two looks at them
    interval_bytes: int = 12 << 20  # freed between two looks at what was free all the time
    retain_bytes: int = 4 << 20  # of that, kept
    limit_bytes: int = 32 << 20  # free and perhaps dirty at any time, at most,
    limit_percent: int = 50  # and of the pages in use, and what was soon wanted again
    remote_batch: int = 32  # blocks posted to another thread at a time
    mail_bytes: int = 256 << 10  # for a thread that does not look, before who sends settles it
    huge_from_bytes: int = 64 << 20  # in use, from which on small blocks get huge pages; 0: never
    classes: int = 0  # a table of size classes made for a program: its file; 0: wright's own
    hardened: int = 0  # 1: tests every request, ends the program at its first mistake


MOST_OF = {
    "cache_bytes": MOST_CACHED * GRANULE_BYTES,
    "single_cache_bytes": MOST_CACHED * SPAN_MOST_BYTES,
    "growth_bytes": 1 << 36,
    "remote_batch": MOST_BATCH,
    "hardened": 1,
}


def _refuse_misfits(config):
    """HeapwrightError that names the first knob out of range."""
    for knob, value in config._asdict().items():
        most = MOST_OF.get(knob, 1 << 62)
        if not 0 <= value <= most:
            bound = f"at most {most:,}" if value > 0 else "not negative"
            raise HeapwrightError(f"{knob} of wright is {bound}; {value:,} is out of range.")
    if config.steps not in (4, 8):
        raise HeapwrightError(f"steps of wright is 4 or 8, not {config.steps}.")
    if config.least_bytes not in (LEAST_BYTES, GRANULE_BYTES):
        raise HeapwrightError(f"least_bytes of wright is 8 or 16, not {config.least_bytes}.")


def boot(machine, config):
    """An empty heap at the break; HeapwrightError for knobs that do not fit."""
    _refuse_misfits(config)
    given = kept(config.classes) if config.classes else None
    room = config.cache_bytes, config.single_cache_bytes
    sizes = classes(config.steps, *room, config.span_bytes, given, config.least_bytes)
    if config.hardened:  # what lies in a list is filled: nothing is carved ahead of need
        sizes.empty_word[sizes.fields[FIRST_SINGLE] :] = 0
        sizes.carved_of[:] = 1
        sizes.class_of[: FILLED_BYTES // LEAST_BYTES] = sizes.class_of[FILLED_BYTES // LEAST_BYTES]
    heap = tables(machine, sizes, page_heap.BINS, sentences() if config.hardened else None)
    begin(heap)
    heap.fields[GROWTH_PAGES] = config.growth_bytes >> PAGE_SHIFT
    heap.fields[RETAIN_PAGES] = config.retain_bytes >> PAGE_SHIFT
    heap.fields[INTERVAL_PAGES] = config.interval_bytes >> PAGE_SHIFT
    heap.fields[LOOK_PAGES] = config.look_bytes >> (PAGE_SHIFT - 5 * config.hardened)
    heap.fields[WIDEST] = config.widest
    heap.fields[LIMIT_PAGES] = config.limit_bytes >> PAGE_SHIFT
    heap.fields[LIMIT_PERCENT] = config.limit_percent
    heap.fields[HUGE_FROM_PAGES] = -(-config.huge_from_bytes >> PAGE_SHIFT)
    heap.fields[REMOTE_BATCH] = config.remote_batch
    heap.fields[MOST_MAIL_BYTES] = config.mail_bytes
    return heap


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
def used_bytes(heap):
    """Bytes of pages that hold blocks, in use or cached."""
    return heap.fields[USED_PAGES] << PAGE_SHIFT


@kernel
def idle_bytes(heap):
    """Bytes that `trim` would give back of what is free now."""
    return heap.fields[DIRTY_PAGES] << PAGE_SHIFT


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


@kernel(inline=True)
def is_here(heap, address):
    """Whether an address may be a block's: below it every table can be read."""
    return unsigned(address) < unsigned(heap.end[0])


@kernel
def thread_begins(heap, thread):
    """Before a thread's first request in flight: room for its row; whether there was."""
    return more_rows(heap, thread)


@kernel
def thread_exit(heap, thread):
    """Give the thread's cached blocks back; its spans with room become orphans."""
    end_thread(heap, thread)


@kernel
def extent(heap, address, size):
    """The block: it has no header."""
    return address, room_of(heap, address)


@kernel
def metadata(heap, blocks):
    """None in the machine's memory."""
    return 0


def fatal(heap):
    """What the program did that it may not do, found out where `hardened` is set; else ""."""
    return SENTENCES.get(int(heap.fields[FATAL]), "")
