"""One folder per memory manager, by family, assembled from `allocators/` and `collectors/`.

The folder's `__init__.py` holds the manager's CARD (see card.py), its `manager.py` these names;
`tunnel/` binds its replay loop to them and `contract.py` says in sentences what is missing.

    Config     NamedTuple of integers, the real system's knobs under their names, with its defaults
    PATHS      names of the path counters, in the order of `heap.paths`
    boot(machine, config) -> Heap      plain Python; Heap is a NamedTuple with at least
                                       `machine: Machine` and `paths: int64[path]`
  kernels, addresses and bytes int64, `thread` a dense number from 0:
    alloc(heap, thread, size, align) -> address    0 when refused; align a power of two, >= 16
    free(heap, thread, address)                    address is live
    usable(heap, address, size) -> bytes           what malloc_usable_size would say; `size` was
                                                   asked for: a manager without headers reads it
    extent(heap, address, size) -> (start, bytes)  the whole block: header, user bytes, padding
    cached(heap, blocks) -> count                  free blocks held in caches: rows (start, bytes)
                                                   of blocks int64[row, 2], as many as fit
    metadata(heap, blocks) -> count                memory the manager itself lives in, likewise
    check(heap) -> 0, or the number of the invariant that is broken (its header lists them)
  kernels with a default made from the above (see tunnel/loop.py):
    calloc(heap, thread, size) -> address          touches only what it must clear
    realloc(heap, thread, address, size) -> address; on refusal 0 and the old block stays
    alloc_in(heap, thread, size, align, domain), calloc_in(heap, thread, size, domain) -> address
                                                   of one to which the domains of Python (schema's
                                                   RAW, MEM, OBJECT) are not alike; what tells of no
                                                   domain is OBJECT; with DOORS = True `domain` is
                                                   the door by which a kernel's request came (see
                                                   trace/doors.py; 0 none), and `boot` takes the
                                                   trace's doors as its third argument, by default
                                                   none
    thread_exit(heap, thread)
    passed(heap, address, size) -> (block, bytes)  of a block that it passed on to its ground with a
                                                   head of its own: the ground's block, and the
                                                   bytes asked for there (see machine/ground.py)
    trim(heap, pad) -> bytes given back            what malloc_trim does
    mallopt(heap, parameter, value)                what mallopt does
    move_break(heap, increment)                    the program itself moves the break
                                                   without one of these three such an event of a
                                                   trace is passed over, and a note says so
  plain Python, optional:
    configured(settings) -> what boot is given     instead of Config with the settings in it: where
                                                   a setting at its default differs from one that
                                                   was left alone, or the real parser has rules
    ignored(settings) -> sentences                 settings that the real parser does not take: what
                                                   is as if it had not been given is told
    AT_HEAP_START = True                           the machine's heap starts where the recorded one
                                                   did, modulo machine.BREAK_BASE: blocks aligned
                                                   beyond a page lie by it
    laid_out(trace, settings)                      what makes a batch of a recording's objects those
                                                   that the real system has, None where they are;
                                                   `settings`: all knobs
    account(heap, doors, config) -> (frames, caches)  of one over physical frames: who holds them,
                                                   and rows of its caches (linux/account.py)
    notes(heap) -> sentences                       what a reader of its figures must know
    courses(settings) -> [settings]                others under which the program may run as well,
                                                   where time decides: each is replayed too, and
                                                   the result has their range
    lines(heap, pauses_ms) -> [(event, line)]  what the real one writes to its log, the pauses being
                                               those of this replay; `heapwright replay --log`
    fatal(heap) -> sentence                        why a real program would be dead by now, else "";
                                                   asked after each batch, ends the replay
  in flight, where the same source serves real threads (see flight/):
    LOCKING = "own"                                the manager locks by itself (kernel/atomics.py);
                                                   without it one lock serves all threads
    fork_prepare(heap), fork_parent(heap), fork_child(heap)   kernels around fork(), with
                                                   LOCKING = "own": take the locks, release them
                                                   in the parent and in the child
    place_of(heap, thread) -> place                kernels, with LOCKING = "own", all or none of
    nowhere(heap) -> place                         these: alloc and free cut in two, the few
    is_small(size) -> bool                         instructions that usually do and the rest; no
    alloc_cached(heap, place, size) -> pointer     cache holds a size above any class, or a negative
    alloc_cached_larger(heap, place, size)         one. A place is where what belongs to a thread
    alloc_uncached(heap, thread, size) -> address  lies, in flight a real address; `nowhere`, in the
    free_cached(heap, place, address, pointer)     field that NOWHERE names, stands for a thread
    free_in_span(heap, place, address)             without one. 0: nothing is cached; free_cached
    free_uncached(heap, thread, address)           and free_in_span say whether there was room
    FOLLOWING = ("field", ...)                     arrays of the heap that are indexed from the
                                                   machine's address 0 upwards, up to the break's
                                                   limit, or by thread number: where
                                                   address space is short, flight maps a first part
    GROWING = {"field": bytes, ...}                arrays of which flight maps so many bytes; the
                                                   manager maps the rest as it needs it
                                                   (machine/tables.py)
    HEAP_BYTES, LARGEST                            address space of the heap and bytes of a request,
                                                   where they are more than the tunnel has room for
    is_here(heap, address)                         kernel: whether the manager may look at a pointer
    free_elsewhere(heap, pointer)                  kernel: free or realloc of what `is_here` is not
    thread_begins(heap, thread)                    kernel: before a thread's first request; whether
                                                   there is room for it
    empty_thread(heap, thread)                     kernel: what malloc_trim does first: gives back
                                                   what the calling thread keeps
    used_bytes(heap), idle_bytes(heap)             kernels: of pages in use, and what a trim would
                                                   give back, for mallinfo
    HEADERLESS = True                              `usable` reads `size`: flight keeps sizes for it

Kernels see the heap through `bare` (compiler/bare.py): of each array the elements by their index,
from 0 to its end. There is no `len`, no slice, and no negative index: `array[-1]` is the word
before the first. Compiled, it is read and written in silence; interpreted, or with
NUMBA_BOUNDSCHECK=1, it raises IndexError. `tests/golden/` holds all three ways to the same
addresses (`make golden` writes those of a new manager). Only `blocks`, of the verbs that list
memory, is an array with rows and a length.

The manager touches the pages that it writes itself (headers in fresh memory); it clears by `clear`
and moves a block's content by `copy`, which touch too. The replay loop touches what the program
writes.

A manager whose card serves "graph" has a collector and, instead of alloc, free,
calloc and realloc (see collectors/mutator.py and collectors/log.py; tunnel/graph_loop.py):

    boot(machine, config, mutator) -> Heap     Heap has `mutator: Mutator` and `log: Log` as well
    new(heap, thread, slot, size, fields) -> address   the object's first `fields` words are
                                               references, null at birth; sets the slot's handle;
                                               of a realloc what it refers to before is a root
                                               until then; may collect first; 0 when there is no
                                               room even after a full collection
    write(heap, slot, field, target)           reference `field` of the object in `slot` refers to
                                               the object in `target` now, -1 none; both are live
    collect(heap)                              a full collection: afterwards the heap holds what is
                                               reachable now and nothing else
    vacant(heap, blocks) -> count              memory that no object, dead or alive, occupies and
                                               that is in no cache: rows as for `cached`
  kernels with a default that does nothing:
    rooted(heap, slot)                         one more root (local or global) refers to the object
    unrooted(heap, slot)                       one less; called when it is no longer among the
                                               roots (of a malloc trace, just before its handle
                                               goes); a manager that has it moves no object

Its `usable` and `extent` are asked about live objects only. What a resident page holds beyond
live objects, `cached`, `metadata` and `vacant` is garbage not yet collected.
"""

from heapwright.managers.registry import Manager, managers, named

__all__ = ["Manager", "managers", "named"]
