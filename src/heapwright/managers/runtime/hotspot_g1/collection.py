"""When G1 collects, and how many regions eden may have.

    eden has had its regions ─► young collection; with a cycle requested it begins marking; while
                                candidates are left it is mixed
    no region is free        ─► a collection, then full ones, then there is no memory

    eden = young target - survivors; the target is -Xmn, or what the pause goal has time for by the
    pause model: base + bytes copied at so many a microsecond, for a share of eden that survives;
    where few regions are free it takes no more than half of the reserve

Source     OpenJDK 17 src/hotspot/share/gc/g1/g1CollectedHeap.cpp, g1Policy.cpp,
           g1YoungGenSizer.cpp, g1SurvivorRateGroup.cpp
Omits      preventive collections (-XX:-G1UsePreventiveGC); the real predictions, which are of time
           measured: the model's figures are settings
"""

from heapwright.collectors.hotspot.ages import AGES, next_threshold
from heapwright.collectors.hotspot.history import CONCURRENT, YOUNG, expect, remember
from heapwright.collectors.hotspot.history import FULL as WHOLE
from heapwright.collectors.hotspot.history import MIXED as MIXED_KIND
from heapwright.collectors.log import (
    COPIED_BYTES,
    FULL,
    MINOR,
    begin_cycle,
    begin_pause,
    end_cycle,
    end_pause,
)
from heapwright.compiler import kernel, unsigned
from heapwright.managers.runtime.hotspot_g1.compact import compact
from heapwright.managers.runtime.hotspot_g1.evacuation import evacuate
from heapwright.managers.runtime.hotspot_g1.marking import (
    begin_marking,
    choose_old,
    is_worth_it,
    reclaim_humongous,
    remark,
    request_marking,
)
from heapwright.managers.runtime.hotspot_g1.state import (
    EDEN,
    FREE,
    HUMONGOUS,
    IDLE,
    MIXED,
    OLD,
    PREPARED,
    REQUESTED,
    REST,
    SURVIVOR,
    occupied,
    settle_tops,
)

RESERVE_PERCENT = 10  # G1ReservePercent: of the heap, for what is copied

FULL_PATH, YOUNG_PATH, MIXED_PATH, CYCLE_PATH, REMARK_PATH, FAILED_PATH = range(2, 8)


