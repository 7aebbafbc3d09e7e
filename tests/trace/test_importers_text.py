"""Every text format, in small: what a recording says, and what becomes of it."""

import gzip
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from heapwright.errors import HeapwrightError
from heapwright.kernel import INTERPRETED
from heapwright.trace.importers import import_file
from heapwright.trace.schema import OPERATIONS
from heapwright.trace.store import Trace


def imported(content, tmp_path, **options):
    source, output = tmp_path / "source", tmp_path / "out.parquet"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    import_file(source, output, **options)
    return Trace.open(output)


def told(trace):
    """The events as (operation, slot, size, align log2, thread)."""
    found = []
    for batch in trace.batches():
        nothing = np.zeros(len(batch.op), np.int64)
        columns = [batch.op, batch.slot, batch.size]
        columns += [c if len(c) else nothing for c in (batch.align, batch.thread)]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        found += [(OPERATIONS[op], *rest) for op, *rest in rows]
    return found


ANDROID = """\
202: malloc 0xb4827400 1024
303: memalign 0xb4827800 16 104
202: realloc 0xb4830000 0xb4827400 2048
303: calloc 0xb4840000 32 8 1000 2000
303: free 0xb4840000
303: thread_done 0x0
303: free 0xb4827800
202: free 0x0
"""
LTRACE = """\
12 t->malloc(10 <unfinished ...>
13 t->calloc(3, 7 <unfinished ...>
13 libc.so.6->malloc(21)                         = 0x2000
12 <... malloc resumed> )                        = 0x1000
13 <... calloc resumed> )                        = 0x2000
12 t->free(0x1000 <unfinished ...>
13 t->malloc(11)                                 = 0x1000
12 <... free resumed> )                          = <void>
13 t->realloc(0x1000, 500)                       = 0x3000
13 t->memalign(64, 100, 0x7fdf9e021c60, 309)     = 0x4000
13 t->posix_memalign(0x7ffdb411f3e0, 128, 40, 5) = 0
13 t->realloc(0x3000, 0)                         = 0
13 +++ exited (status 0) +++
"""
VALGRIND = """\
==98== Memcheck, a memory error detector
==98== Copyright (C) 2002-2022, and GNU GPL'd, by Julian Seward et al.
==98== Command: ./p --fast
--98-- malloc(10) = 0x4A40040
--98-- _Znwm(72) = 0x4A40090
==98== Invalid read of size 4
--98-- realloc(0x4A40040,5000) = 0x4A400F0
--98-- _ZnwmSt11align_val_t(size 40, al 64) = 0x4A41680
--98-- memalign(al 128, size 40) = 0x4A41700
--98-- realloc(0x4A400F0,0)free(0x4A400F0)
--98--  = 0
--98-- _ZdlPvm(0x4A40090)
--98-- malloc(4611686018427387904) = 0x0
--98-- free(0x0)
"""
MTRACE = """\
= Start
@ ./p:(main+0x1d)[0x11bb] + 0x1000 0xa
@ ./p:[0x11e3] < 0x1000
@ ./p:[0x11e3] > 0x2000 0x1388
@ ./p:[0x131d] ! 0x2000 0x2000000000000000
@ ./p:[0x11bb] + (nil) 0x4000000000000000
@ /a path/lib x.so:[0x9] + 0x3000 0
- 0x2000
= End
"""
HEAPTRACK = """\
v 10400 3
x 6 /bin/p
X ./p 1
m 1 x 1000 0 800 1000 331
t 1020 0
t 1040 1
t 1080 1
+ a 2 5000
+ 20 2 6000
- 5000
+ 1388 3 7000
c 10
- 6000
+ 1f 2 6000
- 7000
R 39e
"""
HEAPTRACK_INTERPRETED = """\
v 10400 3
X ./p 1
s 6 /bin/p
s 4 main
s 8 /src/p.c
i 1020 1 2 3 c
t 1 0
a a 1
a 14 1
+ 0
+ 0
+ 1
- 0
- 1
"""
FORMATS = {
    "android": (
        ANDROID,
        [
            ("malloc", 0, 1024, 0, 0),
            ("memalign", 1, 104, 4, 1),
            ("realloc", 0, 2048, 0, 0),
            ("calloc", 2, 256, 0, 1),
            ("free", 2, 0, 0, 1),
            ("thread_exit", -1, 0, 0, 1),
            ("free", 1, 0, 0, 2),  # the id came back: another thread
        ],
        ["frees of NULL, left out: 1"],
    ),
    "csapp": (
        "20000\n2\n7\n1\na 0 512\na 1 128\nr 0 640\nf 0\na 1 7\nr 1 0\nf -1\n",
        [
            ("malloc", 0, 512, 0, 0),
            ("malloc", 1, 128, 0, 0),
            ("realloc", 0, 640, 0, 0),
            ("free", 0, 0, 0, 0),
            ("malloc", 0, 7, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        ["objects that lost their name to another and are never freed: 1"],
    ),
    "ltrace": (
        LTRACE,
        [
            ("malloc", 0, 10, 0, 0),
            ("calloc", 1, 21, 0, 1),
            ("free", 0, 0, 0, 0),
            ("malloc", 0, 11, 0, 1),
            ("realloc", 0, 500, 0, 1),
            ("memalign", 2, 100, 6, 1),
            ("free", 0, 0, 0, 1),
        ],
        ["calls whose result is not told, left out: 1"],
    ),
    "valgrind": (
        VALGRIND,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 72, 0, 0),
            ("realloc", 0, 5000, 0, 0),
            ("memalign", 2, 40, 6, 0),
            ("memalign", 3, 40, 7, 0),
            ("free", 0, 0, 0, 0),
            ("free", 1, 0, 0, 0),
            ("malloc", -1, (1 << 48) - 1, 0, 0),
        ],
        ["requests beyond any address space, which stand as refused: 1"],
    ),
    "logalloc": (
        "5 9 malloc(32)=0x10\n5 9 calloc(2,8)=0x20\n6 9 malloc(1)=0x10\n"
        "5 8 posix_memalign(256,240)=0x30\n5 8 jemalloc_stats()\n5 8 realloc(0x10,64)=0x40\n"
        "5 9 free(0x20)\n",
        [
            ("malloc", 0, 32, 0, 0),
            ("calloc", 1, 16, 0, 0),
            ("memalign", 2, 240, 8, 1),
            ("realloc", 0, 64, 0, 1),
            ("free", 1, 0, 0, 0),
        ],
        ["lines of other processes than the first, left out: 1"],
    ),
    "munged logalloc": (
        "1 1 malloc(32)=#1\n1 1 realloc(#1,64)=#1\n1 1 free(#1)\n1 1 free(#0)\n",
        [("malloc", 0, 32, 0, 0), ("realloc", 0, 64, 0, 0), ("free", 0, 0, 0, 0)],
        ["frees of NULL, left out: 1"],
    ),
    "mtrace": (
        MTRACE,
        [
            ("malloc", 0, 10, 0, 0),
            ("realloc", 0, 5000, 0, 0),
            ("malloc", -1, (1 << 48) - 1, 0, 0),
            ("malloc", 1, 0, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        ["refused reallocs, left out: their blocks stay as they were: 1"],
    ),
    "heaptrack": (
        HEAPTRACK,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 32, 0, 0),
            ("realloc", 0, 5000, 0, 0),
            ("free", 1, 0, 0, 0),  # this stack mostly allocates without a free before
            ("malloc", 1, 31, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        ["nor threads, nor requests that were refused"],
    ),
    "heaptrack, interpreted": (
        HEAPTRACK_INTERPRETED,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 10, 0, 0),
            ("malloc", 2, 20, 0, 0),
            ("free", 1, 0, 0, 0),  # the last one made of its kind
            ("free", 2, 0, 0, 0),
        ],
        ["of several live blocks of one size and stack the last one"],
    ),
    "table": (
        "op,object,old,size,align,thread,site\nmalloc,0x10,,5,,7,main\nnew,0x20,,6,64,7,\n"
        "realloc,0x30,0x10,9,,8,grow\nfree,0x20,,,,7,\nfree,0x20,,,,7,\nmemalign,(nil),,8,64,8,\n",
        [
            ("malloc", 0, 5, 0, 0),
            ("malloc", 1, 6, 0, 0),
            ("realloc", 0, 9, 0, 1),
            ("free", 1, 0, 0, 0),
            ("memalign", -1, 8, 6, 1),
        ],
        ["blocks that were not live, freed twice or allocated before the recording began: 1"],
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_becomes_these_events(name, tmp_path):
    content, expected, notes = FORMATS[name]
    trace = imported(content, tmp_path)
    assert told(trace) == expected
    for note in notes:
        assert any(note in stored for stored in trace.notes), trace.notes
    assert trace.kind == "imported"


@pytest.mark.parametrize("name", FORMATS)
def test_lines_of_windows_and_a_missing_last_newline(name, tmp_path):
    content, expected, _ = FORMATS[name]
    trace = imported(content.replace("\n", "\r\n")[:-2], tmp_path)
    assert told(trace) == expected


@pytest.mark.parametrize("pack", ["gzip", "zstd", "zip"])
def test_packed_recordings(pack, tmp_path):
    if pack == "gzip":
        content = gzip.compress(ANDROID.encode())
    elif pack == "zstd":
        content = pa.compress(ANDROID.encode(), "zstd", asbytes=True)
    else:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("trace.txt", ANDROID)
        content = (tmp_path / "a.zip").read_bytes()
    assert told(imported(content, tmp_path)) == FORMATS["android"][1]


def test_a_packed_recording_that_breaks_off_yields_what_it_holds(tmp_path):
    lines = "".join(f"1: malloc {16 * i:#x} {i}\n" for i in range(1, 40_000))
    content = gzip.compress(lines.encode())
    trace = imported(content[: len(content) // 2], tmp_path)
    assert 1000 < trace.events < 39_999
    assert any("breaks off" in note for note in trace.notes)


def test_a_cut_last_line_is_left_out_and_told(tmp_path):
    trace = imported(ANDROID + "202: malloc 0xb48", tmp_path)
    assert told(trace) == FORMATS["android"][1]
    assert any("the last line is cut off" in note and "0xb48" in note for note in trace.notes)


def test_call_sites_keep_their_names(tmp_path):
    assert imported(MTRACE, tmp_path).sites() == [
        "./p:(main+0x1d)[0x11bb]", "./p:[0x11e3]", "./p:[0x131d]", "./p:[0x11bb]",
        "/a path/lib x.so:[0x9]",
    ]  # fmt: skip
    assert imported(HEAPTRACK, tmp_path).sites() == ["p+0x40 < p+0x20", "p+0x80 < p+0x20"]
    trace = imported(HEAPTRACK_INTERPRETED, tmp_path)
    assert trace.sites() == ["main (src/p.c:12)"] and trace.program == "./p 1"
    assert imported(FORMATS["table"][0], tmp_path).sites() == ["main", "grow"]
    assert imported(VALGRIND, tmp_path).program == "./p --fast"


def test_393_threads_by_the_order_of_their_events(tmp_path):
    lines = "".join(f"{9999 - i}: malloc {16 * i:#x} 1\n" for i in range(1, 394))
    trace = imported("7: free 0x9990\n8: free 0x9990\n" + lines, tmp_path)
    assert trace.threads == 393 and trace.unmatched_frees == 2
    assert [row[4] for row in told(trace)] == list(range(393))


def test_records_and_threads_past_the_first_tables(tmp_path):
    count = 300_000  # records are made 131,072 at a time, threads begin with room for 128
    lines = "".join(f"{i % 5000}: malloc {16 * i:#x} {i}\n" for i in range(1, count))
    trace = imported(lines, tmp_path)
    sizes = np.concatenate([batch.size for batch in trace.batches(("op", "slot", "size"))])
    assert trace.threads == 5000 and np.array_equal(sizes, np.arange(1, count))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            ANDROID + "202: mallok 0x10 5\n202: free 0x10\n",
            "line 9 is not understood: '202: mallok",
        ),
        (ANDROID + "202: free 0xffffffffffffffff\n", "line 9 has an address that no process"),
        (ANDROID + "202: free " + "0" * 70_000 + "1\n", "line 9 is longer than 65,536 bytes"),
        ("1\n2\n3\n4\na 0 5\nx 0\n", "line 6 is not understood: 'x 0'"),
        ("1\n2\n3\n4\na 0 5\na 99999999999999999999 5\na 1 1\n", "line 6 is not understood"),
        (MTRACE + "@ p:[0x1] + 0x55\n= End\n", "line 10 is not understood"),
        (HEAPTRACK + "+ 5 zz\n\n", "line 17 is not understood"),
        (HEAPTRACK_INTERPRETED + "- 7\n\n", "line 15 names an object that"),
        ("op,object,size\nmalloc,1,5\nmalloc,x,5\n", "source: after row 0"),
        ("op,object,size\nmalloc,1,5\nwhirl,2,5\n", "row 2: 'whirl' is no operation"),
        ("op,object,size\nmalloc,1,-5\n", "row 1: it is not understood"),
        ("op,size\nmalloc,1\n", "no format that can be imported"),
        ("1: free 0x10\n", "holds no allocation"),
        (b"PK\x03\x04 nothing of a zip", "is damaged after byte 0"),
        (b"\x28\xb5\x2f\xfd nothing of zstd", "is damaged after byte 0"),
        (b"PAR1 nothing of Parquet", "after row 0"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(content, sentence, tmp_path):
    with pytest.raises(HeapwrightError, match=sentence) as caught:
        imported(content, tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_expands_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("heapwright.trace.importers.source.EXPANDED_BYTES", 1 << 20)
    content = gzip.compress(b"1: malloc 0x10 1\n" + b"\n" * (1 << 25))
    with pytest.raises(HeapwrightError, match="expands to more than 1,000 times its size"):
        imported(content, tmp_path)


def test_columns_are_mapped(tmp_path):
    content = "kind,addr,bytes\nalloc,0x10,5\ndelete,0x10,\n"
    columns = {"op": "kind", "object": "addr", "size": "bytes"}
    trace = imported(content, tmp_path, columns=columns)
    assert told(trace) == [("malloc", 0, 5, 0, 0), ("free", 0, 0, 0, 0)]
    with pytest.raises(HeapwrightError, match="has no column 'weight'"):
        imported(content, tmp_path, columns={**columns, "size": "weight"})
    with pytest.raises(HeapwrightError, match="no column for size: name it with --map size=COLUMN"):
        imported(content, tmp_path, columns={"op": "kind", "object": "addr"})


HOSTILE = {
    "segments": HEAPTRACK + ("m 1 x 1000 " + "0 1 " * 10_000 + "\n") * 40 + "+ a 2 5000\n",
    "frames": HEAPTRACK_INTERPRETED
    + ("i 1020 " + "1 " * 20_000 + "\n") * 200
    + "t 2 0\na 5 2\n+ 2\n",
    "stacks": HEAPTRACK + "t 1020 2\n" * 500_000,
    "kinds": HEAPTRACK_INTERPRETED + "a a 1\n" * 500_000,
    "callers": MTRACE + "".join(f"@ p:[{i}] - 0x10\n" for i in range(200_000)),
    "threads": ANDROID + "".join(f"{i}: free 0x10\n" for i in range(300_000)),
    "one process after another": "".join(f"{i} {i} malloc(5)=#1\n" for i in range(300_000)),
    "unfinished": LTRACE + "".join(f"{i} t->malloc(5 <unfinished ...>\n" for i in range(60_000)),
    "kept names": HEAPTRACK + "s 3 abc\n" * 500_000,
}


@pytest.mark.skipif(INTERPRETED, reason="too long to read step by step")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_recording_costs_bounded_memory(name, tmp_path):
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from heapwright.trace.importers import import_file\n"
        "before, after, out = (Path(arg) for arg in sys.argv[1:])\n"
        "import_file(before, out)\n"
        "start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "import_file(after, out)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)\n"
    )
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("".join(HOSTILE[name].splitlines(True)[:16]))
    large.write_text(HOSTILE[name])
    done = subprocess.run(
        [sys.executable, "-c", code, small, large, tmp_path / "out.parquet"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert int(done.stdout) * 1024 < 200_000_000
