"""The edges of what importers take: heads of files, names, room, lines that are not understood."""

import gzip
import importlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import bytehound, heaptrack, heaptrack_names, mtrace, sums
from heapwright.trace.importers.heaptrack_names import Names
from heapwright.trace.importers.source import Source, in_memory, open_source, plain
from heapwright.trace.stacks import NODES
from text_recordings import FORMATS, imported, told


def block(first=1, length=99, token=0xEF, header=0x5000, kind=0):
    """The head of a recording of bytehound."""
    more = b"\x05" if token >= 0xF0 else b""
    words = [n.to_bytes(4, "little") for n in (length, header, kind)]
    return bytes([first]) + words[0] + bytes([token]) + more + words[1] + words[2] + b"\xff" * 9


@pytest.mark.parametrize(
    ("field", "taken", "refused"),
    [
        ("first", [1], [0, 2]),
        ("length", [1, 0x100, 614_400], [0, 614_401]),
        ("token", [0x80, 0xEF, 0xF0, 0xFF], [0x7F, 0]),
        ("header", [1, 614_399], [0, 614_400]),
        ("kind", [0], [1, 1 << 24]),
    ],
)
def test_bytehounds_first_block(field, taken, refused):
    for value in taken:
        assert bytehound.recognises(block(**{field: value}), None), value
    for value in refused:
        assert not bytehound.recognises(block(**{field: value}), None), value
    assert not bytehound.recognises(block()[:13], None)


def test_fields_of_a_profile():
    """Every field with its wire type, whatever their order; a sample type is among them."""
    sample = b"\x0a\x04\x08\x01\x10\x02"
    messages = {number << 3 | 2: b"\x01x" for number in (2, 3, 4, 5, 6, 11)}
    numbers = {number << 3: b"\xff\x01" for number in (7, 8, 9, 10, 12, 13, 14, 15)}
    fields = messages | numbers
    for tag, body in fields.items():
        assert sums._is_pprof(bytes([tag]) + body + sample), tag
        assert not sums._is_pprof(bytes([tag]) + body), tag
    for tag in set(range(256)) - set(fields) - {0x0A}:
        assert not sums._is_pprof(bytes([tag]) + b"\x01x" + sample), tag
    for body, sound in ((b"\x02\x08\x01", False), (b"\x81", True), (b"\xff" * 9 + b"\x01", True)):
        assert sums._is_pprof(sample + (b"\x0a" if not sound else b"\x38") + body) == sound
    assert not sums._is_pprof(b"\x12\x80" + sample)  # a head that ends within a length


@pytest.mark.parametrize(
    ("head", "at", "expected"),
    [
        (b"\x00", 0, (0, 1)),
        (b"\x7f\xff", 0, (127, 1)),
        (b"\x00\x80\x01", 1, (128, 3)),
        (b"\x81\x82\x03", 0, (1 + (2 << 7) + (3 << 14), 3)),
        (b"\xff" * 9 + b"\x01", 0, ((1 << 64) - 1, 10)),
        (b"\xff" * 10 + b"\x01", 0, (-1, 10)),
        (b"\xff\xff", 0, (-1, 2)),
        (b"", 0, (-1, 0)),
    ],
)
def test_numbers_of_protobuf(head, at, expected):
    assert sums._varint(head, at) == expected


def test_heads_of_sums_and_how_far_they_are_looked_at():
    elf = b"\x7fELF\x02{order}" + bytes(10)
    for order, kind in ((b"\x01", b"\x04\0"), (b"\x02", b"\0\x04"), (b"\x03", b"\x04\0")):
        head = elf.replace(b"{order}", order) + kind
        assert sums._is_elf((4,))(head) and not sums._is_elf((1, 2, 3))(head)
        assert not sums._is_elf((4,))(head[:17]) and not sums._is_elf((4,))(b"x" + head[1:])
        assert not sums._is_elf((4,))(head.replace(b"\x04", b"\x05"))
    for kind in range(1, 5):
        what = sums.recognised(elf.replace(b"{order}", b"\x01") + bytes([kind, 0])).what
        assert what == ("a core dump" if kind == 4 else "a program or a library")
    for protocol in range(7):
        pickle = bytes([0x80, protocol]) + bytes(187) + b"tracemalloc"
        assert sums._is_tracemalloc(pickle) == (2 <= protocol <= 5)
    later = b"\x80\x04" + bytes(188) + b"tracemalloc"
    for wrong in (later, b"\x81\x04tracemalloc", b"\x80\x04"):
        assert not sums._is_tracemalloc(wrong)
    line = b"[0.1s]" + b"x" * 110
    assert sums._is_gc_log(line + b"[gc]\n") and not sums._is_gc_log(line + b"x[gc]\n")
    assert not sums._is_gc_log(b"x" + line + b"[gc]")
    last = b"[2.1s][info][gc] GC(0) Pause Young\n"
    assert sums._is_gc_log(b"x\n" * 39 + last) and not sums._is_gc_log(b"x\n" * 40 + last)


