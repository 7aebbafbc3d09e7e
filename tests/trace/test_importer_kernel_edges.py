"""The kernel's events, figure by figure: whose an object is, which frames are a slab's, pages."""

import struct

import pytest

from heapwright.trace.doors import CACHE, KMALLOC, PAGES, Door
from heapwright.trace.importers import ftrace, ring_pages
from heapwright.trace.importers.ftrace import _number, lines_of, row_of
from heapwright.trace.importers.gfp import flags_of
from heapwright.trace.importers.kernel_events import (
    BATCHED,
    NEW_OBJECT,
    NEW_OF_CACHE,
    NEW_PAGES,
    OLD_OBJECT,
    OLD_OF_CACHE,
    OLD_PAGES,
    Heard,
    Row,
    _Teller,
)
from heapwright.trace.importers.kernel_notes import Losses
from heapwright.trace.importers.source import in_memory
from heapwright.trace.schema import FREE, MALLOC

BASE = 0x8880_0000_0000
PAGE = 4096


def happens(kind, key, size=0, room=64, **more):
    row = Row(kind, key, size, room, gfp=0xCC0, site=-1, name=-1, cpu=0, time_ns=0)
    return row._replace(**more)


def heard(*rows, names=("a", "b", "c")):
    """(what was heard, events as rows) of these."""
    all_of = Heard()
    for name in names:
        all_of.number("name", name)
    for row in rows:
        all_of.add(row)
    events = []
    for made in all_of.events():
        columns = (made.op, made.slot, made.size, made.thread, made.site, made.time_ns)
        more = (made.address, made.slack, made.field)
        events += zip(*(column.tolist() for column in (*columns, *more)), strict=True)
    return all_of, events


def caches_of(*rows):
    """The caches of what was allocated from one, in order; objects guessed by site, and unnamed."""
    found, events = heard(*rows)
    doors = [found.doors[row[8] - 1] for row in events if row[0] == MALLOC]
    losses = found.losses
    return [door.cache for door in doors if door.call == CACHE], (losses.by_site, losses.unnamed)


def test_whose_an_object_is():
    new, old = NEW_OF_CACHE, OLD_OF_CACHE
    assert caches_of(happens(new, 8), happens(old, 8, name=0)) == (["a"], (0, 0))
    assert caches_of(happens(new, 8, name=0)) == (["a"], (0, 0))
    assert caches_of(happens(new, 8, room=32)) == (["unnamed-32"], (0, 1))
    two = [happens(new, key, site=5) for key in (8, 16)]
    assert caches_of(*two, happens(old, 16, name=1)) == (["b", "b"], (1, 0))
    others = [happens(new, 8, site=5, name=1), happens(new, 16, site=6), happens(new, 24, room=8)]
    assert caches_of(*others) == (["b", "unnamed-64", "unnamed-8"], (0, 2))
    usual = [happens(new, key, site=5, name=name) for key, name in ((8, 0), (16, 0), (24, 2))]
    assert caches_of(happens(new, 32, site=5), *usual) == (["a", "a", "a", "c"], (1, 0))
    for between in (happens(OLD_OBJECT, 8), happens(NEW_OBJECT, 8), happens(new, 8, name=1)):
        rows = [happens(new, 8, room=32), between, happens(old, 8, name=2)]
        assert caches_of(*rows)[0][0] == "unnamed-32"


def base_of(*rows):
    every = Heard()
    for row in rows:
        every.add(row)
    return _Teller(every, Row(*map(list, zip(*rows, strict=True)))).base


def test_where_the_direct_map_begins():
    def pages(frame, order=0):
        return happens(NEW_PAGES, frame, order)

    def thing(frame, more=0):
        return happens(NEW_OBJECT, BASE + frame * PAGE + more)

    other = happens(OLD_OBJECT, 8)
    assert base_of(pages(1), thing(1)) == BASE
    assert base_of(pages(16, 2), thing(19, PAGE - 8)) == BASE
    assert base_of(pages(16, 2), thing(20)) is None and base_of(pages(16, 2), thing(15)) is None
    assert base_of(pages(16), *[other] * 7, thing(16)) == BASE
    assert base_of(pages(16), *[other] * 8, thing(16)) is None
    four = [pages(16 * n) for n in range(1, 5)]
    assert base_of(*four, thing(16)) == BASE and base_of(*four, pages(99), thing(16)) is None
    assert base_of(pages(0), thing(0)) is None
    assert base_of(pages(16), happens(NEW_OBJECT, 16 * PAGE)) is None  # no map at 0
    rows = [pages(16), thing(16 + (1 << 16)), thing(16), thing(16)]  # a majority
    assert base_of(*rows) == BASE
    assert base_of(pages(1 << 16), happens(NEW_OBJECT, BASE)) == BASE - (1 << 28)