@kernel
def set_young_target(heap):
    """Regions of eden and survivors until the next collection."""
    target = least = heap.fixed_young
    if not target:
        least = max(1, heap.total * heap.least_percent // 100)
        most = max(1, heap.total * heap.most_percent // 100)
        time_us = max(0, heap.goal_us - heap.base_us)
        region_us = heap.region_bytes * max(1, heap.survival) // 1000 // heap.copied_per_us
        target = min(max(time_us // max(1, region_us), least), most)
        target = max(target, heap.regions.counts[unsigned(SURVIVOR)] + 1)
    heap.young_target = _beside_reserve(heap, target, least)


@kernel
def _beside_reserve(heap, target, least):
    """The target, unless it takes more than half of the reserve from the free regions, or more than
    is free; not below what young has."""
    counts = heap.regions.counts
    free, young = counts[unsigned(FREE)], counts[unsigned(EDEN)] + counts[unsigned(SURVIVOR)]
    reserve = (heap.total * RESERVE_PERCENT + 99) // 100
    eaten = min(least, (reserve + 1) // 2)
    if free <= reserve:
        target = min(free, target, eaten)
    elif free < target + reserve:
        target = min(target, free - reserve + eaten)
    return max(target, young)


@kernel
def collect_young(heap):
    """A young collection, of the kind that the concurrent cycle asks for."""
    settle_tops(heap)
    _begin(heap, MINOR)
    heap.paths[YOUNG_PATH] += 1
    kind, copied = YOUNG, heap.log.totals[COPIED_BYTES]
    eden, survivors = _choose_young(heap)
    if heap.phase == MIXED:
        young_us = heap.base_us + eden * heap.region_bytes * heap.survival // 1000 // (
            heap.copied_per_us
        )
        if choose_old(heap, young_us):
            kind = MIXED_KIND
            heap.paths[MIXED_PATH] += 1
    heap.emptied = survivors
    wanted = (heap.young_target + heap.survivor_ratio - 1) // heap.survivor_ratio
    heap.most_survivors = min(wanted, heap.regions.counts[unsigned(FREE)])
    heap.threshold = next_threshold(
        heap.ages,
        wanted << heap.region_shift,
        heap.target_percent,
        heap.most_threshold,
    )
    evacuate(heap, kind == MIXED_KIND)
    for age in range(AGES):
        heap.shown_ages[unsigned(age)] = heap.ages[unsigned(age)]
    if heap.failed:
        heap.paths[FAILED_PATH] += 1
    reclaim_humongous(heap)
    _learn(heap, eden, heap.log.totals[COPIED_BYTES] - copied)
    _advance(heap)
    set_young_target(heap)
    _end(heap, kind, eden)


@kernel
def _choose_young(heap):
    """Choose every young region; how many of eden, and of survivors."""
    table = heap.regions
    for region in range(heap.own, heap.total):
        if 0 < table.kind[unsigned(region)] < OLD:
            table.chosen[unsigned(region)] = 1
    heap.current = heap.retained = -1
    heap.bump = heap.bump_end = heap.kept = heap.kept_end = 0
    return table.counts[unsigned(EDEN)], table.counts[unsigned(SURVIVOR)]


@kernel
def _learn(heap, eden, copied):
    """What share of eden survives, by a decaying average."""
    if eden:
        share = min(1000, copied * 1000 // (eden << heap.region_shift))
        heap.survival = (7 * heap.survival + 3 * share) // 10 if heap.survival else share


@kernel
def _advance(heap):
    """The concurrent cycle after a young collection."""
    if heap.phase == REQUESTED:
        heap.paths[CYCLE_PATH] += 1
        begin_marking(heap)
    elif heap.phase == PREPARED:
        heap.phase = MIXED
    elif heap.phase == MIXED and (heap.candidate == heap.candidate_count or not is_worth_it(heap)):
        heap.phase = IDLE
    if heap.phase == IDLE:
        request_marking(heap)


@kernel
def finish_marking(heap):
    """The pause that ends marking. It is a pause, and no collection of its own."""
    settle_tops(heap)
    found(heap)
    begin_pause(heap.log)
    heap.paths[REMARK_PATH] += 1
    remark(heap)
    _note(heap, CONCURRENT, heap.regions.counts[unsigned(EDEN)])
    end_pause(heap.log)


@kernel
def collect_full(heap):
    """A full collection."""
    settle_tops(heap)
    _begin(heap, FULL)
    heap.paths[FULL_PATH] += 1
    eden = heap.regions.counts[unsigned(EDEN)]
    compact(heap)
    for age in range(AGES):
        heap.ages[unsigned(age)] = 0
    set_young_target(heap)
    _end(heap, WHOLE, eden)


@kernel
def collect_whole(heap):
    """A full collection that clears all soft references."""
    heap.references.clear_all = 1
    collect_full(heap)


@kernel
def found(heap):
    """Note what a collection finds: whole regions."""
    counts, shift = heap.regions.counts, heap.region_shift
    old = counts[unsigned(OLD)] + counts[unsigned(HUMONGOUS)] + counts[unsigned(REST)]
    eden, survivors = counts[unsigned(EDEN)], counts[unsigned(SURVIVOR)]
    expect(heap.history, eden << shift, survivors << shift, old << shift)


@kernel
def _begin(heap, kind):
    """The program stands still for a collection of `kind`."""
    found(heap)
    begin_pause(heap.log)
    begin_cycle(heap.log, kind, occupied(heap), 0)


@kernel
def _end(heap, kind, eden):
    """It goes on."""
    _note(heap, kind, eden)
    heap.references.used_bytes = occupied(heap) + (heap.own << heap.region_shift)
    end_pause(heap.log)
    end_cycle(heap.log, occupied(heap))


@kernel
def _note(heap, kind, eden):
    """Keep how many regions there are: eden before, survivors, humongous and old ones after."""
    counts = heap.regions.counts
    humongous = counts[unsigned(HUMONGOUS)] + counts[unsigned(REST)]
    spaces = (
        eden,
        counts[unsigned(SURVIVOR)],
        humongous,
        counts[unsigned(OLD)],
        heap.threshold,
    )
    remember(heap.history, heap.log, kind, spaces, heap.shown_ages)
