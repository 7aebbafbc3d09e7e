"""Whole call stacks of real programs: the right frames, whatever the compiler left out."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.nodes import _read
from heapwright.trace.recorder.session import record
from heapwright.trace.recorder.wishes import Wishes
from heapwright.trace.schema import MALLOC
from heapwright.trace.store import Trace
from recorded import all_events

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(
        INTERPRETED, reason="a recording has too many events to convert step by step"
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
SOURCE = Path(__file__).with_name("calling.c")
FLAGS = {
    "tables": ["-O2", "-fomit-frame-pointer"],
    "pointers": ["-O1", "-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
}


@pytest.fixture(scope="session")
def calling(tmp_path_factory):
    """The program of calling.c, by how it was compiled."""
    folder = tmp_path_factory.mktemp("calling")
    for name, flags in FLAGS.items():
        command = ["cc", *flags, "-g", "-fno-builtin", "-pthread", "-o", folder / name, SOURCE]
        subprocess.run(command, check=True)
    return folder


def stacks_of(folder: Path, *command, depth: int = 64) -> tuple[Trace, list[tuple[int, list[str]]]]:
    """The trace of a program, and (size, names of its own functions) of each malloc."""
    out = folder / "out.heap.parquet"
    status, _ = record([str(part) for part in command], out, wishes=Wishes(stacks=depth))
    assert status == 0
    trace = Trace.open(out)
    events = all_events(trace)
    asked = np.flatnonzero(events.op == MALLOC)
    names = {site: own(trace.stack(site)) for site in set(events.site[asked].tolist())}
    return trace, [(int(events.size[i]), names[int(events.site[i])]) for i in asked.tolist()]


def own(stack: list[str]) -> list[str]:
    return [frame.split(" ")[0] for frame in stack if "(calling.c" in frame or frame == "..."]


@pytest.mark.parametrize("how", list(FLAGS))
def test_each_block_has_the_path_that_its_size_spells(tmp_path, calling, how):
    """Random paths through four functions: with a frame pointer, alloca, an aligned stack."""
    _, found = stacks_of(tmp_path, calling / how, "paths", 5000)
    assert len(found) == 5000 and len({size for size, _ in found}) > 500
    for size, names in found:
        code, path = size - 1, ""
        while code > 1:
            code, path = code >> 2, str(code & 3) + path
        assert "".join(name[1] for name in names if name[0] == "f") == path
        assert names[0] == "main"


def test_inlined_functions_are_frames_where_debug_information_tells(tmp_path, calling):
    if not shutil.which("addr2line"):
        pytest.skip("no addr2line")
    trace, found = stacks_of(tmp_path, calling / "tables", "inlined")
    ((size, names),) = found
    assert (size, names) == (77, ["main", "outside", "inlined", "within"])
    (site,) = set(all_events(trace).site.tolist()) - {-1}
    assert trace.sites()[site].startswith("within (calling.c:")


def test_a_recursion_deeper_than_the_depth_keeps_its_innermost_frames(tmp_path, calling):
    _, found = stacks_of(tmp_path, calling / "tables", "deep", 200, depth=16)
    assert [names for size, names in found if size == 200] == [["...", *["deep"] * 15]]
    _, found = stacks_of(tmp_path, calling / "tables", "deep", 9, depth=16)
    assert [names for size, names in found if size == 9] == [["main", *["deep"] * 10]]


def test_threads_and_handlers_of_signals(tmp_path, calling):
    """A handler's stack goes on in what it interrupted; a thread's ends where the thread began."""
    _, found = stacks_of(tmp_path, calling / "tables", "threads")
    assert sum(names == ["work", "step", "step"] for size, names in found if size == 50) == 4 * 300
    _, found = stacks_of(tmp_path, calling / "tables", "signal")
    assert [names for size, names in found if size == 60] == [["main", "raising", "handler"]] * 50
    _, found = stacks_of(tmp_path, calling / "tables", "otherstack")
    assert [names for size, names in found if size == 60] == [["main", "raising", "handler"]] * 50


def test_leaving_by_longjmp_and_by_exceptions_does_no_harm(tmp_path, calling):
    _, found = stacks_of(tmp_path, calling / "tables", "longjmp")
    assert [names for size, names in found if size == 70] == [["main", "jumping", "jumper"]] * 400
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    source = tmp_path / "throwing.cpp"
    source.write_text(THROWING)
    subprocess.run(["c++", "-O2", "-o", tmp_path / "throwing", source], check=True)
    record([str(tmp_path / "throwing")], tmp_path / "t.parquet", wishes=Wishes(stacks=64))
    trace = Trace.open(tmp_path / "t.parquet")
    events = all_events(trace)
    whole = [trace.stack(site) for site in events.site[events.size > 100].tolist()]
    named = [stack for stack in whole if any("operator new" in frame for frame in stack)]
    assert any("thrower(int)" in frame for frame in named[0]) or not shutil.which("nm")
    assert any(frame.startswith("outer(int)") for stack in named for frame in stack)


THROWING = r"""
#include <cstdlib>
#include <stdexcept>
#include <string>
__attribute__((noinline)) int thrower(int n) {
    std::string s(100 + n, 'x');
    if (n % 3 == 0) throw std::runtime_error(s);
    return s.size();
}
__attribute__((noinline)) int outer(int n) {
    try { return thrower(n); }
    catch (const std::exception &e) { return std::string(e.what()).size(); }
}
int main() {
    long sum = 0;
    for (int n = 0; n < 300; n++) sum += outer(n);
    return sum != 300 * 100 + 299 * 150;
}
"""


def test_garbage_on_the_stack_ends_it_and_not_the_program(tmp_path, calling):
    """Code without tables whose frame pointer is any number, or leads in a circle."""
    _, found = stacks_of(tmp_path, calling / "tables", "garbage")
    assert [size for size, _ in found] == list(range(1, 9))


def test_a_forked_child_goes_on_with_its_parents_stacks(tmp_path, calling):
    out = tmp_path / "out.heap.parquet"
    _, traces = record(
        [str(calling / "tables"), "fork"], out, children=True, wishes=Wishes(stacks=64)
    )
    names = {}
    for written in traces:
        trace = Trace.open(written.path)
        events = all_events(trace)
        rows = np.flatnonzero(events.op == MALLOC)
        names[written.path == out] = [
            (int(events.size[i]), own(trace.stack(events.site[i]))) for i in rows.tolist()
        ]
    both = [(80, ["main", "outer"]), (81, ["main", "forking"])]
    assert names[True] == [*both, (82, ["main", "forking", "outer"]), (83, ["main", "forking"])]
    assert names[False] == [*both, (84, ["main", "forking", "outer"]), (85, ["main", "forking"])]


def test_without_stacks_a_site_is_a_place(tmp_path, calling):
    record([str(calling / "tables"), "inlined"], tmp_path / "o.parquet")
    trace = Trace.open(tmp_path / "o.parquet")
    assert trace.stack_nodes == 0 and len(trace.sites()) == 1
    assert not trace.stack(-1)


@pytest.mark.parametrize("depth", [-1, 1001])
def test_a_depth_that_cannot_be(depth):
    with pytest.raises(HeapwrightError, match="1 to 1,000"):
        Wishes(stacks=depth)


def test_a_file_of_nodes_that_is_damaged_is_read_up_to_there(tmp_path):
    path = tmp_path / "1.1.stacks"
    rows = np.array([[0x314B415453575748, 5], [4096, 0], [4097, 5], [4098, 7], [1, 1]], np.int64)
    path.write_bytes(rows.tobytes())
    first, pc, parent = _read(path)
    assert (first, pc.tolist(), parent.tolist()) == (5, [4096, 4097], [0, 5])
    path.write_bytes(b"x" * 40)
    assert _read(path)[0] == 0 and _read(tmp_path / "none")[0] == 0
