"""Groups: records, the rings of a class, a slot out of a ring, and a group for more.

    slot ─► first group: avail ─none─► its freed become avail, or the next group's; further slots
              └ no group: ─► a new one: mapped, or in a slot of a larger class, which may need one

Invariant  see `invariants.py`
Source     musl 1.2.3 src/malloc/mallocng/malloc.c: alloc_meta, try_avail, alloc_slot, alloc_group
"""

from heapwright.compiler import kernel, unsigned
from heapwright.compiler.bits import trailing_zeros
from heapwright.machine import PAGE_BYTES, brk, load, mmap, read, store, touch
from heapwright.machine.address_space import FIRST_BREAK
from heapwright.managers.malloc.mallocng import state
from heapwright.managers.malloc.mallocng.blocks import (
    IN_A_GROUP,
    SLOT_MASK,
    SPARE_SHIFT,
    enframe,
    slot_byte,
    write_byte,
    write_slot,
)
from heapwright.managers.malloc.mallocng.state import (
    ACTIVE,
    BOUNCE_EVENTS,
    BOUNCES,
    CLASS_SHIFT,
    COUNTS,
    FIRST_BOUNCING,
    FIRST_RECORD,
    GROUP,
    IN_BAND,
    MOST_BOUNCES,
    NESTED,
    NEXT,
    PAGES_SHIFT,
    PREVIOUS,
    RECORD_BYTES,
    RECORDS,
    SHAPE,
    SMALL_CLASSES,
    UNIT,
    avail,
    bouncing,
    class_of,
    freed,
    last_of,
    may_bounce,
    set_masks,
    step,
)

FREEABLE = 1 << 5  # of SHAPE
EVEN_MOST, COARSE_MOST = 32, 7  # classes below with a coarser one above; slots of a small group
HALF_PAGE = PAGE_BYTES // 2


@kernel
def new_record(heap):
    """A record that is in use from now on; 0 where the break cannot be moved."""
    machine, record = heap.machine, heap.spare
    if record:
        heap.spare = load(machine, record + NEXT)
    else:
        if not heap.fresh_records and not _more_records(heap):
            return 0
        record = heap.fresh
        heap.fresh += RECORD_BYTES
        heap.fresh_records -= 1
        touch(machine, record, RECORD_BYTES)
    store(machine, record + PREVIOUS, 0)
    store(machine, record + NEXT, 0)
    return record


@kernel
def _more_records(heap):
    """A page for records at the break; the first one lies past a page that nobody may touch."""
    machine = heap.machine
    if not heap.first_page:
        heap.first_page = machine.meters[FIRST_BREAK] + PAGE_BYTES
        heap.past_pages = heap.first_page
    past = heap.past_pages + PAGE_BYTES
    if brk(machine, past) != past:
        return False
    heap.fresh, heap.fresh_records = heap.past_pages + FIRST_RECORD, RECORDS
    heap.past_pages = past
    touch(machine, past - PAGE_BYTES, FIRST_RECORD)
    return True


@kernel
def drop_record(heap, record):
    """It is free again (free_meta)."""
    store(heap.machine, record + GROUP, 0)
    store(heap.machine, record + NEXT, heap.spare)
    heap.spare = record


@kernel
def queue(heap, class_, record):
    """Make a group its ring's last."""
    machine, first = heap.machine, heap.active[unsigned(class_)]
    if not first:
        store(machine, record + PREVIOUS, record)
        store(machine, record + NEXT, record)
        heap.active[unsigned(class_)] = record
        return
    last = load(machine, first + PREVIOUS)
    store(machine, record + NEXT, first)
    store(machine, record + PREVIOUS, last)
    store(machine, last + NEXT, record)
    store(machine, first + PREVIOUS, record)


@kernel
def dequeue(heap, class_, record):
    """Take a group out of its ring."""
    machine = heap.machine
    next_, previous = load(machine, record + NEXT), load(machine, record + PREVIOUS)
    if next_ != record:
        store(machine, previous + NEXT, next_)
        store(machine, next_ + PREVIOUS, previous)
        if heap.active[unsigned(class_)] == record:
            heap.active[unsigned(class_)] = next_
    else:
        heap.active[unsigned(class_)] = 0
    store(machine, record + PREVIOUS, 0)
    store(machine, record + NEXT, 0)