def test_how_much_a_source_may_hold():
    assert in_memory(bytes(12)).most(6, 99) == 4 and in_memory(bytes(17)).most(6, 99) == 4
    assert in_memory(bytes(12)).most(6, 3) == 3
    packed = Source(Path("p"), io.BytesIO(pa.compress(bytes(99), "zstd", asbytes=True)), 9)
    assert packed.most(6, 99) == 99
    assert plain(b"\xef\xbb\xbf a\t b \r\n\n \nc  d") == b"a b\nc d"


def test_names_of_heaptrack(monkeypatch):
    monkeypatch.setattr(heaptrack_names, "NAMES_BYTES", 2 * (64 + len("s 2 ab")))
    names = Names()
    for _ in range(4):
        names.read(b"s 2 ab")
    assert (names._strings, names.left_out) == (["ab", "ab"], 2)
    for text, expected in (
        *((b"3 abc", ("abc", b"")), (b"3 abc rest", ("abc", b" rest")), (b"1 a", ("a", b""))),
        *((b"10 0123456789abcdef", ("0123456789abcdef", b"")), (b"4 abc", ("4 abc", b""))),
        *((b"2 abc", ("2 abc", b"")), (b"0 abc", ("0 abc", b"")), (b"abc", ("abc", b""))),
        (b"x abc", ("x abc", b"")),
    ):
        assert heaptrack_names._counted(text) == expected


def named(*lines, places):
    names = Names()
    for line in lines:
        names.read(line)
    return names.frames(places)


def test_frames_of_raw_recordings(monkeypatch):
    monkeypatch.setattr(heaptrack_names, "SEGMENTS", 3)
    mapped = [b"x 6 /bin/p", b"m 1 x 1000 0 800 2000 0 3000 9", b"m 4 /q/r 500 10 5"]
    places = [0x50F, 0x510, 0xFFF, 0x1000, 0x3FFF, 0x4000, 0x9000]
    expected = ["0x50f", "r+0x10", "r+0xaff", "p+0x0", "p+0x2fff", "p+0x3000", "p+0x8000"]
    assert named(*mapped, places=places) == expected
    between = [*mapped[:2], b"m 4 /q/s 2800 0 5"]
    assert named(*between, places=[0x3100, 0x4001]) == ["s+0x900", "p+0x3001"]
    beyond = b"m 2 /t 8000 0 5"  # a fourth segment, for which there is no room
    assert named(*mapped, beyond, places=[0x8000]) == ["p+0x7000"]
    assert named(*mapped, b"m 1 -", beyond, places=[0x510, 0x8000]) == ["0x510", "t+0x0"]
    long = b"m a0 /" + b"y" * 159 + b" 1000 0 5"
    assert named(long, places=[0x1000]) == ["y" * 159 + "+"]
    monkeypatch.setattr(heaptrack_names, "FRAMES_BYTES", 12)
    assert named(*mapped, places=[0x510, 0x1001, 0x1002, 0x1003]) == [
        "r+0x10",
        "p+0x1",
        "p+0x2",
        "?",
    ]


