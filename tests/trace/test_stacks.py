"""The tree of call stacks: built, kept, read back; what is forged is a sentence."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recorded
from heapwright.errors import HeapwrightError
from heapwright.trace import layout, stacks
from heapwright.trace.exports import export
from heapwright.trace.facts import to_json
from heapwright.trace.sites import elf, labels
from heapwright.trace.store import Trace, TraceWriter
from small_traces import SMALL, write

WHOLE = [
    ["main", "parse", "operator new(unsigned long)"],
    ["main", "parse", "grow", "realloc (malloc.c:3400)"],
    ["main"],
    ["malloc", "calloc"],
    ["start_thread", "serve (app.py:12)", "handle (app.py:40)"],
]
ASKED = ["parse", "grow", "main", "calloc", "handle (app.py:40)"]


def traced(path: Path, *given: list[str]) -> Trace:
    """A trace whose first events come from the stacks `given`."""
    tree = stacks.Tree()
    nodes = [tree.node(frames) for frames in given]
    site = np.resize(np.array(nodes or [-1], np.int32), len(SMALL.op))
    with TraceWriter(path, program="test", kind="synthetic") as out:
        out.write(SMALL._replace(site=site))
        out.sites, out.stacks = tree.frames, tree.arrays()
    return Trace.open(path)


def test_stacks_come_back(tmp_path):
    trace = traced(tmp_path / "t.parquet", *WHOLE)
    (events,) = trace.batches(("site",))
    sites = events.site[:5].tolist()
    assert [trace.stack(site) for site in sites] == WHOLE
    assert [trace.sites()[site] for site in sites] == ASKED
    assert trace.stack(-1) == trace.stack(trace.stack_nodes) == []
    assert trace.stack_nodes == len(trace.sites()) == 10  # main and parse are shared
    assert (trace.stacks().parent < np.arange(10)).all()


def test_inlined_functions_are_frames_of_their_own(tmp_path):
    trace = traced(tmp_path / "t.parquet", ["main", "serve\nparse\nmalloc"], ["main\ncalloc"])
    assert trace.stack(1) == ["main", "serve", "parse", "malloc"]
    assert trace.sites() == ["main", "parse", "main"]


def test_inlined_functions_are_named_from_debug_information(tmp_path):
    """A real program whose function is inlined, looked up by addr2line."""
    source = tmp_path / "p.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "static inline __attribute__((always_inline)) void *inner(int n) { return malloc(n); }\n"
        "__attribute__((noinline)) void *outer(int n) { return inner(n * 2); }\n"
        "int main(int c, char **v) { return outer(c) == 0; }\n"
    )
    program = tmp_path / "p"
    subprocess.run(["gcc", "-O1", "-g", "-o", program, source], check=True)
    listing = subprocess.run(
        ["objdump", "-d", program], capture_output=True, text=True, check=True
    ).stdout
    body = listing[listing.index("<outer>:") :]
    (call,) = re.findall(r"^ *([0-9a-f]+):.*call.*<malloc@plt>", body.split("\n\n")[0], re.M)
    stored, modules = [f"{program}+0x{call}"], {str(program): elf(str(program))[1]}
    assert labels(stored, modules, inlined=True) == ["outer (p.c:3)\ninner (p.c:2)"]
    assert labels(stored, modules) == ["inner (p.c:2)"]


def test_a_trace_without_stacks_has_places_alone(tmp_path):
    with TraceWriter(tmp_path / "t.parquet", program="p") as out:
        out.write(SMALL)
        out.sites = ["a", "malloc", "c"]
    trace = Trace.open(tmp_path / "t.parquet")
    assert (trace.stack_nodes, trace.sites()) == (0, ["a", "malloc", "c"])
    assert [trace.stack(site) for site in (-1, 1, 3)] == [[], ["malloc"], []]
    assert trace.stacks().parent.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_a_table_says_that_it_keeps_call_sites_alone(tmp_path, to):
    trace = traced(tmp_path / "t.parquet", *WHOLE)
    losses = export(trace, to, tmp_path / "out")
    assert "of call stacks the call sites alone are kept" in losses
    assert "grow" in (tmp_path / "out").read_bytes().decode(errors="replace")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=20))
def test_any_tree_survives_and_sums_over_callers(given_):
    tree = stacks.Tree()
    nodes = [tree.node(frames) for frames in given_]
    kept = tree.arrays()
    back = stacks.loaded(stacks.stored(kept), len(kept.parent), len(tree.frames))
    np.testing.assert_array_equal(back, kept)
    own = np.zeros(len(kept.parent), np.int64)
    for node in nodes:
        if node >= 0:
            own[node] += 1
    prefixes = [tuple(f[:n]) for f in given_ for n in range(1, len(f) + 1)]
    assert len(kept.parent) == len(set(prefixes))
    total = stacks.subtotals(kept.parent, own)
    for frames, node in zip(given_, nodes, strict=True):
        if node >= 0:
            assert total[node] == prefixes.count(tuple(frames))
            assert stacks.depths(kept.parent)[node] == len(frames)


def test_a_deep_stack_keeps_its_innermost_frames(tmp_path):
    deep = [f"f{i}" for i in range(stacks.DEPTH + 5)]
    trace = traced(tmp_path / "t.parquet", deep)
    (events,) = trace.batches(("site",))
    found = trace.stack(int(events.site[0]))
    assert found == [stacks.LEFT_OUT, *deep[6:]] and len(found) == stacks.DEPTH


def test_a_tree_without_room_counts_what_it_leaves_out():
    tree = stacks.Tree(nodes=2)
    assert [tree.node(f) for f in (["a", "b"], ["a", "c"], ["a"])] == [1, -1, 0]
    assert tree.without == 1


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (([0], [0]), "caller does not come before it"),
        (([-2], [0]), "caller does not come before it"),
        (([-1, 1], [0, 0]), "caller does not come before it"),
        (([-1], [1]), "a frame past the 1 there are"),
        (([-1], [-1]), "a frame past the 1 there are"),
        (([-1, 0], [0]), "no tree"),
        ((range(-1, stacks.DEPTH), [0] * (stacks.DEPTH + 1)), "deeper than 1,024 frames"),
    ],
)
def test_the_writer_refuses_what_is_no_tree(tmp_path, tree, sentence):
    with (
        pytest.raises(HeapwrightError, match=rf"cannot write .*t\.parquet: .*{sentence}"),
        TraceWriter(tmp_path / "t.parquet", program="p") as out,
    ):
        out.write(SMALL)
        out.sites, out.stacks = ["a"], tree
    assert not list(tmp_path.iterdir())


def packed(parent: list[int], frame: list[int]) -> bytes:
    """The stored form of any two columns."""
    parent, frame = np.array(parent), np.array(frame)
    return stacks.stored(stacks.Stacks(parent.astype(np.int32), frame.astype(np.int32)))


BOMB = b"2:" + base64.b64encode(zlib.compress(bytes(50_000_000)))
UNSOUND = {
    "nothing": (b"", "not those that its facts count"),
    "another count": (packed([-1], [0]), "not those that its facts count"),
    "a bomb": (BOMB, "not those that its facts count"),
    "a tail": (packed([-1, 0], [0, 0]) + b"AAAA", "cannot be unpacked|not those"),
    "more after it": (
        b"2:" + base64.b64encode(zlib.compress(np.array([1, 1, 0, 0], "<i4").tobytes()) + b"x"),
        "not those that its facts count",
    ),
    "no base64": (b"2:\xff\xff", "cannot be unpacked"),
    "no zlib": (b"2:AAAA", "cannot be unpacked"),
    "cut": (packed([-1, 0], [0, 0])[:-8], "cannot be unpacked|not those"),
    "a loop": (packed([1, 0], [0, 0]), "does not come before it"),
    "far above": (packed([-1, -(1 << 30)], [0, 0]), "does not come before it"),
    "frames": (packed([-1, 0], [0, 9]), "a frame past the 1"),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_forged_stacks(tmp_path, small, what):
    text, sentence = UNSOUND[what]
    record = json.loads(to_json(small)) | {"stack_nodes": 2}
    path = tmp_path / "forged.parquet"
    table = pa.table(
        {n: pa.array(c, layout.SCHEMA.field(n).type) for n, c in SMALL._asdict().items()}
    )
    with pq.ParquetWriter(path, layout.SCHEMA) as out:
        out.write_table(table.cast(layout.SCHEMA))
        out.add_key_value_metadata(
            {
                b"heapwright": json.dumps(record).encode(),
                b"heapwright.sites": b'["a"]',
                b"heapwright.stacks": text,
            }
        )
    trace = Trace.open(path)
    with pytest.raises(HeapwrightError, match=rf"forged\.parquet is damaged: .*({sentence})"):
        trace.sites()


def test_no_stacks_are_read_where_the_facts_count_none(tmp_path):
    trace = write(tmp_path / "t.parquet", SMALL)
    assert trace.stack_nodes == 0 and trace.stacks().parent.tolist() == []


@pytest.mark.parametrize(
    ("name", "passes_on"),
    [
        ("malloc", True),
        ("__libc_malloc (libc.so.6)", True),
        ("operator new[](unsigned long)", True),
        ("_Znwm", True),
        ("PyObject_Malloc (obmalloc.c:1)", True),
        ("std::__new_allocator<char>::allocate(unsigned long, void const*)", True),
        ("malloc_trim", False),
        ("my_malloc_pool (pool.c:3)", False),
        ("std::vector<int>::push_back", True),
        ("void std::vector<int>::_M_realloc_insert<int>(int&&)", True),
        ("std::string spell<int>(int)", False),
        ("(anonymous namespace)::kept(std::vector<int>&)", False),
        ("renew", False),
    ],
)
def test_functions_that_hand_requests_on(name, passes_on):
    assert stacks.hands_on(name) is passes_on


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_names_of_the_programs_own_functions_outlive_its_file(tmp_path):
    """A program that is built again must not take the names of its earlier recordings along."""
    source = tmp_path / "p.c"
    source.write_text(
        "#include <stdlib.h>\nvoid *keep(void) { return malloc(999); }\n"
        "int main(void) { return !keep(); }\n"
    )
    program = recorded.compiled(tmp_path, source)
    _, trace = recorded.run(tmp_path, program)
    (row,) = np.flatnonzero(recorded.all_events(trace).size == 999)
    site = int(recorded.all_events(trace).site[row])
    assert trace.sites()[site] == "keep (p.c:2)"
    Path(program).unlink()
    again = Trace.open(trace.path)
    assert again.sites()[site] == "keep (p.c:2)"
    system = [name for name in again.sites() if "libc" in name or "rtld" in name]
    assert not any(name.startswith("/") for name in system)  # those are looked up


@pytest.mark.parametrize("names", ['["a", "b"]', '{"a": 1}', "[1]", "[", '"a"'])
def test_forged_names(tmp_path, small, names):
    path = tmp_path / "forged.parquet"
    table = pa.table(
        {n: pa.array(c, layout.SCHEMA.field(n).type) for n, c in SMALL._asdict().items()}
    )
    with pq.ParquetWriter(path, layout.SCHEMA) as out:
        out.write_table(table.cast(layout.SCHEMA))
        out.add_key_value_metadata(
            {
                b"heapwright": to_json(small),
                b"heapwright.sites": b'["a"]',
                b"heapwright.names": names.encode(),
            }
        )
    with pytest.raises(HeapwrightError, match="table of call sites cannot be read"):
        Trace.open(path).sites()