@kernel
def last_active(heap, record):
    """Number of the last slot that may be handed out."""
    return load(heap.machine, load(heap.machine, record + GROUP) + ACTIVE) & SLOT_MASK


@kernel
def activate(heap, record):
    """What was freed of a group's active slots may be handed out again; those slots."""
    active = (2 << last_active(heap, record)) - 1
    free = freed(heap, record)
    set_masks(heap, record, free & active, free & ~active)
    return free & active


@kernel
def _all_slots(heap, record):
    return (2 << last_of(heap, record)) - 1


@kernel
def try_avail(heap, class_):
    """The bit of a slot of the class, taken; 0 if no group has one."""
    record = heap.active[unsigned(class_)]
    if not record:
        return 0
    mask = avail(heap, record)
    if not mask:
        heap.paths[state.NEXT_GROUP] += 1
        if not freed(heap, record):
            dequeue(heap, class_, record)
            record = heap.active[unsigned(class_)]
            if not record:
                return 0
        else:
            record = load(heap.machine, record + NEXT)
        mask = freed(heap, record)
        if mask == _all_slots(heap, record):  # wholly free: the next one, if there is one
            record = load(heap.machine, record + NEXT)
            mask = freed(heap, record)
        if not mask & ((2 << last_active(heap, record)) - 1):
            if load(heap.machine, record + NEXT) != record:
                record = load(heap.machine, record + NEXT)
            else:
                _activate_more(heap, class_, record)
        heap.active[unsigned(class_)] = record
        mask = activate(heap, record)
        if may_bounce(class_) and heap.bounces[unsigned(class_ - FIRST_BOUNCING)]:
            heap.bounces[unsigned(class_ - FIRST_BOUNCING)] -= 1
    slot = mask & -mask
    set_masks(heap, record, mask - slot, freed(heap, record))
    return slot


@kernel
def _activate_more(heap, class_, record):
    """Further slots of a group, up to the next page."""
    heap.paths[state.ACTIVATE] += 1
    size, slots = heap.units[unsigned(class_)] * UNIT, last_active(heap, record) + 2
    span = UNIT + size * slots
    while (span ^ (span + size - 1)) < PAGE_BYTES:
        slots += 1
        span += size
    last = min(slots, last_of(heap, record) + 1) - 1
    write_byte(heap.machine, load(heap.machine, record + GROUP) + ACTIVE, last)


@kernel
def take_slot(heap, class_, size):
    """Number of a slot of the class's first group, taken; -1 where no group can be made."""
    depth, nesting = 0, heap.nesting
    while True:  # down, until a class has a slot or its group is mapped
        slot = try_avail(heap, class_)
        if slot:
            found = trailing_zeros(slot)
            break
        record = new_record(heap)
        slots = _slots(heap, class_) if record else 0
        slot_bytes = UNIT * heap.units[unsigned(class_)]
        if slot_bytes * slots + UNIT > HALF_PAGE and depth < NESTED:
            found = 0 if _map_group(heap, record, class_, size, slots) else -1
        elif not record or depth == NESTED:
            found = -1
        else:
            row = depth << 2
            nesting[unsigned(row)], nesting[unsigned(row + 1)] = record, class_
            nesting[unsigned(row + 2)] = slots
            depth += 1
            size = UNIT + slots * slot_bytes - IN_BAND
            class_ = class_of(heap, size)
            continue
        if found < 0 and record:
            drop_record(heap, record)
        break
    while depth:  # and up again: the group lies in that slot
        depth -= 1
        row = depth << 2
        record, own_class = nesting[unsigned(row)], nesting[unsigned(row + 1)]
        if found < 0:
            drop_record(heap, record)
        else:
            _nest_group(heap, record, own_class, nesting[unsigned(row + 2)], (class_, found))
            found = 0
        class_ = own_class
    return found


@kernel
def _slots(heap, class_):
    """Slots of a new group, by how much the class is used; below a page's half at least two."""
    usage = heap.usage[unsigned(class_)]
    size = UNIT * heap.units[unsigned(class_)]
    if class_ < SMALL_CLASSES:
        use = 0
        while use < 2 and 4 * heap.counts[unsigned(3 * class_ + use)] > usage:
            use += 1
        slots = heap.counts[unsigned(3 * class_ + use)]
    else:
        slots = COUNTS[0]
        for number in range(1, 4):
            if class_ & 3 == number:
                slots = COUNTS[number]
        while not slots & 1 and 4 * slots > usage:
            slots >>= 1
        while size * slots >= 65536 * UNIT:
            slots >>= 1
    return 2 if slots == 1 and size + UNIT <= HALF_PAGE else slots