def test_frames_of_interpreted_recordings():
    strings = [b"s 9 /lib/l.so", b"s 2 fn", b"s 8 /a/b/c.c"]
    for entry, expected in (
        *((b"i", "unknown 0x0"), (b"i 5", "unknown 0x5"), (b"i 2f 1", "l.so 0x2f")),
        *((b"i 2f 4", "unknown 0x2f"), (b"i 2f 1 2", "fn"), (b"i 2f 1 2 3", "fn")),
        *((b"i 2f 1 2 3 c", "fn (b/c.c:12)"), (b"i 2f 1 0 3 c", "unknown (b/c.c:12)")),
        *((b"i 2f 1 2 3 c 1", "/lib/l.so\nfn (b/c.c:12)"), (b"i 2f 1 x", "unknown")),
        (b"i 2f 1 2 3 c 1 3 d", "/lib/l.so (b/c.c:13)\nfn (b/c.c:12)"),
    ):
        assert named(*strings, entry, places=[0, 1, 2]) == ["unknown", expected, "unknown"], entry
    assert named(b"s a2 " + b"z" * 162, b"i 1 0 1", places=[1]) == ["z" * 160]


HEAD = "v 10500 3\nx 6 /bin/p\nm 1 x 1000 0 800\nt 1020 0\nt 1040 1\nt 1080 5\n"
KINDS = "v 10400 3\nX ./p\nt 1 0\na a 1\na 14 ffffff\n"


def counted(trace, words):
    """The figure at the end of the one note that says `words`; 0 without one."""
    found = [note for note in trace.notes if words in note]
    return int(found[0].rpartition(": ")[2].replace(",", "")) if found else 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (HEAD + "- 2000000000000000\n\n", "line 7 is not understood"),
        (HEAD + "+ 5 1\n\n", "line 7 is not understood"),
        (HEAD + "- \n\n", "line 7 is not understood"),
        (HEAD + "t 5\n\n", "line 7 is not understood"),
        (KINDS + "+ 2\n\n", "line 6 names an object that"),
        (KINDS + "- 2\n\n", "line 6 names an object that"),
        (KINDS + "a 5 0\n", "line 6 names an object that"),
        (KINDS + "+ 0\n+ 0\n+ 1\n", "line 8 names an object that"),
    ],
)
def test_what_heaptrack_cannot_have_written(content, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(heaptrack, "KINDS", 3)
    monkeypatch.setattr(heaptrack, "OBJECTS", 3)
    with pytest.raises(HeapwrightError, match=sentence):
        imported(content, tmp_path)


def test_heaptrack_keeps_what_there_is_room_for(tmp_path, monkeypatch):
    trace = imported(KINDS + "+ 0\n+ 1\n- 0\n- 0\n", tmp_path)
    assert told(trace)[1:] == [("malloc", 1, 20, 0, 0), ("free", 0, 0, 0, 0)]
    assert trace.unmatched_frees == 1 and counted(trace, "found no room") == 0
    content = HEAD + "+ 1 3 10\n+ 2 4 20\n+ 3 0 30\n- 20\n"
    trace = imported(content, tmp_path)
    assert [row[:3] for row in told(trace)][2:] == [("malloc", 2, 3), ("free", 1, 0)]
    assert (trace.stack(2), counted(trace, "found no room")) == (["p+0x80"], 1)
    assert imported(content[:-1], tmp_path).frees == 1
    monkeypatch.setattr(heaptrack, "STACKS", 3)
    monkeypatch.setattr(heaptrack, "KEPT", 2)
    trace = imported(content + "+ 4 2 40\n", tmp_path)
    assert counted(trace, "stacks past the first") == 1 and counted(trace, "found no room") == 2
    assert trace.sites() == ["p+0x20", "p+0x40"]


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        ("+ a 1 10\n- 10\n+ 20 1 20\n", 1),  # one of two
        ("+ a 1 10\n+ a 1 30\n- 10\n+ 20 1 20\n", 0),  # one of three
        ("+ a 1 10\n- 10\n+ 20 1 20\n+ a 1 30\n+ a 1 40\n- 40\n+ 30 1 40\n", 1),  # two of five
        ("+ a 0 10\n- 10\n+ 20 0 20\n", 0),  # no stack
        ("+ a 4 10\n- 10\n+ 20 4 20\n", 0),  # of a stack that is not there
    ],
)
def test_heaptrack_guesses_where_half_of_a_stacks_allocations_follow_a_free(
    lines, joined, tmp_path
):
    trace = imported(HEAD + lines, tmp_path, guess_reallocs=True)
    assert trace.reallocations == joined
    apart = imported(HEAD + lines, tmp_path)
    assert (
        apart.reallocations == 0 and (apart.frees, trace.frees + joined) == (lines.count("-"),) * 2
    )


