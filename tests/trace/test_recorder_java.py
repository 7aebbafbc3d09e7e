"""Graphs recorded from Java programs: of logs made by hand, and of a JVM where one is here."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.collectors.hotspot.recorded import laid_out
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace.merlin import OP_BITS
from heapwright.trace.recorder import graph_books as books
from heapwright.trace.recorder import graph_convert, java
from heapwright.trace.recorder.java_told import BRIEFLY_BIRTHS, JavaTold
from heapwright.trace.schema import FREE, NEW
from heapwright.trace.store import Trace
from java_programs import ARRAYS, missing, recorded
from naive.graph_logs import Kept, log_of, sites_of, texts
from naive.java_teller import JavaKnown, JavaRows, JavaTeller

COLUMNS = ("op", "slot", "size", "field", "target", "site")
TOLD = JavaTold("17.0.15", "a JVM", 12, 4)


def columns_of(trace):
    parts = list(trace.batches(COLUMNS))
    return [np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS]


def converted(tmp_path, rows, told=TOLD):
    log = tmp_path / "log"
    np.array(rows, np.int64).tofile(log)
    graph_convert.convert(log, tmp_path / "t.parquet", "java", 10, java=told)
    return Trace.open(tmp_path / "t.parquet")


def births(count, size=24, fields=1):
    return [(books.NEW | fields << OP_BITS, size, 0)] * count


def look(*rows):
    return [(books.LOOK, 0, 0), *rows, (books.SEEN, 1000, 0)]


def test_an_object_no_look_reaches_dies_within_some_births(tmp_path):
    lost = [(books.LOST, number, 0) for number in range(1, 1000)]
    unrooted = [(books.UNROOT, number, 0) for number in range(1, 1000)]
    rows = [*births(1000), *look(*unrooted, *lost), (books.END, 0, 0)]
    trace = converted(tmp_path, rows)
    op, slot, *_ = columns_of(trace)
    assert np.count_nonzero(op == NEW) == 1000 and np.count_nonzero(op == FREE) == 999
    born, alive = {}, 0
    for number, (one, where) in enumerate(zip(op.tolist(), slot.tolist(), strict=True)):
        if one == NEW:
            born[where] = number
        elif one == FREE:
            assert number - born[where] <= 2 * BRIEFLY_BIRTHS + 4
    assert trace.slots <= BRIEFLY_BIRTHS + 1
    assert "999 of 1,000 objects were never reached by a look" in trace.notes[1] and not alive


def test_an_object_lives_for_as_many_windows_as_looks_reached_it(tmp_path):
    lost = [(books.LOST, number, 0) for number in range(400)]
    unrooted = [(books.UNROOT, number, 0) for number in range(400)]
    rows = [*births(400), *look(), *births(1000), *look(*unrooted, *lost), (books.END, 0, 0)]
    op, *_ = columns_of(converted(tmp_path, rows))
    freed = np.cumsum(op == FREE)
    after = [int(freed[np.flatnonzero(op == NEW)[400 + each]]) for each in (200, 300, 600, 800)]
    assert after == [50, 100, 200, 300] and freed[-1] == 400


@pytest.mark.parametrize("reference", [4, 8])
def test_a_jvm_with_other_objects_gives_the_same_bytes_back(tmp_path, reference):
    told = TOLD._replace(reference_bytes=reference)
    shapes = [(16, 0), (16, 1), (24, 3), (24, 1), (56, 10), (4112, 1024), (8208, 1024)]
    shapes = [(size, fields) for size, fields in shapes if 12 + reference * fields <= size]
    rows = [row for size, fields in shapes for row in births(1, size, fields)]
    trace = converted(tmp_path, [*rows, *look(), (books.END, 0, 0)], told)
    knobs = {"UseCompressedOops": int(reference == 4)}
    as_arrays = laid_out(trace, knobs)
    (batch,) = trace.batches(COLUMNS)
    made = as_arrays(batch)
    born = made.op == NEW
    assert (made.size[born] + 16).tolist() == [size for size, _ in shapes]
    room = (made.size[born] >> (2 if reference == 4 else 3)).tolist()
    assert made.field[born].tolist() == [
        min(fields, most) for (_, fields), most in zip(shapes, room, strict=True)
    ]
    assert trace.java == "17.0.15"


def test_what_a_look_finds_that_another_lost_lives_until_a_look_loses_it_for_good(tmp_path):
    rows = [*births(2), *look(), *look((books.UNROOT, 0, 0), (books.LOST, 0, 0))]
    rows += [*births(1), *look((books.FOUND, 0, 0)), *births(1), *look((books.LOST, 0, 0))]
    trace = converted(tmp_path, [*rows, *births(1), (books.END, 0, 0)])
    op, slot, *_ = columns_of(trace)
    freed = np.flatnonzero(op == FREE)
    assert slot[freed].tolist() == [0]
    assert np.count_nonzero(op[: freed[0]] == NEW) == 3  # after the look that found it
    assert any("1 objects were out of reach" in note for note in trace.notes)


@pytest.mark.parametrize(
    "text", ["", "reference=5\n", "reference=four\nversion=17\n", "\0\xff" * 3000]
)
def test_a_jvm_that_does_not_say_how_it_lays_out_objects_is_a_sentence(tmp_path, text):
    path = tmp_path / "told"
    path.write_text(text)
    with pytest.raises(HeapwrightError, match="how it lays out objects"):
        JavaTold.read(path, tmp_path / "gc.log", "")


@pytest.mark.parametrize(
    ("version", "known"), [("25", "25.0"), ("17.0.15+6-Debian", "17.0.15"), ("21.0.8", "21.0.8")]
)
def test_a_version_is_a_number(tmp_path, version, known):
    (tmp_path / "told").write_text(f"version={version}\nreference=4\nobject=16\ninteger=16\n")
    told = JavaTold.read(tmp_path / "told", tmp_path / "gc.log", "")
    assert told.version == known and told.header_bytes == 12


def test_options_of_the_heap_are_those_that_are_asked_about():
    command = "java -Xmx64m -cp a:b -XX:+UseG1GC -XX:OnError=x -Xlog:gc:file=a -ea Main -Xmn3m"
    assert java.heap_options(command.split()) == ["-Xmx64m", "-XX:+UseG1GC"]


OPS = [
    *([books.NEW] * 8),
    *([books.WRITE] * 8),
    *(books.ROOT, books.UNROOT, books.FREE, books.FOUND, books.LOOK, books.TYPE),
    *([books.SEEN] * 2),
    *([books.LOST] * 4),
]
ROW = st.tuples(st.sampled_from(OPS), st.integers(0, 3), st.integers(0, 60), st.integers(-1, 60))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(rows=st.lists(ROW, max_size=200), room=st.integers(1, 12), briefly=st.integers(1, 5))
def test_rows_are_those_of_dictionaries(rows, room, briefly, tmp_path_factory):
    log = [*texts(books.PLACE, range(1, 4)), *texts(books.NAME, range(1, 31)), *log_of(rows)]
    path = tmp_path_factory.mktemp("graph") / "log"
    np.array([*log, (books.END, 0, 0)], np.int64).tofile(path)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(graph_convert, "FIRST_ROOM", room)
        small.setattr(graph_convert, "OUT_ROWS", room)
        small.setattr(graph_convert, "CHUNK_ROWS", 2 * room + 1)
        small.setattr(graph_convert, "BRIEFLY_BIRTHS", briefly)
        told, tree, _, _ = graph_convert._foretold(path, len(log) + 1, TOLD)
        made = Kept()
        for chunk in graph_convert._chunks(path, len(log) + 1):
            told = graph_convert._tell(told, chunk, made)
        told = graph_convert._rows_room(told)
        graph_convert.graph_tell.finish(told)
        graph_convert._hand_on(told, made)
    known = JavaKnown(log)
    teller = JavaTeller(JavaRows(), known, sites_of(log, known, tree), (12, 4, briefly))
    for row in log:
        teller.tell(*row)
    teller.end()
    assert list(made) == list(teller.m) and made.objects == teller.m.objects
    assert told.count[books.BRIEF_OBJECTS] == len(known.brief)


def fake_java(tmp_path, text):
    path = tmp_path / "java"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'case "$*" in *agentpath*) exit 1;; *) echo \'openjdk version "1.8.0_292"\' >&2;; esac',
            "cannot record the objects of Java 8: it tells no agent of each allocation",
        ),
        (
            "echo Error occurred during initialization of VM >&2; "
            "echo 'Conflicting collector combinations in option list' >&2; exit 1",
            "java refuses its options: Conflicting collector combinations in option list",
        ),
        (
            'case "$*" in *agentpath*) echo Unrecognized option: -agentpath >&2; exit 1;; esac',
            "Unrecognized option: -agentpath; record them on an OpenJDK from 11 on",
        ),
    ],
)
def test_a_jvm_that_refuses_is_one_sentence(tmp_path, monkeypatch, text, said):
    monkeypatch.setattr(java, "library", lambda *given: tmp_path / "java.so")
    monkeypatch.setattr(java, "headers", lambda program: [])
    program = fake_java(tmp_path, text)
    with pytest.raises(HeapwrightError) as refused:
        java.java_agent(program, [program, "-Xmx10m", "Main"])
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_headers_that_are_nowhere_are_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(java, "FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(HeapwrightError, match="apt install openjdk-17-jdk-headless"):
        java.headers(str(tmp_path / "bin" / "java"))


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    if why := "converted compiled, the oracle both ways" if INTERPRETED else missing():
        pytest.skip(why)
    return recorded(tmp_path_factory.mktemp("ring"))


def test_every_array_is_recorded_with_its_size_and_line(ring):
    op, _, size, field, _, site = columns_of(ring)
    sites = ring.sites()
    made = (op == NEW) & (site == sites.index("byte[] in Ring.main:20"))
    assert np.count_nonzero(made) == ARRAYS
    lengths = np.array([3000 + number % 7 * 1500 for number in range(ARRAYS)])
    blocks = size[made] - 4 + 16  # of an array the length is the first word of what it holds
    assert (blocks == lengths + 16 + 7 & -8).all() and not field[made].any()
    cells = (op == NEW) & (site == sites.index("Ring$Cell in Ring.main:22"))
    assert np.count_nonzero(cells) == ARRAYS / 50 and (field[cells] == 2).all()


def test_what_the_program_keeps_lives_and_what_it_drops_dies(ring):
    op, slot, *_, site = columns_of(ring)
    made = ring.sites().index("byte[] in Ring.main:20")
    alive, most = set(), 0
    for one, where, of in zip(op.tolist(), slot.tolist(), site.tolist(), strict=True):
        if one == NEW and of == made:
            alive.add(where)
        elif one in (NEW, FREE):
            alive.discard(where)
        most = max(most, len(alive))
    assert 40 <= len(alive) <= 80 and most < 500  # 40 in the ring, up to 40 in cells


def test_the_jvms_own_collections_are_kept(ring):
    own = ring.collections()
    assert own.collector == "serial" and own.most_bytes == 4 << 20 and own.youngs > 10
    assert "-Xmn1m" in own.options and ring.java.startswith(own.version)
    assert any("young and" in note and "are kept" in note for note in ring.notes)


def test_a_program_that_java_does_not_find_says_so_itself(tmp_path):
    if why := missing():
        pytest.skip(why)
    with pytest.raises(HeapwrightError, match=r"java refuses its options: (Conflicting|Multiple)"):
        options = ["-XX:+UseSerialGC", "-XX:+UseParallelGC"]
        java.java_agent(shutil.which("java"), ["java", *options, "Nothing"])


def test_a_hidden_class_has_the_same_name_in_each_run():
    made = b"Server$Session in Server$$Lambda$5.0x00007f26bd003440.apply:3\0\0"
    assert graph_convert._named(made) == "Server$Session in Server$$Lambda$5.apply:3"
