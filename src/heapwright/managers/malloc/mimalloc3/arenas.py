"""mimalloc 3's arenas: mapped whole, with their own records in front; and what goes back.

    slices wanted ─► arenas in turn ─none─► a new one: 1 GiB, twice as much after each eight
    arena         ─► 31 slices of records: bitmaps, and 112 bytes for each slice of a page's own
    freed slices  ─► wait; a second after the first of an arena's, all that are free still go, when
                     any page is freed or abandoned, or a thread ends
    page map      ─► 2.25 MiB; a part of 64 KiB for each 512 MiB of addresses, 8 bytes a slice

Invariant  see `invariants.py` (check: 1)
Source     mimalloc 3.4.3 src/arena.c, src/os.c (_mi_os_get_aligned_hint), src/page-map.c
Omits      huge OS pages, NUMA, memory that a program hands over; where the first arena lies, which
           is random: as if at 2 TiB. Here arenas go down from the mapped zone's top, there up
"""

from heapwright.allocators.mimalloc.classes import good_size
from heapwright.allocators.mimalloc.words import OPEN, SLICE_BYTES, SLICE_SHIFT, heap_word
from heapwright.compiler import kernel, unsigned
from heapwright.machine import ADVISE_DONTNEED, madvise, mmap, munmap, now, read, touch
from heapwright.machine.address_space import BREAK_LIMIT, MAPPED_TOP
from heapwright.managers.malloc.mimalloc3 import state
from heapwright.managers.malloc.mimalloc3.slices import arena_at, chunk_row, find, release
from heapwright.managers.malloc.mimalloc3.state import (
    ARENA_BYTES,
    CHUNK_SHIFT,
    CHUNK_SLICES,
    DIRTY,
    DUE,
    FIELD_SLICES,
    FIRST,
    HINTED_PARTS,
    INFO,
    IS_FREE,
    LENGTH_SLICES,
    MOST_ARENA_CHUNKS,
    MOST_ARENAS,
    NO_PLACE,
    NONE,
    PAST,
    PLACE,
    WAITING,
    arena_of,
    arena_word,
    set_arena_word,
)

HINT_ALIGN_BYTES = 4 << 20  # MI_HINT_ALIGN: between hinted mappings, too
HINTED_AT = 2 << 40  # MI_HINT_BASE
TOP = MAPPED_TOP - (64 << 20)  # below what the system places
CHUNK_BYTES = CHUNK_SLICES << SLICE_SHIFT
SMALL_ARENA_BYTES = 128 << 20  # where a larger one is refused
DOUBLES_AFTER = 8  # arenas

ARENA_RECORD_BYTES = 640  # mi_arena_t
BITMAPS = 65  # but for that of free slices: committed, dirty, purge, pages, and of each bin
BITMAP_HEAD_BYTES, FREE_HEAD_BYTES = 128, 448  # before a bitmap's chunks, 64 bytes each
PAGE_RECORD_BYTES = 112  # mi_page_t

MAP_BYTES = 9 << 18  # of the page map: 2 MiB, and a part for no address
MAP_PART_BYTES = 1 << 16  # 8 bytes a slice
MAP_SHIFT = 29  # of addresses in a part
SYSTEM_MAP_PAGE = 511  # of the map, where what the system places lies, high in the address space

BEGIN_MS = 1_000_000  # of the clock, in the tunnel: see references/malloc/clock.c
MS_NS = 1_000_000


@kernel
def clock_ms(heap):
    """The time, as the real one counts it."""
    return BEGIN_MS + now(heap.machine) // MS_NS


@kernel
def bitmap_bytes(chunks):
    """Of all bitmaps of an arena."""
    return BITMAPS * (BITMAP_HEAD_BYTES + 64 * chunks) + FREE_HEAD_BYTES + 64 * chunks


@kernel
def hinted(heap, bytes_):
    """Address of a mapping next to the last hinted one, with 4 MiB between; 0 where refused."""
    length = (bytes_ + HINT_ALIGN_BYTES - 1) & -HINT_ALIGN_BYTES
    wanted = TOP - heap.hint - length
    area = mmap(heap.machine, wanted if wanted >= BREAK_LIMIT else 0, bytes_)
    heap.hint += length + HINT_ALIGN_BYTES
    return area