def test_frames_of_slabs_are_left_out():
    def thing(frame):
        return happens(NEW_OBJECT, BASE + frame * PAGE, 5)

    rows = [
        *(happens(NEW_PAGES, 16, 1), thing(17), happens(NEW_PAGES, 18, 0)),
        *(happens(NEW_PAGES, 1024, 10), thing(2047), happens(OLD_PAGES, 16, 1)),
        *(happens(NEW_PAGES, 32, 1), thing(34), happens(OLD_PAGES, 99, 0)),
    ]
    found, events = heard(*rows)
    sizes = [(row[0], row[2], row[6]) for row in events]
    assert sizes == [
        *((MALLOC, 5, 17 * PAGE), (MALLOC, PAGE, 18 * PAGE), (MALLOC, 5, 2047 * PAGE)),
        *((MALLOC, 2 * PAGE, 32 * PAGE), (MALLOC, 5, 34 * PAGE)),
    ]
    assert (found.losses.slab_pages, found.losses.unmatched, found.losses.hidden_pages) == (3, 1, 0)
    hidden, events = heard(*(happens(NEW_OBJECT, 5), happens(NEW_PAGES, 16), happens(BATCHED, 16)))
    assert (hidden.losses.hidden_pages, len(events), events[0][6]) == (2, 1, 0)
    alone, events = heard(happens(NEW_PAGES, 16), happens(NEW_OBJECT, 0))  # refused, and no object
    assert (alone.losses.hidden_pages, len(events)) == (0, 2)


def test_a_page_that_waits_for_its_batch_is_freed_once():
    def times(*rows):
        found, events = heard(*(row._replace(time_ns=n) for n, row in enumerate(rows)))
        return [row[5] for row in events if row[0] == FREE], found.losses.unmatched

    new, old, done = (happens(kind, 16) for kind in (NEW_PAGES, OLD_PAGES, BATCHED))
    assert times(new, old, done) == ([2], 0)
    assert times(new, old, new, done) == ([1, 3], 0)
    assert times(new._replace(size=1), old._replace(size=1), done) == ([1], 0)
    assert times(new, old, old, done) == ([1], 0)
    assert times(done, new, old._replace(key=17)) == ([], 1)


def test_each_figure_of_an_event():
    rows = [
        happens(NEW_PAGES, 1, 1, 3, gfp=0xCCA, cpu=9, time_ns=30),
        happens(NEW_OBJECT, BASE + PAGE * 7, 5, 8, site=4, cpu=8, time_ns=31),
        happens(OLD_PAGES, 1, cpu=8, time_ns=32, site=2),
        happens(NEW_OBJECT, 0, 6, 8, time_ns=33),
        happens(OLD_OBJECT, 0, time_ns=34),
        happens(NEW_PAGES, 0, 2, time_ns=35),
        happens(NEW_OBJECT, 1, 7, 8, cpu=8, time_ns=36),
        happens(NEW_OBJECT, 1, 9, 16, cpu=8, time_ns=37),
        happens(NEW_PAGES, 7, time_ns=10),
    ]
    found, events = heard(*rows)
    assert events == [
        (MALLOC, 0, 2 * PAGE, 0, -1, 30, PAGE, 0, 1),
        (MALLOC, 1, 5, 1, 4, 31, 7 * PAGE, 3, 2),
        (FREE, 0, 0, 1, 2, 32, 0, -1, 0),
        (MALLOC, -1, 6, 2, -1, 33, 0, -1, 2),
        (MALLOC, -1, 4 * PAGE, 2, -1, 35, 0, -1, 3),
        (MALLOC, 0, 7, 1, -1, 36, 0, 1, 2),
        (FREE, 0, 0, 1, -1, 37, 0, -1, 0),
        (MALLOC, 0, 9, 1, -1, 37, 0, 7, 2),
    ]
    assert found.doors == [Door(PAGES, 0xCCA), Door(KMALLOC, 0xCC0), Door(PAGES, 0xCC0)]
    assert found.losses == Losses(reborn=1, slab_pages=1)
    far = [happens(NEW_PAGES, 16, time_ns=n) for n in range(1)]
    far += [happens(NEW_OBJECT, BASE + place) for place in (16 * PAGE, (1 << 52) - 1, 1 << 52)]
    far += [happens(NEW_OBJECT, BASE - 8)]
    assert [row[6] for row in heard(*far)[1]] == [16 * PAGE, (1 << 52) - 1, 0, 0]


def test_flags_that_are_not_told():
    for kind, room, gfp in (
        *((NEW_PAGES, 0, 0xCC0), (NEW_PAGES, 1, 0xCCA), (NEW_PAGES, 2, 0xCD0)),
        *((NEW_PAGES, 3, 0xCC0), (NEW_OBJECT, 1, 0xCC0), (NEW_OBJECT, 2, 0xCC0)),
    ):
        found, _ = heard(happens(kind, 16, 1, room, gfp=flags_of("")))
        assert found.doors[0].gfp == gfp and found.losses.no_flags == 1
    assert flags_of("") == -1 and flags_of("9" * 20) == -1 == flags_of("0x")
    assert flags_of("1" + "0" * 18) == flags_of(hex(10**18)) and flags_of("0x40") == 0x40


