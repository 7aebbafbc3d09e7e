"""The kernel's kmem events become a trace: text, trace-cmd's report, raw pages of the ring."""

import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.doors import CACHE, KMALLOC, PAGES, Door, loaded, stored
from heapwright.trace.importers import import_file
from heapwright.trace.importers.gfp import UNKNOWN, flags_of
from heapwright.trace.importers.kernel_events import (
    NEW_OBJECT,
    NEW_OF_CACHE,
    NEW_PAGES,
    OLD_OBJECT,
    OLD_OF_CACHE,
    Row,
    sound,
)
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
TEXT = (CORPUS / "ftrace.txt").read_bytes()
RAW = (CORPUS / "ring_pages.bin").read_bytes()
COLUMNS = ("op", "slot", "size", "thread", "site", "address", "slack", "field")


def imported(content, folder):
    recording, output = folder / "recording", folder / "t.parquet"
    recording.write_bytes(content)
    import_file(recording, output)
    return Trace.open(output)


def rows(trace):
    (batch,) = trace.batches(COLUMNS)
    columns = [getattr(batch, name) for name in COLUMNS]
    full = [each if len(each) else np.zeros(len(batch.op), np.int64) for each in columns]
    return [tuple(row) for row in np.array(full, np.int64).T.tolist()]


def test_text_is_read(tmp_path):
    """A slab's own pages are left out, and a cache is called as its objects' frees call it."""
    trace = imported(TEXT, tmp_path)
    doors = trace.doors()
    assert doors == [
        Door(KMALLOC, 0xCC0),
        Door(CACHE, 0xCC0, "names_cache", 4096),
        Door(PAGES, 0xCCA),
    ]
    assert rows(trace) == [
        (MALLOC, 0, 448, 0, 0, 0x61C0200, 64, 1),
        (MALLOC, 1, 4096, 1, 1, 0x6A4D310, 0, 2),
        (MALLOC, 2, 4096, 1, -1, 0x29E6000, 0, 3),
        (MALLOC, 3, 4096, 1, 1, 0x6A4E310, 0, 2),
        (FREE, 1, 0, 1, 2, 0, -1, 0),
        (FREE, 2, 0, 1, -1, 0, -1, 0),
        (FREE, 0, 0, 1, 3, 0, -1, 0),
        (MALLOC, -1, 2 << 20, 1, -1, 0, -1, 3),
    ]
    assert trace.of_kernel and trace.unmatched_frees == 1 and trace.refused == 1
    assert trace.sites()[:2] == ["alloc_desc+0x35/0x250", "getname_flags+0x4/0x1e0"]
    told = " ".join(trace.notes)
    assert "lost 7 events" in told and "1 objects were never freed by name" in told
    assert "1 requests do not tell their flags" in told and "1 lines or events" in told
    assert "1 events of pages are left out" in told
    assert not trace.exact_addresses


def test_a_report_of_trace_cmd_is_read(tmp_path):
    trace = imported((CORPUS / "ftrace-report.txt").read_bytes(), tmp_path)
    assert trace.doors() == [Door(KMALLOC, 0x400A20), Door(KMALLOC, 0x10)]
    assert [row[:3] for row in rows(trace)] == [(MALLOC, 0, 60), (MALLOC, 1, 8), (FREE, 0, 0)]


@pytest.mark.parametrize("field", ["pfn", "order", "migratetype", "bytes_req", "ptr", "gfp_flags"])
@pytest.mark.parametrize("event", ["mm_page_alloc", "mm_page_free", "kmalloc", "kfree"])
def test_a_number_that_no_word_holds_is_counted_not_a_crash(event, field, tmp_path):
    told = dict.fromkeys(("ptr", "bytes_req", "bytes_alloc", "pfn", "order", "migratetype"), "1")
    told |= {"gfp_flags": "GFP_KERNEL", field: str((1 << 64) - 2)}
    fields = " ".join(f"{name}={value}" for name, value in told.items())
    hostile = f"\n cat-92 [000] d..1. 12.9: {event}: call_site=f {fields}\n"
    assert imported(TEXT + hostile.encode(), tmp_path).events >= 8