@kernel
def _open(heap, address, bytes_):
    """An arena at a mapping; its number."""
    arena = heap.arenas
    first, chunks = address >> SLICE_SHIFT, bytes_ // CHUNK_BYTES
    count = chunks << CHUNK_SHIFT
    records = ARENA_RECORD_BYTES + bitmap_bytes(chunks)
    info = records + count * PAGE_RECORD_BYTES
    info = (((info + 4095) & -4096) + SLICE_BYTES - 1) >> SLICE_SHIFT
    set_arena_word(heap, arena, FIRST, first)
    set_arena_word(heap, arena, LENGTH_SLICES, count)
    set_arena_word(heap, arena, INFO, info)
    set_arena_word(heap, arena, state.HIGHEST, 0)
    set_arena_word(heap, arena, DUE, 0)
    set_arena_word(heap, arena, PAST, first + info)
    for slice_ in range(first, first + count):
        heap.arena_of[unsigned(slice_)] = arena + 1
        heap.marks[unsigned(slice_)] = IS_FREE if slice_ >= first + info else 0
    for chunk in range(chunks):
        row = chunk_row(arena, chunk)
        heap.free_in[row] = min(CHUNK_SLICES, max(0, ((chunk + 1) << CHUNK_SHIFT) - info))
        heap.listed[row] = heap.free_in[row] > 0
        heap.use_of[row] = NONE
    touch(heap.machine, address, ARENA_RECORD_BYTES + FREE_HEAD_BYTES + 128 * chunks)
    for bitmap in range(BITMAPS):
        head = address + records - (bitmap + 1) * (BITMAP_HEAD_BYTES + 64 * chunks)
        touch(heap.machine, head, BITMAP_HEAD_BYTES)
    heap.arenas += 1
    heap.paths[state.ARENA] += 1
    return arena


