"""memray's importer, figure by figure: records as its reader gives them, made by hand."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("memray")

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import memray as importer
from heapwright.trace.importers.memray import F_FREE, F_MALLOC, F_MEMALIGN, F_REALLOC, MMAP
from heapwright.trace.importers.memray_domains import MAPPINGS, OF_PYTHON, POOLED_BYTES, SHIFT
from heapwright.trace.schema import SIZE_LIMIT

OUTER, INNER = ("<module>", "/app/run.py", 1), ("grow", "/x/app/run.py", 12)


def record(allocator=F_MALLOC, address=16, size=1, tid=5, stack_id=7, native=0):
    def stack():
        return [INNER, OUTER]

    names = {"tid": tid, "stack_id": stack_id, "native_stack_id": native}
    return SimpleNamespace(
        allocator=allocator, address=address, size=size, stack_trace=stack,
        hybrid_stack_trace=lambda: [("malloc", "", 0), *stack()], **names,
    )  # fmt: skip


def batches(tmp_path, *records, native=False):
    """(source, its batches)"""
    reader = SimpleNamespace(get_allocation_records=lambda: iter(records))
    source = importer._Source(tmp_path / "c.bin", reader, native)
    return source, list(source.batches())


def test_no_batch_ends_with_a_free_but_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(importer, "BATCH_RECORDS", 3)
    monkeypatch.setattr(importer, "GROUP_RECORDS", 1)
    made = [record(F_FREE if each == "-" else F_MALLOC) for each in "+++++-+-"]
    _, found = batches(tmp_path, *made)
    assert [len(batch["size"]) for batch in found] == [3, 4, 1]


def test_columns_threads_and_call_sites(tmp_path):
    made = [
        *(record(tid=9, size=3, address=32), record(tid=8, stack_id=1), record(F_FREE, tid=9)),
        *(record(MMAP, stack_id=3), record(stack_id=0), record(stack_id=7)),
    ]
    source, (batch,) = batches(tmp_path, *made)
    assert batch["thread"].tolist() == [0, 1, 0, 2, 2, 2]
    assert batch["site"].tolist() == [1, 1, -1, -1, -1, 1]
    assert batch["size"].tolist() == [3, *[1] * 5] and batch["address"][0] == 32
    assert source.tree.frames == ["<module> (app/run.py:1)", "grow (app/run.py:12)"]
    source, (batch,) = batches(tmp_path, record(native=1), record(native=2), native=True)
    assert batch["site"].tolist() == [2, 2] and source.tree.frames[2] == "malloc"


@pytest.mark.parametrize(
    ("field", "last", "first", "words"),
    [
        ("allocator", 254, 255, "an unknown operation"),
        ("allocator", 0, -1, "an unknown operation"),
        ("address", (1 << 62) - 1, 1 << 62, "an address out of range"),
        ("address", 0, -1, "an address out of range"),
        ("size", SIZE_LIMIT - 1, SIZE_LIMIT, "a size out of range"),
        ("size", 0, -1, "a size out of range"),
        ("size", 0, 1 << 63, r"a number beyond 2\^63"),
    ],
)
def test_the_edges_of_a_record(field, last, first, words, tmp_path, monkeypatch):
    assert len(batches(tmp_path, record(**{field: last}))[1]) == 1
    monkeypatch.setattr(importer, "GROUP_RECORDS", 1)
    for before in range(2):
        made = [*[record()] * before, record(**{field: first})]
        with pytest.raises(HeapwrightError, match=f"{words} after record {before}; copy"):
            batches(tmp_path, *made)


def test_a_mapping_may_have_any_size(tmp_path):
    assert len(batches(tmp_path, record(MMAP, size=SIZE_LIMIT))[1]) == 1


def test_so_many_threads_and_no_more(tmp_path, monkeypatch):
    assert importer.THREAD_LIMIT == 1 << 20 and 1 << SHIFT > importer.THREAD_LIMIT
    assert (OF_PYTHON, POOLED_BYTES) == (importer.PYMALLOC_REALLOC, 512)
    assert MAPPINGS == 112 << 40
    monkeypatch.setattr(importer, "THREAD_LIMIT", 2)
    assert batches(tmp_path, record(tid=1), record(tid=2))[1][0]["thread"].tolist() == [0, 1]
    with pytest.raises(HeapwrightError, match="more than 2 threads"):
        batches(tmp_path, *(record(tid=tid) for tid in range(3)))


def test_what_is_left_out_and_assumed_is_counted():
    rows = [
        *((MMAP, 3), (MMAP, 4), *[(importer.MUNMAP, 1)] * 3),
        *((importer.POSIX_MEMALIGN, 1), (importer.ALIGNED_ALLOC, 1), *[(F_MEMALIGN, 1)] * 2),
        *((importer.VALLOC, 1), (importer.PVALLOC, 1), (F_REALLOC, 1)),
        *((F_FREE, 0), (F_REALLOC, 1), (F_FREE, 0), (importer.PYMALLOC_REALLOC, 1)),
        *((importer.PYMALLOC_FREE, 0), (importer.PYMALLOC_REALLOC, 1)),
    ]
    allocator, size = np.array(rows, np.int64).T
    batch = {"allocator": allocator, "size": size, "address": np.arange(len(rows)) * 0}
    batch |= {"thread": np.zeros(len(rows), np.int32), "site": np.zeros(len(rows), np.int32)}
    for joining, apart in ((True, 0), (False, 2)):
        skipped = np.zeros(importer.SKIPPED, np.int64)
        records = importer._paired(batch, skipped, joining=joining)
        assert skipped.tolist() == [2, 7, 4, 3, apart, 2]
        assert len(records.op) == len(rows) - 5 - (2 - apart)


def test_alignments_by_kind_and_address():
    kinds = np.array([F_MEMALIGN] * 4 + [importer.PVALLOC, importer.VALLOC, F_MALLOC])
    addresses = np.array([0, 0x1001, 0x1002, 0x1080, 0x1010, 0x1010, 0x1010])
    assert importer._alignments(kinds, addresses).tolist() == [0, 0, 1, 6, 12, 12, 0]


HEADER = b"memray\0" + (13).to_bytes(4, "little") + bytes(range(1, 7)) + bytes(range(8, 0, -1))


@pytest.mark.parametrize(
    ("content", "promised"),
    [
        (HEADER + b"\xff" * 9, 0x0102030405060708),
        (pa.compress(HEADER + b"\xff" * 90, "lz4", asbytes=True), 0x0102030405060708),
        (HEADER.replace(b"\x0d", b"\x0c"), None),
        (b"", None),
        (importer.LZ4_MAGIC + b"x", None),
    ],
)
def test_how_many_records_a_header_promises(content, promised, tmp_path):
    (tmp_path / "c.bin").write_bytes(content)
    assert importer._promised_records(tmp_path / "c.bin") == promised
    assert importer._promised_records(tmp_path / "nowhere") is None


def test_a_capture_is_known_by_its_magic():
    for head in (HEADER, importer.LZ4_MAGIC + bytes(53) + b"memray\0"):
        assert importer.recognises(head, None)
    for head in (importer.LZ4_MAGIC + bytes(54) + b"memray\0", b"x" + HEADER):
        assert not importer.recognises(head, None)


def test_frames_and_programs():
    assert importer._frame("f", "/x/a/b.py", 3) == "f (a/b.py:3)"
    assert importer._frame("f", "b.py", 3) == "f (b.py:3)" and importer._frame("f", "", 3) == "f"
    for typed, told in (
        ("/x/bin/memray run a.py", "memray run a.py"),
        ("python -m memray", "python -m memray"),
        ("/x/memray", "memray"),
    ):
        assert importer._program(typed) == told


def told_of(skipped=(0,) * 6, joined=0, parted=0, missed=0, promised=5, **more):
    about = {"python_allocator": "pymalloc", "has_native_traces": False} | more
    about = SimpleNamespace(**({"trace_python_allocators": False} | about))
    matcher = SimpleNamespace(joined=joined, parted=parted, missed_frees=missed)
    first, *notes = importer._notes(about, np.array(skipped), matcher, promised)
    assert first.startswith("imported from memray, Python allocator pymalloc, ")
    return notes


def test_each_note_by_itself():
    assert told_of() == told_of(promised=None) == told_of(promised=1) == []
    for more, words in (
        ({"skipped": (11, 13, 0, 0, 0, 0)}, "11 mappings of 13 bytes made by the program"),
        ({"skipped": (0, 13, 17, 0, 0, 0)}, "the alignment of 17 requests was taken from"),
        ({"skipped": (0, 0, 0, 19, 0, 0)}, "19 unmappings by the program were left out"),
        ({"skipped": (0, 0, 0, 0, 23, 0)}, "memray splits a realloc in two: 23 stand as a free"),
        ({"skipped": (0, 0, 0, 0, 0, 29)}, "29 reallocs that no free precedes stand as mallocs"),
        ({"joined": 31}, "old block: 31 are taken to move the block that their thread freed"),
        ({"parted": 37}, "freed just before; 37, where that would have stayed, stand as"),
        ({"missed": 41}, "41 frees that memray did not see were put in"),
        ({"promised": 0}, "the program did not finish: the capture has no end"),
        ({"trace_python_allocators": True}, "nor the domain of a request to its own allocators"),
    ):
        (note,) = told_of(**more)
        assert words in note
