"""PyTorch's snapshots, figure by figure: what each event becomes, and the first that is refused."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import snapshot_start, torch_snapshot
from heapwright.trace.importers.snapshot_start import Piece, Segment, Start, number
from heapwright.trace.importers.torch_snapshot import Device, _frame, _parts, _Reader, device_of
from heapwright.trace.schema import FREE, MALLOC, SIZE_LIMIT, TRIM

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNTOLD = Device({}, [], 0, 0)


def happens(action, addr=None, size=None, **more):
    """An event of a history; without an address or a size where none is given."""
    told = {"action": action, "addr": addr, "size": size} | more
    return {key: value for key, value in told.items() if value is not None}


class Written(list):
    """Stands for a TraceWriter: the rows that were written."""

    def write(self, made):
        columns = (made.op, made.slot, made.size, made.thread, made.site, made.time_ns)
        self.extend(zip(*(c.tolist() for c in (*columns, made.address)), strict=True))


def read(events, pieces=(), told_bytes=0, reserved_bytes=0, lost=0):
    """(reader, rows op, slot, size, thread, site, time_ns, address) after a history."""
    rows = Written()
    device = Device({}, [], told_bytes, reserved_bytes)
    reader = _Reader(rows, Start(list(pieces), lost), device)
    reader.begin()
    for event in events:
        reader.event(event)
    reader.flush()
    return reader, list(rows)


def test_numbers_of_records():
    for value, most, expected in (
        *((0, 9, 0), (8, 9, 8), (9, 9, -1), (-1, 9, -1), (True, 9, -1), (1.0, 9, -1)),
        *(("1", 9, -1), (None, 9, -1), ((1 << 62) - 1, None, (1 << 62) - 1), (1 << 62, None, -1)),
    ):
        most_ = () if most is None else (most,)
        assert number({"n": value}, "n", *most_) == expected, value
    assert number({}, "n") == number([], "n") == number(None, "n") == -1


def test_what_each_event_becomes():
    inner, outer = {"name": "f", "filename": "a.py", "line": 3}, {"name": "m"}
    frames = [inner, outer]
    limit = (1 << 62) // 1000
    reader, rows = read(
        [
            happens("alloc", 1, 0, time_us=0, stream=9, frames=frames),
            happens("alloc", 4096, 700, time_us=7, stream=5, frames=frames),
            happens("free_completed", 1, 0, time_us=8, stream=9),
            happens("alloc", 4096, 800, time_us=9, stream=5, frames=[]),
            happens("oom", size=0, time_us=limit - 1, frames=[inner]),
            happens("oom", size=5, time_us=limit, frames=[inner]),
            happens("free_completed", 77, 1, stream=9),
            happens("free_requested", 4096, 800),
            *(happens("alloc", 0, 5), happens("alloc", 5), happens("alloc", 5, SIZE_LIMIT)),
            *(happens("free_completed", 0, 1), happens("oom"), happens("whirl", 5, 5)),
            *(happens(["alloc"], 5, 5), happens("alloc", 5, 5, stream="x"), 7),
        ]
    )
    assert reader.tree.frames == ["m", "f (a.py:3)"]
    late = (limit - 1) * 1000
    assert rows == [
        (MALLOC, 0, 0, 0, 1, 0, 1),
        (MALLOC, 1, 700, 1, 1, 7000, 4096),
        (FREE, 0, 0, 0, -1, 8000, 0),
        (FREE, 1, 0, 1, -1, 9000, 0),
        (MALLOC, 1, 800, 1, -1, 9000, 4096),
        (MALLOC, 0, 0, 2, 2, late, 0),
        (FREE, 0, 0, 2, -1, late, 0),
        (MALLOC, 0, 5, 2, 2, 0, 0),
        (FREE, 0, 0, 2, -1, 0, 0),
    ]
    assert reader.unmatched == 1
    assert [(text.partition(",")[0], n) for text, n in reader.notes()] == [
        ("Requests that ended out of memory are granted and freed at once: 2.", 2),
        ("Events of no known kind or with damaged figures", 9),
        ("Frees put in where another block came to the same place: 1.", 1),
    ]
    odd = [happens("alloc", 1, 1, time_us=50, frames=5), happens("alloc", 2, 2, time_us=20)]
    assert [row[4:6] for row in read(odd)[1]] == [(-1, 0), (-1, 0)]
    deep, _ = read([happens("alloc", 1, 1, frames=[{"name": str(n)} for n in range(201)])])
    assert deep.tree.frames == [str(n) for n in range(199, -1, -1)]


def test_the_start_is_asked_for_again():
    pieces = (Piece(16, 5, 3, live=False, passing=True), Piece(32, 6, 3, live=False))
    reader, rows = read([], [*pieces, Piece(48, 7, 4, live=True)], lost=2)
    assert rows == [
        *((MALLOC, 0, 5, 0, -1, 0, 16), (FREE, 0, 0, 0, -1, 0, 0), (MALLOC, 0, 6, 0, -1, 0, 32)),
        *((MALLOC, 1, 7, 1, -1, 0, 48), (FREE, 0, 0, 0, -1, 0, 0)),
    ]
    first, second = reader.notes()
    assert "begins with 1 blocks that were there before" in first[0] and first[1] == 1
    assert second == ("Blocks that overlap another one, left out: 2.", 2)


@pytest.mark.parametrize(
    ("events", "told", "reserved", "trims"),
    [
        ([happens("segment_free", 1, 10), happens("alloc", 1, 1)], 0, 0, 1),
        ([happens("segment_free", 1, 10), happens("snapshot")], 0, 80, 1),
        ([happens("segment_unmap", 1, 10), happens("free_requested", 1, 1)], 0, 80, 0),
        ([happens("segment_free", 1, 10), happens("free_completed", 1, 1)], 0, 80, 0),
        ([happens("segment_free", 1, 10), happens("oom", size=1)], 0, 80, 0),
        ([happens("segment_free", 1, 10), happens("segment_alloc", 1, 20)], 100, 80, 1),
        ([happens("segment_free", 1, 10), happens("segment_map", 1, 21)], 100, 80, 0),
        ([happens("segment_free", 1, 10), happens("segment_alloc", 1, 2)], 1, 0, 0),
        ([happens("segment_free", 1, 9)] * 2 + [happens("segment_map", 1, 20)], 100, 80, 1),
        ([happens("segment_free", 1, 9)] * 2 + [happens("segment_map", 1, 21)], 100, 80, 0),
    ],
)
def test_segments_that_go_back_are_an_emptied_cache_or_a_full_device(events, told, reserved, trims):
    reader, rows = read(events, told_bytes=told, reserved_bytes=reserved)
    assert [row for row in rows if row[0] == TRIM] == [(TRIM, -1, 0, 0, -1, 0, 0)] * trims
    emptied = [n for text, n in reader.notes() if "empty_cache" in text]
    assert emptied == [1] * trims


def test_what_is_reserved_is_followed():
    """Sizes that are not told count for nothing: at 80 of 100 bytes 20 fit, and 21 do not."""
    before = [happens("segment_free", 1), happens("alloc", 9, 1), happens("segment_map", 1)]
    before += [happens("segment_alloc", 1, 5), happens("segment_free", 1, 5), happens("snapshot")]
    for asked, trims in ((20, 3), (21, 2)):
        last = [happens("segment_free", 1, 1), happens("segment_alloc", 1, asked)]
        _, rows = read(before + last, told_bytes=100, reserved_bytes=80)
        assert sum(row[0] == TRIM for row in rows) == trims


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ({"name": "f", "filename": "a.py", "line": 3}, "f (a.py:3)"),
        ({"name": "", "filename": "a.py", "line": 3}, "? (a.py:3)"),
        ({"name": 5, "filename": "a.py", "line": 3}, "? (a.py:3)"),
        ({"name": "f", "filename": "", "line": 3}, "f"),
        ({"name": "f", "filename": 5, "line": 3}, "f"),
        ({"name": "f", "filename": "a.py", "line": "3"}, "f"),
        ({"name": "f", "filename": "a.py", "line": True}, "f"),
        ({"name": "f", "filename": "a.py", "line": (1 << 31) - 1}, "f (a.py:2147483647)"),
        ({"name": "f", "filename": "a.py", "line": (1 << 31) + 5}, "f (a.py:5)"),
        ({"name": "f\n\x1b[1m", "filename": "\t", "line": 1}, "f??[1m (?:1)"),
        (
            {"name": "g" + "f" * 300, "filename": "b" + "a" * 300, "line": 1},
            f"g{'f' * 299} ({'a' * 300}:1)",
        ),
        (["f"], "?"),
    ],
)
def test_what_a_frame_is_called(frame, name):
    assert _frame(frame) == name


@pytest.mark.parametrize(
    ("told", "knobs", "unread"),
    [
        *(({"max_split_size": n}, {}, 0) for n in (MIB - 1, SIZE_LIMIT, -1, 0, None, "1", True)),
        ({"max_split_size": MIB}, {"max_split_size_mb": 1}, 0),
        ({"max_split_size": 3 * MIB - 1}, {"max_split_size_mb": 2}, 0),
        ({"max_split_size": SIZE_LIMIT - 1}, {"max_split_size_mb": (1 << 28) - 1}, 0),
        *(({"garbage_collection_threshold": n}, {}, 0) for n in (0, 1, -0.5, "0.5", None)),
        *(
            ({"garbage_collection_threshold": n}, {"garbage_collection_threshold": percent}, 0)
            for n, percent in ((0.001, 1), (0.02, 2), (0.6, 60), (0.98, 98), (0.999, 99))
        ),
        ({"expandable_segments": True}, {"expandable_segments": 1}, 0),
        ({"expandable_segments": 1}, {}, 0),
        *(
            ({"roundup_power2_divisions": {"1": n, "8": n, "9": 1}}, {}, 1)
            for n in (3, 65, 128, 1 << 40)
        ),
        *(
            ({"roundup_power2_divisions": {"1": n}}, {"roundup_power2_divisions": n}, 0)
            for n in (2, 4, 8, 16, 32, 64)
        ),
        *(({"roundup_power2_divisions": {"1": n}}, {}, 0) for n in (0, 1, -4, "4", None, True)),
        ({"roundup_power2_divisions": {"1": 4, "2": 8}}, {}, 1),
        ({"roundup_power2_divisions": 4}, {}, 0),
        ([], {}, 0),
        (None, {}, 0),
    ],
)
def test_settings_as_knobs(told, knobs, unread):
    found, said = torch_snapshot.settings_of({"allocator_settings": told})
    assert found == knobs
    assert [cases for text, cases in said if "differs by size" in text] == [1] * unread


def full(free, **more):
    return happens("oom", device_free=free, **more)


@pytest.mark.parametrize(
    ("history", "segments", "megabytes", "told", "reserved"),
    [
        ([], [], None, 0, 0),
        ([happens("segment_alloc", 1, 2), happens("segment_free", 1, 3)], [5], None, 0, 6),
        ([happens("segment_map", 1, 2), happens("segment_unmap", 1, 7), 5], [5], None, 0, 10),
        ([happens("segment_map", 1), happens("segment_unmap", 1)], [5], None, 0, 5),
        ([full(2 * MIB)], [], 2, 2 * MIB, 0),
        ([full(0)], [3 * MIB], 3, 3 * MIB, 3 * MIB),
        ([full(None)], [3 * MIB], None, 0, 3 * MIB),
        ([full(-1)], [3 * MIB], None, 0, 3 * MIB),
        ([full(1 * MIB), full(5 * MIB)], [3 * MIB], 8, 8 * MIB, 3 * MIB),
        ([full(MIB), happens("segment_alloc", 1, MIB)], [3 * MIB], 3, 3 * MIB, 2 * MIB),
        ([full(MIB), happens("segment_alloc", 1, 9 * MIB)], [3 * MIB], None, 0, -6 * MIB),
        ([happens("alloc", 1, 1, device_free=5)], [3 * MIB], None, 0, 3 * MIB),
        ([full(MIB)], [], 1, MIB, 0),
        ([full(MIB - 1)], [], 0, MIB - 1, 0),
        ([full(60 * GIB)], [], 60 * KIB, 60 * GIB, 0),
        ([full(60 * GIB + 1)], [], 0, 60 * GIB + 1, 0),
        *(
            ([], [size], capacity, 0, size)
            for size, capacity in (
                *((16 * GIB, None), (16 * GIB + 1, 24 * KIB), (24 * GIB, 24 * KIB)),
                *((24 * GIB + 1, 32 * KIB), (32 * GIB, 32 * KIB), (32 * GIB + 1, 40 * KIB)),
                *((40 * GIB, 40 * KIB), (40 * GIB + 1, 48 * KIB), (48 * GIB, 48 * KIB)),
                *((48 * GIB + MIB, 48 * KIB + 1), (60 * GIB, 60 * KIB), (60 * GIB + 1, 0)),
            )
        ),
        ([happens("segment_free", 1, GIB)], [16 * GIB], 24 * KIB, 0, 17 * GIB),
        ([happens("segment_alloc", 1, GIB)], [16 * GIB], None, 0, 15 * GIB),
    ],
)
def test_how_large_the_device_is(history, segments, megabytes, told, reserved):
    """Megabytes are None where nothing is assumed, 0 where they are beyond what is modelled."""
    device = device_of(history, [{"total_size": size} for size in segments] + [{}])
    assert device[2:] == (told, reserved)
    assert device.knobs == ({"capacity_mb": megabytes} if megabytes else {})
    if megabytes is None:
        assert device.notes == []
        return
    ((text, cases),) = device.notes
    assert ("out-of-memory error" in text) == (told > 0) and cases == 1
    assert ("more than is modelled" in text) == (megabytes == 0)
    bytes_ = told or max(segments)
    assert f"{bytes_:,} bytes" in text or f"{megabytes * MIB:,} bytes" in text


def test_the_longest_history_is_taken(tmp_path):
    segments = [{"device": 1, "n": 1}, {"device": 0, "n": 2}, {"device": -1, "n": 3}, {"n": 4}, 5]
    segments.append({"device": -2, "n": 6})
    made = {"device_traces": [[1, 2], [3, 4, 5], []], "segments": segments}
    history, own, said = _parts(made, tmp_path)
    assert history == [3, 4, 5] and [each["n"] for each in own] == [1, 3, 4]
    assert said == [("Left out 2 events of other devices than number 1.", 2)]
    assert _parts({"device_traces": [[7]], "segments": []}, tmp_path) == ([7], [], [])
    for traces in ([[], []], [[1], 7], []):
        with pytest.raises(HeapwrightError, match="holds no history"):
            _parts({"device_traces": traces, "segments": []}, tmp_path)
    for traces, others in (([[1]], 7), (7, []), (None, None)):
        with pytest.raises(HeapwrightError, match="no snapshot of PyTorch"):
            _parts({"device_traces": traces, "segments": others}, tmp_path)


def test_shares_are_told_and_sum_to_one(tmp_path, monkeypatch):
    for step, expected in ((2, [0.4, 0.4, 0.2]), (5, [1.0]), (9, [1.0])):
        monkeypatch.setattr(torch_snapshot, "STEP", step)
        history = [happens("alloc", 16 * n, n, time_us=n) for n in range(1, 6)]
        shares, made = [], {"segments": [], "device_traces": [history]}
        torch_snapshot.write(made, tmp_path, tmp_path / "t.heap.parquet", shares.append)
        assert shares == expected


def test_a_snapshot_names_its_parts_near_its_start():
    for word in (b"segments", b"device_traces", b"total_size"):
        start = b"\x80\x04" + bytes(398 - len(word))
        assert torch_snapshot.recognises(start + word, None)
        assert not torch_snapshot.recognises(start + b"\0" + word, None)
    assert not torch_snapshot.recognises(b"\x80\x01segments", None)


def at_the_start(segments, history):
    """Segments and live blocks where the history begins."""
    seen = []
    old = snapshot_start._pieces
    try:
        snapshot_start._pieces = lambda held, live: seen.extend((held, live))
        snapshot_start.start_of(segments, history)
    finally:
        snapshot_start._pieces = old
    return seen


def test_a_history_is_walked_back():
    blocks = [{"size": 5, "state": "active_allocated"}, {"size": 0}, 7]
    blocks += [
        {"size": 3, "state": "inactive"},
        {"size": 1, "address": 0},
        {"size": 2, "address": 1},
    ]
    segments = [
        {"address": 40, "total_size": 9, "stream": 2, "segment_type": "small", "blocks": blocks},
        {"address": 1, "total_size": 1, "is_expandable": True, "blocks": 5},
        *({"address": 0, "total_size": 9}, {"address": 9, "total_size": 0}, 5),
        {"address": 9, "total_size": 9, "stream": None},
    ]
    own = {40: Segment(9, True, 2, False), 1: Segment(1, False, 0, True)}
    assert at_the_start(segments, []) == [own, {40: 5, 48: 1, 1: 2}]
    small = 2 * MIB
    history = [
        *(happens("segment_free", 1, small, stream=4), happens("segment_free", 2, small + 1)),
        *(happens("segment_free", 3, 1), happens("segment_free", 4, 0), happens("segment_free", 5)),
        *(happens("segment_free", 6, 8, stream="x"), happens("segment_free", 0, 8)),
        *(happens("segment_alloc", 40, 9), happens("alloc", 48, 1), happens("alloc", 40), 5),
        *(happens("free_completed", 64, n) for n in (512,)),
        *(happens("free_completed", 65, 0), happens("free_completed", 66, 513)),
        *(happens("free_completed", 67, 1), happens("free_completed", 68, 1024)),
    ]
    held, live = at_the_start(segments[:1], history)
    assert held == {
        1: Segment(small, True, 4, False),
        2: Segment(small + 1, False, 0, False),
        3: Segment(1, False, 0, False),
    }
    assert live == {40: 5, 1: 2, 64: 512, 65: 512, 66: 1024, 67: 512, 68: 1024}
    for action in ("segment_alloc", "segment_map"):
        assert at_the_start(segments[:1], [happens(action, 40, 9)])[0] == {}


def pieces_of(segment, live, at=MIB):
    start = snapshot_start._pieces({at: segment}, live)
    return [(p.address - at, p.size, p.live, p.passing) for p in start.pieces], start.overlapping


def test_a_segment_is_made_of_blocks_and_holes():
    small = Segment(2 * MIB, True, 0, False)
    assert pieces_of(small, {MIB + 512: 512}) == (
        [(0, 512, False, False), (512, 512, True, False), (1024, MIB, False, False),
         (MIB + 1024, MIB - 1024, False, False)], 0,
    )  # fmt: skip
    large = Segment(10 * MIB, False, 0, False)
    passing = (0, 10 * MIB, False, True)
    assert pieces_of(large, {}) == ([passing, (0, 10 * MIB, False, False)], 0)
    live = {MIB: 512, 2 * MIB + 512: 512, 4 * MIB + 512: 6 * MIB}
    assert pieces_of(large, live) == (
        [passing, (0, MIB + 512, True, False), (MIB + 512, 512, True, False),
         (MIB + 1024, 2 * MIB - 512, False, False), (3 * MIB + 512, 7 * MIB - 512, True, False)],
        0,
    )  # fmt: skip
    just_under = Segment(10 * MIB - 1, False, 0, False)
    hole = (512, 10 * MIB - 513, False, False)
    assert pieces_of(just_under, {MIB: 512}) == ([(0, 512, True, False), hole], 0)
    more = Segment(512 + MIB + 1, False, 0, False)
    assert pieces_of(more, {MIB: 512}) == (
        [(0, 512, True, False), (512, MIB + 1, False, False)],
        0,
    )
    first = Segment(MIB, False, 0, False)  # a hole of no more than 1 MiB, but no block before it
    assert pieces_of(first, {MIB + 512: 512})[0][0] == (0, 512, False, False)
    grown = Segment(9 * MIB, False, 0, True)
    assert pieces_of(grown, {MIB + 512: 512, 3 * MIB: 512})[0][-1] == (2 * MIB, 512, True, False)
    assert pieces_of(grown, {}) == ([], 0)
    two = {MIB: Segment(MIB, False, 1, False), 2 * MIB: Segment(MIB, False, 2, False)}
    start = snapshot_start._pieces(two, {MIB: 512})  # the second begins where the first ends
    assert [(p.size, p.stream, p.live) for p in start.pieces] == [(MIB, 1, True), (MIB, 2, False)]


def test_so_many_pieces_and_no_more(monkeypatch):
    monkeypatch.setattr(snapshot_start, "MOST_PIECES", 3)
    small = Segment(3 * MIB, True, 0, False)
    assert len(pieces_of(small, {})[0]) == 3
    for size in (3 * MIB + 1, 1 << 50):
        with pytest.raises(HeapwrightError, match="more than 3 blocks and holes"):
            pieces_of(small._replace(size=size), {})