@kernel(cold=True)
def _reserve(heap, row, count):
    """A new arena that has room for so many slices; whether the system gave it."""
    if heap.arenas >= MOST_ARENAS:
        return False
    need = ((count << SLICE_SHIFT) + 2 * CHUNK_BYTES - 1) & -CHUNK_BYTES
    bytes_ = max(ARENA_BYTES << min(heap.arenas // DOUBLES_AFTER, 16), need)
    bytes_ = min(bytes_, MOST_ARENA_CHUNKS * CHUNK_BYTES)
    if bytes_ < need:
        return False
    area = _arena_memory(heap, row, bytes_)
    if not area and bytes_ > SMALL_ARENA_BYTES > need:
        bytes_ = SMALL_ARENA_BYTES
        area = _arena_memory(heap, row, bytes_)
    if not area:
        return False
    _open(heap, area, bytes_)
    return True


@kernel
def _arena_memory(heap, row, bytes_):
    """Address of a mapping at a multiple of a slice; 0 where refused. A thread that has no heap
    yet knows no random number, and so no hint."""
    bytes_ = good_size(bytes_)
    place = heap.hint
    area = hinted(heap, bytes_) if heap_word(heap, row, OPEN) else mmap(heap.machine, 0, bytes_)
    set_arena_word(heap, heap.arenas, PLACE, place if heap.hint > place else NO_PLACE)
    if not area or not area & (SLICE_BYTES - 1):
        return area
    munmap(heap.machine, area, bytes_)
    area = mmap(heap.machine, 0, bytes_ + SLICE_BYTES)
    if not area:
        return 0
    start = (area + SLICE_BYTES - 1) & -SLICE_BYTES
    if start > area:
        munmap(heap.machine, area, start - area)
    if area + SLICE_BYTES > start:
        munmap(heap.machine, start + bytes_, area + SLICE_BYTES - start)
    return start


@kernel
def take(heap, row, sequence, count):
    """The first of so many slices, and whether they were never in use; 0 where refused."""
    for _ in range(2):
        for step in range(heap.arenas):
            arena = arena_at(heap, step, sequence)
            slice_ = find(heap, arena, sequence, count)
            if slice_:
                fresh = True
                for place in range(slice_, slice_ + count):
                    fresh = fresh and not heap.marks[unsigned(place)] & DIRTY
                    heap.marks[unsigned(place)] |= DIRTY
                return slice_, fresh
        if not _reserve(heap, row, count):
            break
    return 0, False


@kernel
def give_back(heap, slice_, count):
    """Slices that are in no use wait, or go, and may be taken again."""
    arena = arena_of(heap, slice_)
    if heap.delay_ms == 0:
        _purge(heap, slice_, slice_ + count)
    elif heap.delay_ms > 0:
        due = clock_ms(heap) + heap.delay_ms
        if not arena_word(heap, arena, DUE):
            set_arena_word(heap, arena, DUE, due)
            if not heap.due:
                heap.due = due
        first = arena_word(heap, arena, FIRST)
        for place in range(slice_, slice_ + count):
            if not heap.marks[unsigned(place)] & WAITING:
                heap.marks[unsigned(place)] |= WAITING
                heap.waiting_in[chunk_row(arena, (place - first) >> CHUNK_SHIFT)] += 1
    release(heap, arena, slice_, count)


@kernel
def _purge(heap, first, past):
    """The memory of slices goes."""
    heap.paths[state.PURGE] += 1
    bytes_ = (past - first) << SLICE_SHIFT
    madvise(heap.machine, first << SLICE_SHIFT, bytes_, ADVISE_DONTNEED)


@kernel(inline=True)
def purge(heap, sequence, everywhere):
    """What waits in arenas goes if it is time; of a few of them unless `everywhere`."""
    if heap.delay_ms > 0 and (everywhere or heap.due):
        _purge_due(heap, sequence, everywhere)


@kernel
def _purge_due(heap, sequence, everywhere):
    """The same, where anything waits."""
    time = clock_ms(heap)
    if (not everywhere and heap.due > time) or not heap.arenas:
        return
    most = heap.arenas if everywhere else heap.arenas // 4 + 1
    some = False
    for step in range(heap.arenas):
        arena = (step + sequence) % heap.arenas
        due = arena_word(heap, arena, DUE)
        if not due:
            continue
        if due > time:
            some = True
        elif _purge_arena(heap, arena):
            some = True
            if most <= 1:
                return
            most -= 1
    if not some:
        heap.due = 0


@kernel
def _purge_arena(heap, arena):
    """What waits in an arena goes; whether anything did."""
    set_arena_word(heap, arena, DUE, 0)
    first, gone = arena_word(heap, arena, FIRST), False
    for chunk in range(arena_word(heap, arena, LENGTH_SLICES) >> CHUNK_SHIFT):
        row = chunk_row(arena, chunk)
        if heap.waiting_in[row]:
            heap.waiting_in[row] = 0
            start = first + (chunk << CHUNK_SHIFT)
            for field in range(start, start + CHUNK_SLICES, FIELD_SLICES):
                gone = _purge_field(heap, field) or gone
    return gone


@kernel
def _purge_field(heap, field):
    """The same among 64 slices: each run at once if all of it is free still, else one by one."""
    slice_, past, gone = field, field + FIELD_SLICES, False
    while slice_ < past:
        start, free = slice_, True
        while slice_ < past and heap.marks[unsigned(slice_)] & WAITING:
            heap.marks[unsigned(slice_)] &= 255 - WAITING
            free = free and heap.marks[unsigned(slice_)] & IS_FREE != 0
            slice_ += 1
        if slice_ > start and free:
            _purge(heap, start, slice_)
            gone = True
        elif slice_ > start:
            for place in range(start, slice_):
                if heap.marks[unsigned(place)] & IS_FREE:
                    _purge(heap, place, place + 1)
                    gone = True
        else:
            slice_ += 1
    return gone


@kernel
def open_map(heap):
    """The page map is there."""
    heap.map = mmap(heap.machine, 0, MAP_BYTES)
    read(heap.machine, heap.map, 8)
    touch(heap.machine, heap.map, 8)


@kernel
def name_slices(heap, page, first, count):
    """Slices from which a block can be asked about say which page they are of; 0: of none."""
    machine = heap.machine
    for slice_ in range(first, first + count):
        heap.owner[unsigned(slice_)] = page
    slice_ = first + (HINTED_PARTS << (MAP_SHIFT - SLICE_SHIFT))
    arena = arena_of(heap, first)
    if arena >= 0 and arena_word(heap, arena, PLACE) != NO_PLACE:
        place = arena_word(heap, arena, PLACE) >> SLICE_SHIFT
        slice_ = first - arena_word(heap, arena, FIRST) + place
    past = slice_ + count
    while slice_ < past:
        part = slice_ >> (MAP_SHIFT - SLICE_SHIFT)
        end = min(past, (part + 1) << (MAP_SHIFT - SLICE_SHIFT))
        at = heap.maps_at[unsigned(part)]
        if not at:
            at = mmap(machine, 0, MAP_PART_BYTES)
            heap.maps_at[unsigned(part)] = at
            entry = SYSTEM_MAP_PAGE << 12
            if part < HINTED_PARTS:
                entry = (part + (HINTED_AT >> MAP_SHIFT)) << 3
            read(machine, heap.map + entry, 8)
            touch(machine, heap.map + entry, 8)
        offset = (slice_ << 3) & (MAP_PART_BYTES - 1)
        touch(machine, at + offset, (end - slice_) << 3)
        slice_ = end


@kernel
def touch_record(heap, page):
    """A page's record is written."""
    arena = arena_of(heap, page)
    first, count = arena_word(heap, arena, FIRST), arena_word(heap, arena, LENGTH_SLICES)
    records = ARENA_RECORD_BYTES + bitmap_bytes(count >> CHUNK_SHIFT)
    at = (first << SLICE_SHIFT) + records + (page - first) * PAGE_RECORD_BYTES
    touch(heap.machine, at, PAGE_RECORD_BYTES)
