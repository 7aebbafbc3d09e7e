"""A collection of a generation: what only its own references keep is garbage.

    deduce    gc_refs := count, less each reference from within: what is left comes from outside
              from those on, all that is reached stays; the rest is UNREACHABLE
    untrack   tuples of which no member is tracked, and in a collection of all, such dictionaries
    promote   what stays goes to the next generation
    weak      references to the rest are cleared, callbacks called: weak.py
    finalise  finalisers once; what they bring back stays too, with all that it refers to
    clear     the rest: each lets go of its references, and dies of it

Terms      generation: YOUNG, MIDDLE, OLD; a collection looks through the younger ones as well
Source     CPython 3.11, Modules/gcmodule.c; 3.13, Python/gc.c. In 3.14 dictionaries are tracked
           from birth
Omits      a reference from C that tp_traverse does not visit
"""

from heapwright.collectors.log import (
    COPIED_BYTES,
    COPIED_OBJECTS,
    CYCLE_ROWS,
    EVENT,
    FULL,
    MARKED_BYTES,
    MARKED_OBJECTS,
    MINOR,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.cpython.counting import MOST_SPARE_DICTS, drop, release, revived
from heapwright.managers.runtime.cpython.heads import (
    ATOMS,
    COLLECTING,
    DICTS,
    FORM,
    GRANULE_SHIFT,
    MIDDLE,
    OLD,
    OLD_FINALISER,
    REVIVING,
    STILL,
    TABLE,
    TENTATIVE,
    TUPLES,
    UNCOLLECTABLE,
    UNREACHABLE,
    clear_flag,
    count_of,
    decremented,
    fields_of,
    flags_of,
    following,
    granules_of,
    has,
    increment,
    is_empty,
    is_tracked,
    merge,
    move,
    node,
    refs_of,
    remove,
    set_flag,
    set_refs,
    size,
)
from heapwright.managers.runtime.cpython.state import RAN_YOUNG, RUN_COLUMNS, UNTRACKED
from heapwright.managers.runtime.cpython.weak import CALLS_ONLY, EVERY, clear, settle


@kernel
def gather(heap, address):
    """What the object refers to, itself and through its tables, into `found`; how many."""
    heads, tables = heap.heads, heap.tables
    tables[unsigned(0)] = address
    seen, known, count = 0, 1, 0
    while seen < known:
        here = tables[unsigned(seen)]
        for field in range(fields_of(heads, here)):
            target = load(heap.machine, here + 8 * field)
            if not target:
                continue
            if not has(heads, target, TABLE):
                heap.found[unsigned(count)] = target
                count += 1
            elif not has(heads, target, TENTATIVE):
                set_flag(heads, target, TENTATIVE)
                tables[unsigned(known)] = target
                known += 1
        seen += 1
    for row in range(1, known):
        clear_flag(heads, tables[unsigned(row)], TENTATIVE)
    return count


@kernel
def _take_off(heap, ring):
    """Take the references from within off gc_refs. Those of a table count once, and only if nothing
    but objects of the ring refers to it."""
    heads, known = heap.heads, 0
    address = following(heads, node(ring))
    while address != node(ring):
        here, waiting = address, 0
        while here:
            for field in range(fields_of(heads, here)):
                target = load(heap.machine, here + 8 * field)
                if not target:
                    continue
                if has(heads, target, TABLE):
                    if not has(heads, target, TENTATIVE):
                        set_flag(heads, target, TENTATIVE)
                        set_refs(heads, target, count_of(heads, target))
                        heap.tables[unsigned(known)] = target
                        known += 1
                    set_refs(heads, target, refs_of(heads, target) - 1)
                    if not refs_of(heads, target):
                        heap.found[unsigned(waiting)] = target
                        waiting += 1
                elif has(heads, target, COLLECTING):
                    set_refs(heads, target, refs_of(heads, target) - 1)
            here = 0
            if waiting:
                waiting -= 1
                here = heap.found[unsigned(waiting)]
        address = following(heads, address)
    for row in range(known):
        clear_flag(heads, heap.tables[unsigned(row)], TENTATIVE)


@kernel
def deduce(heap, ring, unreachable):
    """Move what cannot be reached from outside `ring` to the empty ring `unreachable`."""
    heads, end = heap.heads, node(ring)
    objects = granules = 0
    address = following(heads, end)
    while address != end:
        set_refs(heads, address, count_of(heads, address))
        set_flag(heads, address, COLLECTING)
        objects += 1
        granules += granules_of(heads, address)
        address = following(heads, address)
    heap.log.totals[MARKED_OBJECTS] += objects
    heap.log.totals[MARKED_BYTES] += granules << GRANULE_SHIFT
    _take_off(heap, ring)
    address = following(heads, end)
    while address != end:
        if refs_of(heads, address):
            _reach(heap, address, ring)
            clear_flag(heads, address, COLLECTING)
            address = following(heads, address)
        else:
            after = following(heads, address)
            set_flag(heads, address, TENTATIVE)
            move(heads, address, unreachable)
            address = after
    address = following(heads, node(unreachable))
    while address != node(unreachable):
        clear_flag(heads, address, TENTATIVE)
        address = following(heads, address)


@kernel
def _reach(heap, address, ring):
    """What the object refers to is reachable: it goes back to `ring` if it had left."""
    heads = heap.heads
    for row in range(gather(heap, address)):
        target = heap.found[unsigned(row)]
        if not has(heads, target, COLLECTING):
            continue
        if has(heads, target, TENTATIVE):
            clear_flag(heads, target, TENTATIVE)
            move(heads, target, ring)
            set_refs(heads, target, 1)
        elif not refs_of(heads, target):
            set_refs(heads, target, 1)


@kernel
def may_be_tracked(heap, target):
    """Whether a tuple or a dictionary that refers to it has to be tracked."""
    heads, form = heap.heads, flags_of(heap.heads, target) & FORM
    if form == ATOMS:
        for field in range(fields_of(heads, target)):  # of a table
            member = load(heap.machine, target + 8 * field)
            if member and _is_followed(heads, member):
                return True
        return False
    return _is_followed(heads, target)


@kernel(inline=True)
def _is_followed(heads, target):
    form = flags_of(heads, target) & FORM
    return form != ATOMS and (form != TUPLES or is_tracked(heads, target))


@kernel
def untrack(heap, ring, form):
    """Take the tuples or the dictionaries of `ring` out of it that refer to nothing tracked."""
    heads, end = heap.heads, node(ring)
    address = following(heads, end)
    while address != end:
        after = following(heads, address)
        if flags_of(heads, address) & FORM == form:
            needed = False
            for field in range(fields_of(heads, address)):
                target = load(heap.machine, address + 8 * field)
                if target and may_be_tracked(heap, target):
                    needed = True
                    break
            if not needed:
                heap.paths[UNTRACKED] += 1
                remove(heads, address)
        address = after


@kernel
def look_through(heap, ring, older):
    """Collect a ring whose survivors go to `older`; (collected, uncollectable)."""
    heads = heap.heads
    deduce(heap, ring, UNREACHABLE)
    if not heap.moments:  # else the recording tells what is followed
        untrack(heap, ring, TUPLES)
    if ring != older:
        if not heap.incremental and ring == MIDDLE:
            heap.pending += size(heads, ring)
        _count_survivors(heap, ring)
        merge(heads, ring, older)
    elif not heap.incremental:
        if not heap.follows_dicts and not heap.moments:
            untrack(heap, ring, DICTS)
        heap.pending = 0
        heap.total = size(heads, ring) + heap.own
    return dispose(heap, older)


@kernel
def _count_survivors(heap, ring):
    address, objects, granules = following(heap.heads, node(ring)), 0, 0
    while address != node(ring):
        objects += 1
        granules += granules_of(heap.heads, address)
        address = following(heap.heads, address)
    heap.log.totals[COPIED_OBJECTS] += objects
    heap.log.totals[COPIED_BYTES] += granules << GRANULE_SHIFT


@kernel
def dispose(heap, older):
    """Of the ring UNREACHABLE: finalise, collect what is still unreachable; what is not goes to
    `older`. (collected, uncollectable)."""
    heads = heap.heads
    _set_old_finalisers_aside(heap)
    if heap.weak.entries:
        clear(heap, UNREACHABLE, older, CALLS_ONLY if heap.weak.late else EVERY)
    _finalise(heap)
    merge(heads, UNREACHABLE, older)  # what was brought back
    if heap.weak.late and heap.weak.entries:
        clear(heap, STILL, older, EVERY)
    collected = size(heads, STILL)
    while not is_empty(heads, STILL):
        address = following(heads, node(STILL))
        if flags_of(heads, address) & FORM != TUPLES:
            increment(heads, address)
            _let_go(heap, address)
            if decremented(heads, address) and not revived(heap, address):
                release(heap, address)
        if following(heads, node(STILL)) == address:
            clear_flag(heads, address, COLLECTING)
            move(heads, address, older)
    uncollectable = size(heads, UNCOLLECTABLE)
    address = following(heads, node(UNCOLLECTABLE))
    while address != node(UNCOLLECTABLE):
        if has(heads, address, OLD_FINALISER):
            increment(heads, address)  # gc.garbage has it
        address = following(heads, address)
    merge(heads, UNCOLLECTABLE, older)
    settle(heap)
    heap.collected += collected
    return collected, uncollectable


@kernel
def _let_go(heap, address):
    """Its references are null from now on (tp_clear)."""
    for field in range(fields_of(heap.heads, address)):
        place = address + 8 * field
        target = load(heap.machine, place)
        if target:
            store(heap.machine, place, 0)
            drop(heap, target)


@kernel
def _set_old_finalisers_aside(heap):
    """Objects of UNREACHABLE with a finaliser of the old sort, and what they refer to, are not
    collected."""
    heads, end = heap.heads, node(UNREACHABLE)
    address = following(heads, end)
    while address != end:
        after = following(heads, address)
        if has(heads, address, OLD_FINALISER):
            clear_flag(heads, address, COLLECTING)
            move(heads, address, UNCOLLECTABLE)
        address = after
    address = following(heads, node(UNCOLLECTABLE))
    while address != node(UNCOLLECTABLE):
        for row in range(gather(heap, address)):
            target = heap.found[unsigned(row)]
            if has(heads, target, COLLECTING):
                clear_flag(heads, target, COLLECTING)
                move(heads, target, UNCOLLECTABLE)
        address = following(heads, address)


@kernel
def _finalise(heap):
    """Run the finalisers of UNREACHABLE; what is unreachable then as well goes to STILL."""
    heads, end, back = heap.heads, node(UNREACHABLE), 0
    address = following(heads, end)
    while address != end:
        if has(heads, address, REVIVING):
            back += revived(heap, address)
        address = following(heads, address)
    if not back:
        merge(heads, UNREACHABLE, STILL)
        return
    address = following(heads, end)
    while address != end:
        clear_flag(heads, address, COLLECTING)
        address = following(heads, address)
    deduce(heap, UNREACHABLE, STILL)


@kernel
def callback(heap):
    """gc.callbacks is called: with a dictionary, from the free list or a new one."""
    if heap.watched:
        if heap.spare_dicts:
            heap.spare_dicts -= 1
        else:
            heap.counts[0] += 1
            heap.heap_size += 1
        heap.spare_dicts = min(heap.spare_dicts + 1, MOST_SPARE_DICTS)


@kernel
def begin(heap, generation):
    """A collection of this generation begins; the program stands still."""
    heap.collecting = 1
    heap.paths[unsigned(RAN_YOUNG + generation)] += 1
    begin_pause(heap.log)
    begin_cycle(heap.log, FULL if generation == OLD else MINOR, heap.occupied, 0)
    callback(heap)


@kernel
def end(heap, generation, collected, uncollectable):
    """It is over."""
    if generation == OLD:
        heap.spare_dicts = heap.weak.spare_tuples = 0  # free lists are cleared
    callback(heap)
    end_pause(heap.log)
    end_cycle(heap.log, heap.occupied)
    if heap.runs_count < CYCLE_ROWS:
        row = heap.runs_count * RUN_COLUMNS
        heap.runs[unsigned(row)] = heap.log.totals[EVENT]
        heap.runs[unsigned(row + 1)] = generation
        heap.runs[unsigned(row + 2)] = collected
        heap.runs[unsigned(row + 3)] = uncollectable
    heap.runs_count += 1
    heap.collecting = 0


@kernel
def collect_generation(heap, generation):
    """Collect one generation and all younger ones; how many objects were collected."""
    begin(heap, generation)
    heads, counts = heap.heads, heap.counts
    if generation < OLD:
        counts[unsigned(generation + 1)] += 1
    for younger in range(generation + 1):
        counts[unsigned(younger)] = 0
    for younger in range(generation):
        merge(heads, younger, generation)
    collected, uncollectable = look_through(heap, generation, min(generation + 1, OLD))
    end(heap, generation, collected, uncollectable)
    return collected
