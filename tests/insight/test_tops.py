"""The block that keeps each heap's top, and what a map leaves out."""

import numpy as np

from heapwright.insight.heap_map import RUN_PAGES, heap_map
from heapwright.insight.tops import tops
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT
from heapwright.report.document import Compared, comparison_document
from heapwright.result import Blocks
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from heapwright.tunnel.keyframes import Taken
from heapwright.tunnel.replay import replay

PAGE = 4096
ARENA = BREAK_LIMIT + (1 << 26)  # the start of 64 MiB


def taken():
    """A heap of 100 pages with blocks on pages 10 and 90, an arena with one on its page 50."""
    address = np.array([BREAK_BASE + 10 * PAGE, BREAK_BASE + 90 * PAGE, ARENA + 50 * PAGE])
    zones = []
    for first, count, at in ((BREAK_BASE // PAGE, 100, (10, 90)), (ARENA // PAGE, 80, (50,))):
        live, free = np.zeros(count, np.int16), np.full(count, PAGE, np.int16)
        for page in at:
            live[page], free[page] = 64, PAGE - 64
        zones.append((first, live, free))
    blocks = Blocks(address, np.array([64, 64, 64]), np.array([7, 5, 3]), np.array([2, 1, -1]))
    return Taken(zones, blocks)


def test_the_highest_block_of_each_heap_is_charged_with_what_it_keeps():
    arena, heap = tops(taken())[::-1]
    assert heap == {
        "heap_address": BREAK_BASE + 10 * PAGE,
        "retained_bytes": (10 + 79) * PAGE,
        "freed_bytes": 79 * PAGE,
        "address": BREAK_BASE + 90 * PAGE,
        "bytes": 64,
        "age_events": 5,
        "site": 1,
    }
    assert (arena["heap_address"], arena["retained_bytes"]) == (ARENA, 50 * PAGE)
    assert (arena["address"], arena["site"]) == (ARENA + 50 * PAGE, -1)


def test_nothing_alive_keeps_nothing():
    none = taken()
    blocks = Blocks(*(column[:0] for column in vars(none.blocks).values()))
    assert tops(Taken(none.zones, blocks)) == []


def ratchet(path):
    """200 blocks of 20 kB, then a small one on top; all but the small one are freed."""
    with TraceWriter(path, program="ratchet", kind="synthetic") as out:
        out.sites = ["grow (r.c:1)", "note (r.c:2)"]
        sizes = [20_000] * 200 + [64]
        slots = np.arange(201)
        sites = [0] * 200 + [1]
        out.write(events(op=[MALLOC] * 201, slot=slots, size=sizes, site=sites))
        out.write(events(op=[FREE] * 200, slot=slots[:200], size=[0] * 200, site=[-1] * 200))
        churn = np.resize([MALLOC, FREE], 2000)
        out.write(events(op=churn, slot=[0] * 2000, size=np.resize([64, 0], 2000)))
    return Trace.open(path)


def test_a_ratchet_names_the_block_on_top(tmp_path):
    trace = ratchet(tmp_path / "t.heap.parquet")
    found = replay("first-fit", trace, picture=lambda keyframes: heap_map(keyframes, trace.sites()))
    known = found.heap_map
    assert known.tops_event == found.end_event
    (told,) = comparison_document(Compared(trace, [found]))["results"]
    assert told["tops"]["event"] == found.end_event
    (said,) = told["tops"]["heaps"]
    assert said["site"] == "note (r.c:2)" and said["stack"] == ["note (r.c:2)"]
    (row,) = known.tops
    assert row["site"] == 1 and row["bytes"] == 64
    assert row["retained_bytes"] >= 190 * 20_000 and row["freed_bytes"] >= 190 * 20_000


def test_long_stretches_that_never_are_resident_are_left_out(tmp_path):
    with TraceWriter(tmp_path / "t.heap.parquet", program="t", kind="synthetic") as out:
        out.write(events(op=[MALLOC] * 9, slot=np.arange(9), size=[40 << 20, *[100] * 8]))
    trace = Trace.open(tmp_path / "t.heap.parquet")
    shown = replay("first-fit", trace, touch="none", picture=heap_map).heap_map
    assert shown.left_out_pages > (40 << 20) // PAGE - 2 * RUN_PAGES
    whole = replay("first-fit", trace, touch="all", picture=heap_map).heap_map
    assert whole.left_out_pages == 0 and len(whole.pages) > 10_000
    assert np.isin(shown.blocks.address // PAGE, shown.pages).all()
