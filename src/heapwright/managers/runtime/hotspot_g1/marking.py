"""The concurrent cycle, and the choice of old regions that are worth emptying.

    old fills beyond IHOP ─► a young collection that also begins marking ─► the program runs on
    marking is over ─► remark: regions in which nothing lives are free, candidates by gain
                    ─► a young collection ─► mixed ones, until what is left is not worth it

What lived when marking began counts as live, as the snapshot barrier of the real one has it. So the
twin marks all of that at once, and lets the program run as long as marking would have taken.

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1ConcurrentMark.cpp, g1CollectionSetChooser.cpp,
           g1Policy.cpp, g1IHOPControl.cpp
Omits      IHOP that adapts (-XX:-G1UseAdaptiveIHOP); the barrier's queues; several threads; that
           references are cleared at remark: here when marking begins
"""

from heapwright.collectors.hotspot.cards import settle
from heapwright.collectors.hotspot.layout import (
    BYTES_SHIFT,
    FIELDS_MASK,
    HEADER_BYTES,
    MARKED,
    fields_of,
    is_marked,
    reference,
)
from heapwright.collectors.hotspot.referring import mark_references, settle_gone
from heapwright.collectors.hotspot.tracing import dead_run, find, mark, trace
from heapwright.collectors.log import MARKED_BYTES, SWEPT_BYTES
from heapwright.collectors.mark import is_empty, pop
from heapwright.compiler import kernel, unsigned
from heapwright.machine import load, store
from heapwright.managers.runtime.hotspot_g1.state import (
    EDEN,
    HUMONGOUS,
    IDLE,
    MARKING,
    OLD,
    PREPARED,
    REQUESTED,
    REST,
    SURVIVOR,
    free_region,
    has_objects,
    objects_of,
    region_of,
    start_of,
)


@kernel
def wants_marking(heap, need):
    """Whether old and humongous regions, with `need` bytes more, exceed IHOP."""
    counts = heap.regions.counts
    used = (heap.total - counts[0] - counts[EDEN] - counts[SURVIVOR]) << heap.region_shift
    limit = heap.ihop_percent * (heap.total << heap.region_shift) // 100
    return heap.phase == IDLE and used + need > limit


@kernel
def request_marking(heap):
    """After a collection: whether the next one begins a cycle."""
    if wants_marking(heap, 0):
        heap.phase = REQUESTED


@kernel
def begin_marking(heap):
    """Mark what lives; the bytes of each region that do; what is dead in old ones is filled."""
    before = heap.log.totals[MARKED_BYTES]
    mark(heap)
    _mark_survivors(heap)
    if heap.references.entries:
        mark_references(heap)
        settle_gone(heap)
    heap.phase = MARKING
    marked = heap.log.totals[MARKED_BYTES] - before
    heap.marking_left = marked * 100 // max(1, heap.marking_work)
    table = heap.regions
    for region in range(heap.first, heap.total):
        kind = table.kind[unsigned(region)]
        if kind in (OLD, HUMONGOUS, SURVIVOR) or region == heap.shared:
            _count_region(heap, region)


@kernel
def _mark_survivors(heap):
    """All of the survivors counts as reachable, as the real one scans their regions."""
    for region in range(heap.own, heap.total):
        if heap.regions.kind[unsigned(region)] != SURVIVOR:
            continue
        block, past = start_of(heap, region), heap.regions.top[unsigned(region)]
        while block < past:
            find(heap, block + HEADER_BYTES)
            block += load(heap.machine, block + 8) >> BYTES_SHIFT << 3
    while not is_empty(heap.machine, heap.stack):
        trace(heap, pop(heap.machine, heap.stack))


@kernel
def _count_region(heap, region):
    """Count what is marked in a region, and clear the marks; dead runs become one block."""
    machine, table = heap.machine, heap.regions
    block, past, live = objects_of(heap, region), table.top[unsigned(region)], 0
    while block < past:
        bytes_ = load(machine, block + 8) >> BYTES_SHIFT << 3
        if is_marked(machine, block):
            store(machine, block, load(machine, block) & ~MARKED)
            live += bytes_
            block += bytes_
            continue
        end = dead_run(machine, block, past)
        settle(heap.java, block, end - block)
        block = end
    table.live[unsigned(region)], table.marked_top[unsigned(region)] = live, past


@kernel
def remark(heap):
    """Marking is over: free what is wholly dead and choose candidates; bytes that were freed."""
    table, freed = heap.regions, 0
    heap.candidate = heap.candidate_count = 0
    heap.marking_left = 0
    for region in range(heap.own, heap.total):
        kind = table.kind[unsigned(region)]
        if kind not in (OLD, HUMONGOUS):
            continue
        top, live = table.top[unsigned(region)], live_bytes(heap, region)
        if live == 0 and region != heap.to_old:
            freed += top - start_of(heap, region)
            free_old(heap, region)
        elif kind == HUMONGOUS:  # tracked again
            owner = table.owner[unsigned(region)]
            table.owner[unsigned(region)] = max(owner, ~owner)
        elif region != heap.to_old:
            if live * 100 < heap.live_percent << heap.region_shift:
                _enter(heap, region)
    heap.log.totals[SWEPT_BYTES] += freed
    heap.phase = PREPARED if is_worth_it(heap) else IDLE
    return freed


