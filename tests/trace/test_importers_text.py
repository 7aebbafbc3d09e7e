"""Every text format, in small: what a recording says, and what becomes of it."""

import gzip
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file, source, text
from heapwright.trace.importers.source import Source
from peak_memory import PEAK_KIB
from text_recordings import (
    ANDROID,
    FORMATS,
    HEAPTRACK,
    HEAPTRACK_INTERPRETED,
    LTRACE,
    MTRACE,
    VALGRIND,
    imported,
    told,
)

BEYOND = "9" * 20  # a number that no field holds


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_becomes_these_events(name, tmp_path):
    content, expected, notes = FORMATS[name]
    trace = imported(content, tmp_path)
    assert told(trace) == expected
    for note in notes:
        assert any(note in stored for stored in trace.notes), trace.notes
    assert trace.kind == "imported"
    assert (trace.program != "source") == name.startswith(("heaptrack", "valgrind"))
    assert all((batch.site >= -1).all() for batch in trace.batches(("op", "site")))
    assert (trace.stack_nodes == 0) == ("heaptrack" not in name)


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


def test_a_zip_of_several_files_is_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.txt", ANDROID)
        archive.writestr("two.txt", ANDROID)
    with pytest.raises(HeapwrightError, match="holds 2 files: unpack it"):
        imported((tmp_path / "a.zip").read_bytes(), tmp_path)


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
    trace = imported(HEAPTRACK_INTERPRETED, tmp_path)
    assert trace.sites() == ["main (src/p.c:12)"] and trace.program == "./p 1"
    assert imported(FORMATS["table"][0], tmp_path).sites() == ["main", "grow"]
    assert imported(VALGRIND, tmp_path).program == "./p --fast"


def stacks_of(trace):
    """The stack of each event."""
    (batch,) = trace.batches(("op", "site"))
    return [trace.stack(site) for site in batch.site.tolist()]


def test_heaptracks_stacks_are_kept_whole(tmp_path):
    inner, other = ["p+0x20", "p+0x40"], ["p+0x20", "p+0x80"]
    trace = imported(HEAPTRACK, tmp_path)
    assert stacks_of(trace) == [inner, inner, [], other, [], inner, []]
    assert trace.sites()[1:] == ["p+0x40", "p+0x80"]
    inlined = HEAPTRACK_INTERPRETED.replace("i 1020 1 2 3 c", "i 1020 1 2 3 c 1 3 e").replace(
        "t 1 0", "i 9 1 1\nt 2 0\nt 1 1"
    )
    trace = imported(inlined.replace("a a 1", "a a 2").replace("a 14 1", "a 14 2"), tmp_path)
    assert stacks_of(trace)[0] == ["/bin/p", "/bin/p (src/p.c:14)", "main (src/p.c:12)"]


EXPORTED_BY_BYTEHOUND = """\
v 10100 2
X /opt/app
s libapp.so
s parse
s src/parse.c
i 7f0000001020 1 2 3 c
t 1 0
i 7f0000002040 1
t 2 1
a 48 2
+ 0
c 5
- 0
"""


def test_a_recording_of_bytehound_is_imported_by_way_of_heaptracks_format(tmp_path):
    trace = imported(EXPORTED_BY_BYTEHOUND, tmp_path)
    assert [row[0] for row in told(trace)] == ["malloc", "free"]
    assert stacks_of(trace)[0] == ["parse (src/parse.c:12)", "libapp.so 0x7f0000002040"]
    header = (120).to_bytes(4, "little") + bytes(4) + os.urandom(60)
    block = bytes([0xF0, len(header) - 15]) + header
    own = b"\x01" + len(block).to_bytes(4, "little") + block
    with pytest.raises(HeapwrightError, match="export-heaptrack -o source"):
        imported(own, tmp_path)


def test_a_stack_deeper_than_a_traces_is_cut_and_told(tmp_path):
    deep = "".join(f"t 1020 {row:x}\n" for row in range(3, 3000))
    trace = imported(HEAPTRACK + deep + "+ 5 bb0 8000\n", tmp_path)
    assert len(stacks_of(trace)[-1]) <= 1024
    assert any("deeper than 1,024 frames, cut: 2" in note for note in trace.notes)


def test_393_threads_by_the_order_of_their_events(tmp_path):
    lines = "".join(f"{9999 - i}: malloc {16 * i:#x} 1\n" for i in range(1, 394))
    trace = imported("7: free 0x9990\n8: free 0x9990\n" + lines, tmp_path)
    assert trace.threads == 393 and trace.unmatched_frees == 2
    assert [row[4] for row in told(trace)] == list(range(393))