@kernel
def _map_group(heap, record, class_, size, slots):
    """A group in pages of its own, its slots as many or fewer; whether there was room."""
    wary, unit = bouncing(heap, class_), UNIT * heap.units[unsigned(class_)]
    if may_bounce(class_):
        row = unsigned(class_ - FIRST_BOUNCING)
        if heap.gone[row] and heap.turn - heap.gone[row] < BOUNCE_EVENTS:
            heap.bounces[row] += 1
            if heap.bounces[row] >= BOUNCES:
                heap.bounces[row] = MOST_BOUNCES
    step(heap)
    usage = heap.usage[unsigned(class_)]
    if not class_ & 1 and class_ < EVEN_MOST:
        usage += heap.usage[unsigned(class_ + 1)]
    if 4 * slots > usage and not wary:
        slots = _fewer(class_, slots, unit * slots)
    bytes_ = _whole_pages(unit * slots + UNIT)
    if not wary and slots <= COARSE_MOST:
        own = _whole_pages(size + IN_BAND + UNIT)
        if own < unit + UNIT or (own >= 4 * PAGE_BYTES and 2 * slots > usage):
            slots, bytes_ = 1, own
            heap.paths[state.SINGLE] += 1
    group = mmap(heap.machine, 0, bytes_)
    if not group:
        return False
    heap.mappings += 1
    heap.paths[state.NEW_GROUP] += 1
    active = max(0, min((PAGE_BYTES - UNIT) // unit - 1, slots - 1))
    _open_group(heap, record, group, active, (class_, slots, bytes_))
    return True


@kernel
def _whole_pages(bytes_):
    return (bytes_ + PAGE_BYTES - 1) & -PAGE_BYTES


@kernel
def _fewer(class_, slots, bytes_):
    """Slots of a group of a class that is not much used."""
    kind = class_ & 3
    if kind == 1 and bytes_ > 8 * PAGE_BYTES:
        return 2
    if kind == 2 and bytes_ > 4 * PAGE_BYTES:
        return 3
    if kind == 0 and bytes_ > 8 * PAGE_BYTES:
        return 3
    if kind == 0 and bytes_ > 2 * PAGE_BYTES:
        return 5
    return slots


@kernel
def _nest_group(heap, record, class_, slots, place):
    """A group in a slot, which is `place`: the class whose first group has it, its number."""
    machine, (outer, slot) = heap.machine, place
    inside = UNIT * heap.units[unsigned(outer)] - IN_BAND
    group = enframe(heap, heap.active[unsigned(outer)], slot, inside)
    byte = slot_byte(machine, group) & SLOT_MASK
    write_slot(machine, group, byte | (IN_A_GROUP << SPARE_SHIFT))
    size = UNIT * heap.units[unsigned(class_)]
    for number in range(slots + 1):
        write_byte(machine, group + UNIT + number * size - IN_BAND, 0)
    heap.paths[state.NEW_NESTED] += 1
    _open_group(heap, record, group, slots - 1, (class_, slots, 0))


@kernel
def _open_group(heap, record, group, active, shape):
    """Enter a group in its record, its first words and its ring; its first slot is taken. `shape`:
    its class, its slots, the bytes mapped for it."""
    machine, (class_, slots, bytes_) = heap.machine, shape
    heap.usage[unsigned(class_)] += slots
    store(machine, record + GROUP, group)
    packed = (slots - 1) | FREEABLE | (class_ << CLASS_SHIFT)
    store(machine, record + SHAPE, packed | ((bytes_ // PAGE_BYTES) << PAGES_SHIFT))
    all_active = (2 << active) - 1
    set_masks(heap, record, all_active - 1, ((2 << (slots - 1)) - 1) - all_active)
    read(machine, group, UNIT)  # the byte is a part of a word, which is read first
    touch(machine, group, UNIT)
    store(machine, group, record)
    write_byte(machine, group + ACTIVE, active)
    queue(heap, class_, record)