def test_the_edges_of_what_a_kernel_writes():
    """Of each field the last value that one may have, and the first that none has."""
    page = Row(NEW_PAGES, 9, 0, 0, 0xCC0, -1, -1, 0, 0)
    thing = page._replace(kind=NEW_OBJECT, size=5, room=8)
    of_cache = thing._replace(kind=NEW_OF_CACHE, size=0, room=1)
    word = (1 << 63) - 1
    for row, field, last, first in (
        (page, "key", (1 << 40) - 1, 1 << 40),
        (page, "size", 10, 11),
        (page, "size", 0, -1),
        (page, "gfp", word, word + 1),
        (page, "room", -word, -word - 1),
        (page, "key", 0, -1),
        (page, "time_ns", (1 << 62) - 1, 1 << 62),
        (page, "time_ns", 0, -1),
        (page, "cpu", (1 << 16) - 1, 1 << 16),
        (page, "cpu", 0, -1),
        (thing, "key", 2 * word + 1, 2 * word + 2),
        (thing, "room", 4 << 20, (4 << 20) + 1),
        (thing, "room", 5, 4),
        (thing, "size", 0, -1),
        (of_cache, "room", 1, 0),
    ):
        kept = sound(row._replace(**{field: last}))
        assert kept == row._replace(**{field: last & word if field == "key" else last}), field
        assert sound(row._replace(**{field: first})) is None, field
    for free in (OLD_OBJECT, OLD_OF_CACHE):  # which tells no size that counts
        assert sound(thing._replace(kind=free, room=4)) == thing._replace(kind=free, room=4)
    assert sound(thing._replace(kind=7)) == thing
    assert sound(of_cache._replace(kind=8)) == of_cache


def test_raw_pages_are_read(tmp_path):
    trace = imported(RAW, tmp_path)
    assert trace.doors() == [
        Door(KMALLOC, 0xCC0),
        Door(CACHE, 0xCC0, "dentry", 192),
        Door(PAGES, 0xCCA),
    ]
    assert [row[:3] for row in rows(trace)] == [
        (MALLOC, 0, 60), (MALLOC, 1, 190), (MALLOC, 2, 16384), (FREE, 1, 0), (FREE, 2, 0),
        (FREE, 0, 0),
    ]  # fmt: skip
    (batch,) = trace.batches(("op", "slot", "time_ns"))
    assert batch.time_ns[2] - batch.time_ns[1] == (1 << 27) + 6 and batch.time_ns[4] > 1 << 30


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (RAW[:-100], "page 1 of .* is cut short: it has 3996 of 4096 bytes"),
        (RAW[:-8184] + b"\xff\xff\x0f" + RAW[-8181:], "page 0 of .* is damaged"),
        (RAW.partition(b"MARK")[0], "has no layouts of kmem events with a line"),
        (b"# tracer: nop\n#\n", "holds no request"),
        (TEXT.replace(b"bytes_req=", b"bytes="), None),
        (TEXT.replace(b"order=", b"order=9"), None),
    ],
)
def test_what_is_damaged_is_one_sentence(content, sentence, tmp_path):
    """What no kernel writes is left out and counted; what cannot be read is refused."""
    if sentence:
        with pytest.raises(HeapwrightError, match=sentence):
            imported(content, tmp_path)
        assert not (tmp_path / "t.parquet").exists()
    else:
        notes = " ".join(imported(content, tmp_path).notes)
        assert "events have values that no kernel writes" in notes


def test_hashed_pointers_hide_which_pages_are_a_slabs(tmp_path):
    trace = imported(TEXT.replace(b"ptr=ffff8880061c", b"ptr=00000000b1c7"), tmp_path)
    assert "the pointers are hashed" in " ".join(trace.notes)
    assert {door.call for door in trace.doors()} == {KMALLOC, CACHE}
    assert not trace.has_addresses