def test_callers_of_mtrace(tmp_path, monkeypatch):
    tail = "/a/long/path/of/a/library/that/two/folders/have.so:[0x1]"
    callers = ["/x" + tail, "/y" + tail, "z:[0x2]"]
    lines = "".join(f"@ {name} + {16 * n:#x} {n:#x}\n" for n, name in enumerate(callers * 2, 1))
    trace = imported("= Start\n" + lines, tmp_path)
    assert trace.sites() == callers and counted(trace, "past the first") == 0
    monkeypatch.setattr(mtrace, "CALLERS", 2)
    trace = imported("= Start\n" + lines, tmp_path)
    assert trace.sites() == callers[:2] and counted(trace, "past the first 2") == 2
    (batch,) = trace.batches(("op", "site"))
    assert batch.site.tolist() == [0, 1, -1, 0, 1, -1]
    monkeypatch.setattr(mtrace, "CALLERS", 99)
    trace = imported("= Start\n@a:[1] + 0x10 5\n+ 0x20 6\n@ " + "c" * 201 + " + 0x30 7\n", tmp_path)
    assert trace.sites() == ["a:[1]", "c" * 200]
    assert [row[:3] for row in told(trace)] == [("malloc", n, 5 + n) for n in range(3)]


BAD_LINES = {
    "7: malloc 0x10 5\n": (
        *("malloc 0x10 5", "7 malloc 0x10 5", "7: malloc x 5", "7: malloc 0x10", "7: free"),
        *("7: calloc 0x10 5", "7: memalign 0x10 8", "7: realloc 0x10", "7: realloc 0x20 0x10"),
        *("7: whirl 0x10 5 6", "-1: malloc 0x10 5"),
    ),
    "5 7 malloc(5)=0x10\n": (
        *("malloc(5)=0x10", "5 7 malloc 5=0x10", "5 7 malloc()=0x10", "5 7 calloc(5)=0x10"),
        *("5 7 reallocarray(0x10,5)=0x20", "5 7 memalign(8)=0x20", "-1 7 malloc(5)=0x10"),
    ),
    "1\n2\n3\n4\na 0 5\n": ("a", "a 1", "a x 5", "f", "r 0", "a -1 5", "z 0 5", "f x"),
    "@ p:[1] + 0x10 0x5\n": ("@ p:[1] + x 5", "@ p:[1] + 0x20", "@ p:[1] ? 0x10 0x5", "@ p:[1] -"),
}


@pytest.mark.parametrize("first", BAD_LINES)
def test_lines_that_are_not_understood_are_named(first, tmp_path):
    for bad in BAD_LINES[first]:
        number = first.count("\n") + 1
        with pytest.raises(HeapwrightError, match=f"line {number} is not understood: '"):
            imported(first + bad + "\n" + first, tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "0: malloc 0x10 0\n0: calloc 0x20 0 0\n0: memalign 0x30 0 0\n0: realloc 0x0 0x0 0\n",
            [("malloc", 0), ("calloc", 1), ("memalign", 2), ("malloc", -1)],
        ),
        (
            "0 0 malloc(0)=0x10\n0 0 calloc(0,0)=0x20\n0 0 memalign(0,0)=0x30\n"
            "0 0 realloc(0,0)=0x0\n0 0 reallocarray(0x0,0,0)=0x50\n0 0 valloc(0)=0x40\n",
            [("malloc", 0), ("calloc", 1), ("memalign", 2), ("malloc", -1), ("malloc", 3),
             ("memalign", 4)],
        ),
        (
            f"0\n0\n0\n0\na 0 0\na {(1 << 56) - 1} 0\nr 5 1\n",
            [("malloc", 0), ("malloc", 1), ("malloc", 2)],
        ),
    ],
)  # fmt: skip
def test_nothing_is_a_size_too(content, expected, tmp_path):
    trace = imported(content, tmp_path)
    assert [row[:2] for row in told(trace)] == expected
    assert counted(trace, "requests of 0 bytes") == len(expected) - content.count("r 5 1")