@pytest.mark.parametrize(
    ("text", "base", "number"),
    [
        *((5, 0, 5), ("0x1f", 0, 31), ("1f", 16, 31), ("(null)", 0, 0), ("(nil)", 16, 0)),
        *(("", 0, -1), ("x", 0, -1), ("9" * 24, 0, int("9" * 24)), ("9" * 25, 0, -1)),
    ],
)
def test_numbers_of_events(text, base, number):
    assert _number(text, base) == number


def test_rows_of_events():
    def row(event, **fields):
        return row_of(event, fields, Heard(), (3, 77))

    page = row("mm_page_alloc", pfn="5", order="2", migratetype="1", gfp_flags="GFP_NOWAIT")
    assert page == Row(NEW_PAGES, 5, 2, 1, 0x800, -1, -1, 3, 77)
    assert row("mm_page_free", pfn="5") == Row(OLD_PAGES, 5, 0, 0, -1, -1, -1, 3, 77)
    for pfn, key in (
        *(((1 << 64) - 1, 0), ((1 << 32) - 1, 0), ((1 << 32) - 2, (1 << 32) - 2), (0, 0)),
        *((1 << 32, 1 << 32), ((1 << 64) - 2, None), (-1, None), ((1 << 33) - 1, (1 << 33) - 1)),
    ):
        found = row("mm_page_alloc", pfn=pfn)
        assert (found and found.key) == key, pfn
    assert row("mm_page_alloc", pfn=5, page="(null)").key == 0 and row("mm_page_alloc") is None
    made = {"ptr": "ff", "bytes_req": "5", "bytes_alloc": "8", "call_site": "f", "name": "n" * 65}
    every = Heard()
    assert row_of("kmem_cache_alloc", made, every, (3, 77)) == Row(1, 255, 5, 8, -1, 0, 0, 3, 77)
    assert (every.sites, every.names) == (["f"], ["n" * 64])
    assert row_of("kmem_cache_alloc", made | {"name": "o"}, every, (3, 77))[5:7] == (0, 1)
    assert row("kfree", ptr="0") == Row(OLD_OBJECT, 0, 0, 0, -1, -1, -1, 3, 77)
    assert row("kmalloc", **made | {"bytes_req": "0", "bytes_alloc": "0", "ptr": "0"}) is not None
    for missing in ("ptr", "bytes_req", "bytes_alloc"):
        assert row("kmalloc", **made | {missing: "x"}) is None
    for told, gfp in (
        ({}, 0x400CC0),
        ({"gfp_flags": 0x20}, 0x400020),
        ({"gfp_flags": 0}, 0x400000),
    ):
        assert row("kmalloc", **made, **told, accounted="true").gfp == gfp
    assert row("kmalloc", **made, accounted="false").gfp == -1


LINE = " a-1 [002] d..1. 12.5: kmalloc: call_site=f ptr={:02x} bytes_req=5 {}bytes_alloc=64"


def test_lines_of_a_text():
    short = [LINE.format(n, "") for n in range(1, 5)]
    edge, longer = (LINE.format(n, "x" * (4094 + n - len(short[0])) + " ") for n in (1, 2))
    assert (len(edge), len(longer)) == (4096, 4097)
    lines = [short[3], edge, longer, *["CPU:0 [LOST 5 EVENTS]"] * 2, *["junk"] * 3, "# x", ""]
    lines += [*[short[0].replace("ptr=01", "ptr=x")] * 4, short[2].replace("12.5:", "12.25:")]
    content = "\n".join(lines).encode()
    told, shares = ftrace.Told(in_memory(content), lines_of), []
    (made,) = told.events(shares.append)
    assert made.slack.tolist() == [59, 59, 59, 1] and sum(shares) == pytest.approx(1)
    assert made.time_ns.tolist() == [12_250_000_000] + [12_500_000_000] * 3
    every = told.heard.losses
    assert (every.lost, every.other, every.unsound) == (10, 3, 4)
    assert told.labels() == ["f"] and len(told.stacks().frame) == 0


def event(kind, delta, *words, body=b""):
    return struct.pack(f"<{1 + len(words)}I", delta << 5 | kind, *words) + body


def page_of(*events, time=1 << 40, used=None):
    """A page of the ring."""
    content = b"".join(events)
    word = len(content) if used is None else used
    return (struct.pack("<QQ", time, word) + content).ljust(PAGE, b"\0")


