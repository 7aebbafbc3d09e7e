"""A graph's log to rows of the mutator: those of the naive oracle, whatever the log."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace.merlin import WORDS
from heapwright.trace.recorder import graph_books as books
from heapwright.trace.recorder import graph_convert
from heapwright.trace.store import Trace
from naive.graph_logs import Kept, log_of, sites_of, texts
from naive.graph_teller import Known, Rows, Teller
from peak_memory import PEAK_KIB

OPS = [
    *([books.NEW] * 6),
    *([books.FREE] * 4),
    *([books.WRITE] * 8),
    *(books.ROOT, books.UNROOT, books.LOST, books.FOUND, books.LOOK, books.SEEN, books.TYPE),
    *(books.BEGUN, books.COUNTED, books.TRACKED),
]
ROW = st.tuples(st.sampled_from(OPS), st.integers(0, 3), st.integers(0, 60), st.integers(-1, 60))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(rows=st.lists(ROW, max_size=150), room=st.integers(1, 12))
def test_rows_are_those_of_dictionaries(rows, room, tmp_path_factory):
    log = [*texts(books.PLACE, range(1, 4)), *texts(books.NAME, range(1, 31)), *log_of(rows)]
    path = tmp_path_factory.mktemp("graph") / "log"
    np.array([*log, (books.END, 0, 0)], np.int64).tofile(path)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(graph_convert, "FIRST_ROOM", room)
        small.setattr(graph_convert, "OUT_ROWS", room)
        small.setattr(graph_convert, "CHUNK_ROWS", 2 * room + 1)
        told, tree, _, cut = graph_convert._foretold(path, len(log) + 1)
        made = Kept()
        for chunk in graph_convert._chunks(path, len(log) + 1):
            told = graph_convert._tell(told, chunk, made)
        told = graph_convert._rows_room(told)
        graph_convert.graph_tell.finish(told)
        graph_convert._hand_on(told, made)
    naive = Rows()
    known, nodes = Known(log), len(tree.arrays().parent)
    teller = Teller(naive, known, sites_of(log, known, tree))
    assert len(tree.arrays().parent) == nodes
    for row in log:
        teller.tell(*row)
    teller.end()
    assert list(made) == list(naive) and made.objects == naive.objects
    assert told.count[books.FORGOTTEN] == teller.lost and cut == []
    assert told.count[books.FOUND_AGAIN] == len(teller.known.found)


@pytest.mark.parametrize(
    "row",
    [
        (books.WRITE, 5, 0),
        (books.WRITE, 0, 5),
        (books.FREE, -1, 0),
        (books.NEW, -1, 0),
        (books.NEW, 1 << 50, 0),
        (books.NEW, 64, 1 << 20),
        (0, 0, 0),
        (99, 0, 0),
        (books.COUNTED, 6, 0),
        (books.BEGUN, 3, 0),
        (books.BEGUN, 0, 0),  # and one more of which nothing is known
        (books.TRACKED, 0, 4),
    ],
)
def test_a_damaged_log_is_a_sentence(row, tmp_path):
    path = tmp_path / "log"
    twice = [row] * 2 if row == (books.BEGUN, 0, 0) else [row]
    np.array([(books.NEW, 64, 0), *twice], np.int64).tofile(path)
    with pytest.raises(HeapwrightError, match="the recording of the graph is damaged"):
        graph_convert.convert(path, tmp_path / "t.parquet", "p", 1)
    assert not (tmp_path / "t.parquet").exists()


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ([], "before the program's end."),
        ([(books.END, 1, 0)], "its books took as much memory as they may; raise --limit"),
        ([(books.END, 2, 0)], "its log became as long as it may; raise --limit"),
        ([(books.END, 3, 0)], "the system refused it memory"),
        ([(books.END, 0, 0)], ""),
    ],
)
def test_why_a_recording_stops_is_told(end, words, tmp_path):
    looks = [(books.LOOK, 0, 0), (books.SEEN, 61_000_000, 1), (books.LOOK, 0, 0)]
    looks += [(books.SEEN, 73_000_000, 0), (books.LOOK, 0, 0), (books.SEEN, 50_000_000, 1)]
    path = tmp_path / "log"
    np.array([(books.NEW, 64, 0), (books.NEW, 48, 0), *looks, *end], np.int64).tofile(path)
    path.write_bytes(path.read_bytes() + b"half a row")
    graph_convert.convert(path, tmp_path / "t.parquet", "p", 7)
    notes = Trace.open(tmp_path / "t.parquet").notes
    assert "at 3 looks, at least 7 births apart" in notes[0]
    assert "2 looks stopped the program for more than 50 ms, the longest for 73 ms" in notes[2]
    assert "together for 184 ms" in notes[2] and notes[3].startswith("2 looks came later")
    assert (words in notes[-1]) if words else len(notes) == 6
    assert any(note.startswith("Weak references and finalisers are not declared") for note in notes)


@pytest.mark.skipif(INTERPRETED, reason="too long to read step by step")
def test_memory_is_that_of_the_living(tmp_path):
    """Three million births, at most a thousand alive: no more memory than for a few."""
    code = (
        f"{PEAK_KIB}import sys\n"
        "from pathlib import Path\n"
        "from heapwright.trace.recorder.graph_convert import convert\n"
        "few, many, out = (Path(arg) for arg in sys.argv[1:])\n"
        "convert(few, out, 'p', 1)\n"
        "start = peak_kib()\n"
        "print(convert(many, out, 'p', 1).events)\n"
        "print(peak_kib() - start)\n"
    )
    for name, births in (("few", 1_000_000), ("many", 3_000_000)):
        rows = np.zeros((2 * births, WORDS), np.int64)
        rows[::2, 0], rows[::2, 1] = books.NEW, 64
        rows[1::2, 0], rows[1::2, 1] = books.FREE, np.maximum(np.arange(births) - 1000, 0)
        rows.tofile(tmp_path / name)
    paths = [tmp_path / name for name in ("few", "many", "t.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths],
        check=True,
        capture_output=True,
        text=True,
        timeout=250,
    )
    events, grew_kib = map(int, done.stdout.split())
    assert events > 12_000_000 and grew_kib << 10 < 100_000_000