def test_what_a_rep_cannot_name(tmp_path):
    with pytest.raises(HeapwrightError, match="line 6 names an object that the header rules out"):
        imported(f"1\n1\n2\n1\na 0 5\na {1 << 56} 5\n", tmp_path)
    numbers = np.array([n for *_, n, _, _ in told(imported("1\n1\n2\n1\na 0 5\nf 0\n", tmp_path))])
    assert numbers.tolist() == [5, 0]


def line_of(bytes_, end="\n"):
    """A free by thread 202 on a line of so many bytes, its end left out."""
    return "202: free 0x" + "1".zfill(bytes_ - 12) + end


def test_the_longest_line(tmp_path):
    first = "202: malloc 0x10 5\n"
    for end in ("\n", ""):
        assert imported(first + line_of(1 << 16, end), tmp_path).unmatched_frees == 1
        shown = f"line 2 is longer than 65,536 bytes: '202: free 0x{'0' * 48}'; mend"
        with pytest.raises(HeapwrightError, match=shown):
            imported(first + line_of((1 << 16) + 1, end), tmp_path)
    packed = gzip.compress((first + line_of(1 << 16) * 2).encode())  # no more than the line itself
    assert len(packed) < 1 << 12 and imported(packed, tmp_path).unmatched_frees == 2
    with pytest.raises(HeapwrightError, match=f"line 2 is not understood: 'x{'y' * 59}'; mend"):
        imported(first + "x" + "y" * 90 + "\n", tmp_path)
    with pytest.raises(HeapwrightError, match="line 2 has an address"):
        imported(first + "202: free 0xffffffffffffffff", tmp_path)  # nor is that cut off


@pytest.mark.parametrize("name", FORMATS)
def test_shares_of_a_file_sum_to_one(name, tmp_path):
    shares = []
    imported(FORMATS[name][0], tmp_path, advance=shares.append)
    assert sum(shares) == pytest.approx(1) and min(shares) >= 0


def test_an_encrypted_archive_is_a_sentence_and_a_file_is_closed(tmp_path):
    with zipfile.ZipFile(tmp_path / "source", "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.txt", FORMATS["android"][0])
    content = bytearray((tmp_path / "source").read_bytes())
    assert told(imported(bytes(content), tmp_path)) == FORMATS["android"][1]
    at = content.rindex(b"PK\x01\x02")
    content[at + 8] |= 2  # an option of the compression
    assert told(imported(bytes(content), tmp_path)) == FORMATS["android"][1]
    content[at + 8] |= 1
    with pytest.raises(HeapwrightError, match="is encrypted: unpack it first"):
        imported(bytes(content), tmp_path)
    (tmp_path / "plain").write_bytes(b"x")
    with open_source(tmp_path / "plain") as source:
        pass
    assert source._raw.closed


ROOM = {  # what a recording, hostile ones too, may take at most; figures that no recording meets
    "heaptrack": {"STACKS": NODES + 1, "KINDS": 8_388_608, "OBJECTS": 67_108_864},
    "heaptrack_names": {"NAMES_BYTES": 67_108_864, "SEGMENTS": 16_384, "FRAMES_BYTES": 16_777_216},
    "lines": {"LINE_BYTES": 65_536},
    "ltrace": {"THREADS": 65_536},
    "mtrace": {"CALLERS": 65_536},
    "pickled": {"LEAST_BYTES": 1_073_741_824, "EXPANSION": 60},
    "ring_pages": {"LAYOUT_BYTES": 16_777_216},
    "snapshot_start": {"MOST_PIECES": 1_048_576, "LIMIT": 4_611_686_018_427_387_904},
    "source": {"EXPANDED_BYTES": 1_073_741_824, "EXPANSION": 1000},
    "tabular": {"COLUMNS_LIMIT": 1000, "GROUP_BYTES": 268_435_456, "SITES": 65_536},
    "text": {"THREAD_LIMIT": 1_048_576},
}


@pytest.mark.parametrize("name", ROOM)
def test_how_much_there_is_room_for(name):
    module = importlib.import_module(f"heapwright.trace.importers.{name}")
    assert {limit: getattr(module, limit) for limit in ROOM[name]} == ROOM[name]