@kernel
def free_old(heap, region):
    """Free a region, and those that a humongous object goes on in."""
    free_region(heap, region)
    region += 1
    while region < heap.total and heap.regions.kind[unsigned(region)] == REST:
        free_region(heap, region)
        region += 1


@kernel
def live_bytes(heap, region):
    """Bytes that lived when marking began, and all that came since."""
    table = heap.regions
    since = table.top[unsigned(region)] - table.marked_top[unsigned(region)]
    return table.live[unsigned(region)] + since


@kernel
def _gain(heap, region):
    """Bytes that emptying a region frees for a millisecond of pause, as the pause model has it."""
    live = live_bytes(heap, region)
    cost_us = 100 + live // heap.copied_per_us  # of a region that copies nothing: a tenth of a ms
    return (heap.region_bytes - live) * 1000 // cost_us


@kernel
def _enter(heap, region):
    """Enter a candidate where its gain puts it."""
    rows, gain = heap.regions.candidates, _gain(heap, region)
    at = heap.candidate_count
    while at > 0 and _gain(heap, rows[unsigned(at - 1)]) < gain:
        rows[unsigned(at)] = rows[unsigned(at - 1)]
        at -= 1
    rows[unsigned(at)] = region
    heap.candidate_count += 1


@kernel
def is_worth_it(heap):
    """Whether the candidates left have more to give than G1HeapWastePercent of the heap."""
    left = 0
    for row in range(heap.candidate, heap.candidate_count):
        region = heap.regions.candidates[unsigned(row)]
        left += heap.region_bytes - live_bytes(heap, region)
    return left * 100 > heap.waste_percent * (heap.total << heap.region_shift)


@kernel
def choose_old(heap, young_us):
    """Choose old regions for a mixed collection: a share of them at least, and as many as the pause
    goal has time for beside `young_us`; how many."""
    table, chosen = heap.regions, 0
    left = heap.candidate_count - heap.candidate
    least = (heap.candidate_count + heap.count_target - 1) // heap.count_target
    most = (heap.total * heap.old_percent + 99) // 100
    time_us = young_us
    while chosen < min(left, most):
        region = table.candidates[unsigned(heap.candidate)]
        time_us += 100 + live_bytes(heap, region) // heap.copied_per_us
        if chosen >= least and time_us > heap.goal_us:
            break
        table.chosen[unsigned(region)] = 1
        heap.candidate += 1
        chosen += 1
    return chosen


@kernel
def reclaim_humongous(heap):
    """Free humongous objects without references that nothing refers to, as each young collection
    does; bytes that were freed."""
    table, freed, asked = heap.regions, 0, False
    for region in range(heap.own, heap.total):
        if table.kind[unsigned(region)] == HUMONGOUS:
            block = start_of(heap, region)
            address = block + HEADER_BYTES
            slot = table.owner[unsigned(region)]
            table.scan_top[unsigned(region)] = 0
            if slot < 0:
                continue
            is_plain = load(heap.machine, block + 8) & FIELDS_MASK == 0
            if is_plain and heap.mutator.handles[unsigned(slot)] != address:
                table.scan_top[unsigned(region)] = 1  # nothing refers to it, unless it is found
                asked = True
    if not asked:
        return 0
    _find_humongous(heap)
    for region in range(heap.own, heap.total):
        if table.kind[unsigned(region)] == HUMONGOUS and table.scan_top[unsigned(region)]:
            freed += table.top[unsigned(region)] - start_of(heap, region)
            free_old(heap, region)
    heap.log.totals[SWEPT_BYTES] += freed
    return freed


@kernel
def _find_humongous(heap):
    """Look for references to humongous objects in all that is not eden; soft and weak ones too."""
    machine, java, table = heap.machine, heap.java, heap.regions
    for entry in range(heap.references.entries):
        table.scan_top[unsigned(region_of(heap, heap.references.target[unsigned(entry)]))] = 0
    for region in range(heap.first, heap.total):
        if not has_objects(heap, region):
            continue
        block, past = objects_of(heap, region), table.top[unsigned(region)]
        while block < past:
            address = block + HEADER_BYTES
            for field in range(fields_of(machine, address)):
                target = reference(java, machine, address, field)
                if target:
                    table.scan_top[unsigned(region_of(heap, target))] = 0
            block += load(machine, block + 8) >> BYTES_SHIFT << 3