GFP_BITS = {  # gfp_types.h of Linux 6.1: the numbers of bits, and what names of sets stand for
    **{"DMA": [0], "HIGHMEM": [1], "DMA32": [2], "MOVABLE": [3], "RECLAIMABLE": [4], "HIGH": [5]},
    **{"ATOMIC": [9], "DIRECT_RECLAIM": [10], "KSWAPD_RECLAIM": [11], "RECLAIM": [10, 11]},
    **{"MEMALLOC": [17], "NOMEMALLOC": [19], "ACCOUNT": [22]},
}
GFP_SETS = {
    **{"DMA": [0], "DMA32": [2], "NOWAIT": [11], "ATOMIC": [5, 9, 11], "NOIO": [10, 11]},
    **{"NOFS": [6, 10, 11], "KERNEL": [6, 7, 10, 11], "KERNEL_ACCOUNT": [6, 7, 10, 11, 22]},
    **{"USER": [6, 7, 10, 11], "HIGHUSER": [1, 6, 7, 10, 11]},
    **{"HIGHUSER_MOVABLE": [1, 3, 6, 7, 10, 11], "TRANSHUGE_LIGHT": [1, 3, 6, 7, 19]},
    **{"TRANSHUGE": [1, 3, 6, 7, 10, 19]},
}


def test_every_flag_and_every_name_of_several_is_the_kernels():
    for name, bits in GFP_BITS.items():
        assert flags_of(f"__GFP_{name}") == sum(1 << bit for bit in bits), name
    for name, bits in GFP_SETS.items():
        assert flags_of(f"GFP_{name}") == sum(1 << bit for bit in bits), name
    heeded = {bit for bits in (*GFP_BITS.values(), *GFP_SETS.values()) for bit in bits}
    assert flags_of(hex((1 << 27) - 1)) == sum(1 << bit for bit in heeded)


def test_flags_are_names_or_a_number():
    assert flags_of("GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO") == 0xCCA
    assert flags_of("0x40dc0") == 0xCC0 and flags_of("") == UNKNOWN
    assert flags_of("GFP_WHAT|__GFP_WHAT") == 0 and flags_of("9" * 19 + "x") == UNKNOWN


BAD_TABLES = (
    b"7",
    b'[["kmalloc"]]',
    b'[["x",1,"",0,0]]',
    b'[["cache",1,"a",0,0]]',
    b'[["pages",-1,"",0,0]]',
    b'[["cache",1,"a",8,3]]',
)


@pytest.mark.parametrize("text", BAD_TABLES)
def test_a_table_of_doors_is_checked(text):
    with pytest.raises(ValueError, match="door"):
        loaded(text)
    assert loaded(stored([Door(CACHE, 1, "a", 8, 16)])) == [Door(CACHE, 1, "a", 8, 16)]


def test_an_event_by_a_door_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    with TraceWriter(path, program="x", kind="imported") as out:
        out.write(events(op=[MALLOC], slot=[0], size=[8], field=[2]))
        out.doors = [Door(KMALLOC, 0)]
    with pytest.raises(HeapwrightError, match="a door out of range"):
        list(Trace.open(path).batches(("op", "slot", "field")))


def test_the_corpus_is_what_the_fuzzer_takes():
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from fuzz.trial import FORMATS, trial

    assert {"ftrace", "ring_pages"} <= set(FORMATS)
    assert trial("ftrace", TEXT) == 8 and trial("ring_pages", RAW) == 6


def test_a_cache_that_no_kernel_has_is_laid_out_by_its_objects_and_told(tmp_path):
    """A trace brings its caches along; what of them is a guess is a sentence."""
    line = (
        b"  x-1 [000] ..... 1.000000: kmem_cache_alloc: call_site=f+0x1 ptr=ffff888012345680 "
        b"name=nosuch_cache bytes_req=100 bytes_alloc=104 gfp_flags=GFP_KERNEL node=-1 "
        b"accounted=false\n"
    )
    freed = (
        b"  x-1 [000] ..... 1.1: kmem_cache_free: call_site=g+0x1 ptr=ffff888012345680 "
        b"name=nosuch_cache\n"
    )
    trace = imported(line + freed, tmp_path)
    assert [door.cache for door in trace.doors()] == ["nosuch_cache"]
    (told,) = (str(note) for note in trace.notes if "laid out by the sizes" in note)
    assert "caches that events name, 1, are in no trace" in told