def test_as_many_threads_as_can_be_told_apart(monkeypatch, tmp_path):
    """The table grows in twos, so that half of what it begins with may be the limit."""
    monkeypatch.setattr(text, "THREAD_LIMIT", text.FIRST_THREADS // 2)
    lines = [f"{i}: malloc {i * 16:#x} 9\n" for i in range(1, text.FIRST_THREADS // 2 + 2)]
    assert imported("".join(lines[:-1]), tmp_path).threads == text.FIRST_THREADS // 2
    with pytest.raises(HeapwrightError, match=r"line 129 is of one more than .*: '129: malloc"):
        imported("".join(lines), tmp_path)


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
        (ANDROID + f"{BEYOND}: malloc 0x10 5\n", "line 9 is not understood"),
        (f"1 2 malloc(3)=#1\n{BEYOND} 2 malloc(3)=#2\n", "line 2 is not understood"),
        (f"1 2 malloc(3)=#1\n1 {BEYOND} malloc(3)=#2\n", "line 2 is not understood"),
        ("1 2 malloc(3)=#1\nmalloc(3)=#2\n", "line 2 is not understood"),
        (HEAPTRACK + "+ 5 zz\n\n", "line 17 is not understood"),
        (HEAPTRACK_INTERPRETED + "- 7\n\n", "line 15 names an object that"),
        ("op,object,size\nmalloc,1,5\nmalloc,x,5\n", "source: after row 0"),
        ("op,object,size\nmalloc,1,5\nwhirl,2,5\n", "row 2: 'whirl' is no operation"),
        ("op,object,size\nmalloc,1,5\n,2,5\n", r"'' is no operation|missing or unknown"),
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


def test_what_expands_without_end_is_refused(monkeypatch):
    """A file may expand a thousand times, and a small one to 1 GiB, but not by a byte more."""
    packed = gzip.compress(bytes(5000))

    def read(size, content=packed):
        return len(Source(Path("p.gz"), io.BytesIO(content), size).peek(5000))

    assert source.EXPANDED_BYTES == 1 << 30 and read(1) == 5000
    monkeypatch.setattr(source, "EXPANDED_BYTES", 4999)
    assert read(5) == 5000 and read(1, bytes(5000)) == 5000
    with pytest.raises(HeapwrightError, match=r"p\.gz expands to more than 1,000 times its size"):
        read(4)
    monkeypatch.setattr(source, "EXPANDED_BYTES", 5000)
    assert read(1) == 5000


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
        f"{PEAK_KIB}import sys\n"
        "from pathlib import Path\n"
        "from heapwright.trace.importers import import_file\n"
        "before, after, out = (Path(arg) for arg in sys.argv[1:])\n"
        "import_file(before, out)\n"
        "start = peak_kib()\n"
        "import_file(after, out)\n"
        "print(peak_kib() - start)\n"
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


def test_a_parquet_without_an_operation_is_one_sentence(tmp_path):
    columns = {"op": ["malloc", None], "object": [1, 2], "size": [5, 5]}
    pq.write_table(pa.table(columns), tmp_path / "source")
    with pytest.raises(HeapwrightError, match="an operation is missing or unknown"):
        import_file(tmp_path / "source", tmp_path / "out.parquet")


def test_a_table_of_more_sites_than_there_is_room_for_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("heapwright.trace.importers.tabular.SITES", 2)
    rows = "".join(f"malloc,{n},5,{site}\n" for n, site in enumerate("aabcb", 1))
    trace = imported("op,object,size,site\n" + rows, tmp_path)
    assert trace.sites() == ["a", "b"]
    assert [note.rpartition(": ")[2] for note in trace.notes if "past the first 2" in note] == ["1"]


def test_what_mtrace_announced_to_move_is_moved_once(tmp_path):
    """`<` says what moves, the next line where to; a line after that is about something else."""
    moved = "@ p:[0x1] < 0x10\n@ p:[0x1] > 0x20 0x40\n@ p:[0x1] + 0x30 0x8\n"
    trace = imported("= Start\n@ p:[0x1] + 0x10 0x8\n" + moved + "= End\n", tmp_path)
    assert (trace.allocations, trace.reallocations, trace.frees) == (2, 1, 0)
    assert trace.unmatched_frees == 0
    assert not any("whose new place is not told" in note for note in trace.notes)