def test_events_of_a_page():
    start = 1 << 40
    extended = event(30, 5, 3)
    stamped = event(31, 7, 2)
    skipped = event(29, 4, 8, body=b"\xff" * 4)
    long = event(0, 6, 4 + 9, body=b"123456789   ")
    for events, expected in (
        (
            [event(1, 2, body=b"abcd"), event(2, 3, body=b"efghijkl")],
            [(2, b"abcd"), (5, b"efghijkl")],
        ),
        ([extended, event(1, 2, body=b"abcd")], [(5 + (3 << 27) + 2, b"abcd")]),
        ([stamped, event(1, 2, body=b"abcd")], [(7 + (2 << 27) + 2 - start, b"abcd")]),
        ([skipped, event(1, 2, body=b"abcd")], [(6, b"abcd")]),
        ([event(29, 4, 0), event(1, 2, body=b"abcd")], [(6, b"abcd")]),
        ([long, event(1, 2, body=b"abcd")], [(6, b"123456789"), (8, b"abcd")]),
        ([event(28, 1, body=b"x" * 112)], [(1, b"x" * 112)]),
        ([event(0, 1, 4)], [(1, b"")]),
        ([event(1, 2, body=b"abcd"), event(29, 0, 9), event(1, 2, body=b"abcd")], [(2, b"abcd")]),
    ):
        found = [(time - start, body) for time, body in ring_pages.bodies(page_of(*events))]
        assert found == expected
    high = (0x1F << 59) | 9  # the highest bits of a stamp are the page's
    (found,) = ring_pages.bodies(page_of(event(31, 7, 0), event(1, 0, body=b"abcd"), time=high))
    assert found[0] == (0x1F << 59) | 7
    full = [event(1, 0, body=b"abcd")] * 510
    assert len(list(ring_pages.bodies(page_of(*full)))) == 510
    for bad in (
        page_of(*full, used=4081),
        page_of(event(0, 1, 3)),
        page_of(event(1, 2, body=b"abcd"), used=7),
        page_of(event(28, 2, body=b"abcd")),
    ):
        with pytest.raises(IndexError):
            list(ring_pages.bodies(bad))


LAYOUT = """name: kmalloc
ID: 12345
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:8;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:99999;\tsize:9999;\tsigned:1;
\tfield:long far;\toffset:100000;\tsize:8;\tsigned:1;
\tfield:long wide;\toffset:1;\tsize:10000;\tsigned:1;
"""


def test_layouts_and_fields():
    found = ring_pages.layouts(
        "x\n" + LAYOUT + LAYOUT.replace("kmalloc", "other") + "name: kfree\n"
    )
    fields = {"common_type": (0, 2, False, False), "name": (8, 4, True, True)}
    assert found == {12345: ("kmalloc", fields | {"comm": (99999, 9999, True, False)})}
    assert ring_pages.recognises(LAYOUT.encode(), None)
    assert not ring_pages.recognises(LAYOUT[1:].encode(), None)
    assert not ring_pages.recognises(LAYOUT.replace("\nID", "\nJD").encode(), None)
    layout = ring_pages.Layout("x", {n: ring_pages.Field(*f) for n, f in fields.items()})
    body = bytes([0xFF, 0xFE]) + bytes(6) + struct.pack("<HH", 13, 4) + b"-ab\0cd"
    assert ring_pages.fields_of(layout, body) == {"common_type": 0xFEFF, "name": "ab"}
    for size, value in ((8, -1), (9, b"\xff" * 9)):
        one = ring_pages.Layout("x", {"n": ring_pages.Field(1, size, True, False)})
        assert ring_pages.fields_of(one, b"\0" + b"\xff" * size) == {"n": value}
        with pytest.raises(IndexError):
            ring_pages.fields_of(one, b"\0" + b"\xff" * (size - 1))


def test_events_that_no_layout_tells_are_counted():
    every, known = Heard(), ring_pages.layouts(LAYOUT)
    fields = {"common_type": ring_pages.Field(0, 2, False, False)}
    known[7] = ring_pages.Layout("kmalloc", fields)
    for body in (b"\1\1\0", b"\1\1\0", b"\7\0", b"\x39\x30", b"\x39\x30"):
        ring_pages._enter(body, known, every, 5)
    assert (every.losses.other, every.losses.unsound, len(every.columns.kind)) == (2, 3, 0)
    layout = {"bytes_req": (2, 1), "bytes_alloc": (3, 1), "ptr": (4, 2), "accounted": (6, 1)}
    fields |= {name: ring_pages.Field(*at, False, False) for name, at in layout.items()}
    for accounted, gfp in ((1, 0x400CC0), (0, -1)):
        ring_pages._enter(bytes([7, 0, 5, 8, 1, 1, accounted]), known, every, 9)
        assert [column[-1] for column in every.columns] == [0, 257, 5, 8, gfp, -1, -1, 0, 9]
