"""Every figure of every importer, each different from the others: none may take another's place."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file
from heapwright.trace.schema import COLUMNS, OPERATIONS
from heapwright.trace.store import Trace
from text_recordings import FORMATS, HEAPTRACK, imported, told

SLOTS = """\
op,slot,size,align,thread,site,time_ns,address,slack
malloc,0,101,,0,one,11,4096,3
memalign,1,202,24,1,two,22,8192,5
calloc,2,303,,0,three,33,12288,7
realloc,0,404,,1,four,44,16384,9
memalign,3,505,4096,2,five,55,20480,11
memalign,4,606,1,2,five,66,24576,13
memalign,5,707,33,2,five,77,28672,15
free,1,0,,0,,88,0,-1
"""
GRAPH = """\
op,slot,size,field,target,site
new,0,48,3,-1,Tree
new,1,64,5,-1,Leaf
write,0,0,2,1,
root,0,0,0,-1,
push,-1,0,0,-1,
pop,0,0,0,-1,
"""


def columns_of(trace):
    """All columns, as lists."""
    (batch,) = trace.batches(tuple(COLUMNS))
    return {name: getattr(batch, name).tolist() for name in COLUMNS if len(getattr(batch, name))}


@pytest.mark.parametrize("parquet", [False, True])
def test_every_column_of_a_table_with_slots(parquet, tmp_path):
    if parquet:
        rows = [line.split(",") for line in SLOTS.splitlines()]
        columns = dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True))
        numbers = {
            name: pa.array([int(cell) if cell else None for cell in cells], pa.int64())
            for name, cells in columns.items()
            if name not in ("op", "site")
        }
        pq.write_table(pa.table({**columns, **numbers}), tmp_path / "source")
        import_file(tmp_path / "source", tmp_path / "out.parquet")
        trace = Trace.open(tmp_path / "out.parquet")
    else:
        trace = imported(SLOTS, tmp_path)
    made = columns_of(trace)
    names = ["malloc", "memalign", "calloc", "realloc", *["memalign"] * 3, "free"]
    assert [OPERATIONS[op] for op in made["op"]] == names
    assert made["slot"] == [0, 1, 2, 0, 3, 4, 5, 1]
    assert made["size"] == [101, 202, 303, 404, 505, 606, 707, 0]
    assert made["align"] == [0, 5, 0, 0, 12, 0, 6, 0]  # 24 and 33 bytes rounded up
    assert made["thread"] == [0, 1, 0, 1, 2, 2, 2, 0]
    assert made["time_ns"] == [11, 22, 33, 44, 55, 66, 77, 88]
    assert made["address"] == [4096, 8192, 12288, 16384, 20480, 24576, 28672, 0]
    assert made["slack"] == [3, 5, 7, 9, 11, 13, 15, -1]
    assert trace.sites() == ["one", "two", "three", "four", "five"]
    assert made["site"] == [0, 1, 2, 3, 4, 4, 4, -1]
    assert "alignments that are no power of two, rounded up: 2" in trace.notes


def test_every_column_of_a_table_of_a_graph(tmp_path):
    trace = imported(GRAPH, tmp_path)
    made = columns_of(trace)
    assert [OPERATIONS[op] for op in made["op"]] == ["new", "new", "write", "root", "push", "pop"]
    assert (made["slot"], made["size"]) == ([0, 1, 0, 0, -1, 0], [48, 64, 0, 0, 0, 0])
    assert (made["field"], made["target"]) == ([3, 5, 2, 0, 0, 0], [-1, -1, 1, -1, -1, -1])
    assert [trace.sites()[row] for row in made["site"][:2]] == ["Tree", "Leaf"]


@pytest.mark.parametrize(
    ("align", "log2"),
    [(1, 0), (2, 1), (3, 2), (16, 4), (17, 5), (24, 5), (4096, 12), (4097, 13), (1 << 47, 47)],
)
@pytest.mark.parametrize(
    "row",
    [
        "op,object,size,align\nmemalign,0x40,100,{align}\n",
        "op,slot,size,align\nmemalign,0,100,{align}\n",
        "7: memalign 0x40 {align} 100\n",
        "7 7 memalign({align},100)=0x40\n",
        "t->memalign({align}, 100) = 0x40\n",
        "--7-- memalign(al {align}, size 100) = 0x40\n",
        "--7-- _ZnwmSt11align_val_t(size 100, al {align}) = 0x40\n",
    ],
)
def test_an_alignment_is_rounded_up(align, log2, row, tmp_path):
    trace = imported(row.format(align=align), tmp_path)
    assert told(trace) == [("memalign", 0, 100, log2, 0)]
    rounded = "alignments that are no power of two, rounded up: 1" in trace.notes
    assert rounded == (align != 1 << log2)


@pytest.mark.parametrize(
    ("call", "event"),
    [
        ("malloc(11)=0x40", ("malloc", 11, 0)),
        ("calloc(3,7)=0x40", ("calloc", 21, 0)),
        ("memalign(32,13)=0x40", ("memalign", 13, 5)),
        ("aligned_alloc(64,17)=0x40", ("memalign", 17, 6)),
        ("posix_memalign(128,19)=0x40", ("memalign", 19, 7)),
        ("valloc(23)=0x40", ("memalign", 23, 12)),
        ("pvalloc(29)=0x40", ("memalign", 4096, 12)),
        ("pvalloc(4096)=0x40", ("memalign", 4096, 12)),
        ("pvalloc(4097)=0x40", ("memalign", 8192, 12)),
        ("realloc(0x0,31)=0x40", ("malloc", 31, 0)),
        ("realloc(0x90,37)=0x40", ("realloc", 37, 0)),
        ("reallocarray(0x90,5,41)=0x40", ("realloc", 205, 0)),
        ("_Znwm(43)=0x40", ("malloc", 43, 0)),
        ("malloc(47)=(nil)", ("refused", 47, 0)),
        ("malloc(281474976710656)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("malloc(-1)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("malloc(281474976710655)=0x40", ("malloc", (1 << 48) - 1, 0)),
        ("malloc(99999999999999999999)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("calloc(281474976710655,1)=0x40", ("calloc", (1 << 48) - 1, 0)),
        ("calloc(16777216,16777216)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("calloc(4611686018427387904,2)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("calloc(2,4611686018427387904)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("calloc(2147483648,2147483648)=0x0", ("refused", (1 << 48) - 1, 0)),
        ("calloc(0,4611686018427387904)=0x40", ("calloc", 0, 0)),
        ("memalign(562949953421312,5)=0x0", ("refused", 5, 0)),
        ("memalign(281474976710656,6)=0x0", ("refused", 6, 0)),
        ("memalign(140737488355328,7)=0x40", ("memalign", 7, 47)),
        ("malloc(0)=0x40", ("malloc", 0, 0)),
    ],
)
def test_each_call_of_the_family(call, event, tmp_path):
    """Between two blocks of other sizes; the first of them is what a realloc moves."""
    trace = imported(f"5 6 malloc(1001)=0x90\n5 8 {call}\n5 9 malloc(2003)=0xa0\n", tmp_path)
    what, size, align = event
    slot = {"refused": -1, "realloc": 0}.get(what, 1)
    made = told(trace)
    asked = call.partition("(")[0] if what == "refused" else what
    assert made[1] == (asked, slot, size, align, 1)
    assert (made[0], made[2]) == (
        ("malloc", 0, 1001, 0, 0),
        ("malloc", 1 if slot < 1 else 2, 2003, 0, 2),
    )
    assert trace.refused == (what == "refused")


@pytest.mark.parametrize("free", ["free(0x90)", "cfree(0x90)", "_ZdlPv(0x90)"])
def test_each_call_that_frees(free, tmp_path):
    trace = imported(f"5 6 malloc(7)=0x80\n5 6 malloc(9)=0x90\n5 8 {free}\n", tmp_path)
    assert told(trace)[2] == ("free", 1, 0, 0, 1)


def noted(trace, words):
    """The figure that stands after, or in, the one note that says `words`."""
    (note,) = [note for note in trace.notes if words in note]
    return int(note.rpartition(": ")[2].replace(",", ""))


def test_what_an_ltrace_assumes_is_counted(tmp_path):
    log = (
        "free(0x10) = <void>\nmalloc(5) = 0x20\nmalloc(6) = 0x30\n"  # three lines without a thread
        "7 t->calloc(3, 7 <unfinished ...>\n"
        "7 malloc(21) = 0x40\n7 malloc(21) = 0x40\n"  # two within
        "7 <... calloc resumed> ) = 0x40\n"
        "8 <... malloc resumed> ) = 0x50\n"
        * 1
        + "8 <... malloc resumed> ) = 0x50\n" * 3  # four entered before
        + "9 malloc(9 <unfinished ...>\n"  # never returns
        + "--- SIGCHLD ---\n" * 4
        + f"{'9' * 20} malloc(5) = 0x60\n"
    )
    trace = imported(log, tmp_path)
    assert noted(trace, "name no thread, taken for those of one") == 3
    assert noted(trace, "within another call") == 2
    assert noted(trace, "began before the recording, left out") == 4
    assert noted(trace, "had not returned when the log ended") == 1
    assert noted(trace, "lines that are no events") == 5
    assert trace.unmatched_frees == 1


@pytest.mark.parametrize(
    "before",
    [
        "", "12 ", "[pid 12] ", "12 10:11:12 ", "12 10:11:12.345678 ", "10:11:12 ", "1690.25 ",
        "12 p->", "12 lib-x.so.6->", "[pid 12] 0.001 p->",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["malloc", "malloc@libc.so.6"])
def test_what_stands_before_a_call_of_ltrace(before, name, tmp_path):
    lines = [f"{before}{name}({5 * i}) = {16 * i:#x}\n" for i in range(1, 4)]
    trace = imported("".join(lines), tmp_path)
    assert told(trace) == [("malloc", i, 5 * i + 5, 0, 0) for i in range(3)]
    named = before.startswith(("12", "["))
    assert any("name no thread" in note for note in trace.notes) != named


@pytest.mark.parametrize("bytes_", [0, 40])
def test_a_block_of_posix_memalign_that_ltrace_does_not_print_is_counted(bytes_, tmp_path):
    lines = f"7 t->malloc(5) = 0x20\n7 t->posix_memalign(0x7ffd, 64, {bytes_}) = 0\n"
    trace = imported(lines, tmp_path)
    assert told(trace) == [("malloc", 0, 5, 0, 0)]
    assert noted(trace, "calls whose result is not told, left out") == 1


def test_what_other_importers_assume_is_counted(tmp_path):
    trace = imported("3 malloc(5)=#1\n3 malloc(6)=#2\n4 malloc(5)=#1\n", tmp_path)
    assert noted(trace, "name no thread") == 3 and noted(trace, "other processes") == 1
    trace = imported("@ p:[0x1] + 0x10 0x5\n@ p:[0x2] < 0x10\n@ p:[0x1] + 0x20 0x6\n", tmp_path)
    assert noted(trace, "reallocs whose new place is not told") == 1
    assert told(trace)[1:] == [("free", 0, 0, 0, 0), ("malloc", 0, 6, 0, 0)]


def test_what_a_table_leaves_empty_is_counted(tmp_path):
    trace = imported(
        "op,object,size,align,thread\nmalloc,0x10,,64,1\nmalloc,,7,128,\nmemalign,0x20,8,,\n"
        "free,0x10,,,\nmalloc,0x30,9,1,1\nmalloc,0x40,10,1,  \n",
        tmp_path,
    )
    assert noted(trace, "empty cells of size") == 1
    assert noted(trace, "empty cells of object") == 1
    assert noted(trace, "empty cells of align") == 1
    assert noted(trace, "empty cells of thread") == 4
    assert noted(trace, "alignments of requests that are no memalign") == 2


@pytest.mark.parametrize("names", ["object", "slot"])
def test_an_alignment_that_none_can_have_is_refused(names, tmp_path):
    for align in (-8, -1):
        with pytest.raises(HeapwrightError, match=r"row 2: an align is out of range"):
            imported(f"op,{names},size,align\nmalloc,0,1,\nmemalign,1,5,{align}\n", tmp_path)


def test_lines_that_only_look_like_calls(tmp_path):
    trace = imported(
        "--7-- malloc(5) = 0x10\n-7- malloc(6) = 0x20\n-a7-- malloc(6) = 0x30\n"
        f"--7-- malloc(8) = 0x40\n--{'9' * 20}-- malloc(9) = 0x50\n",
        tmp_path,
    )
    assert told(trace) == [("malloc", 0, 5, 0, 0), ("malloc", 1, 8, 0, 0)]
    assert noted(trace, "lines that are no events") == 3


def test_a_caller_of_mtrace_may_hold_signs_and_blanks(tmp_path):
    callers = ["/a - b/p.so:[0x1]", "/a -b/p:[0x2]", "/a + + c:[0x3]", "/d !x:[0x4]", "e<f:[0x5]"]
    lines = [f"@ {caller} + {16 * i:#x} {i:#x}\n" for i, caller in enumerate(callers, 1)]
    trace = imported("= Start\n" + "".join(lines), tmp_path)
    assert [size for _, _, size, *_ in told(trace)] == [1, 2, 3, 4, 5]
    assert trace.sites() == callers


def test_thread_0_is_a_thread(tmp_path):
    trace = imported("5 0 malloc(3)=0x10\n5 5 malloc(4)=0x20\n5 0 malloc(6)=0x30\n", tmp_path)
    assert [row[4] for row in told(trace)] == [0, 1, 0]
    assert not any("name no thread" in note for note in trace.notes)


def test_what_a_recording_lacks_is_counted(tmp_path):
    lines = ["7: malloc 0x10 1", "7: malloc 0x10 2", "7: malloc 0x10 3", "7: malloc 0x20 0"]
    lines += ["7: malloc 0x40 0", "7: malloc 0x50 0"]
    lines += ["7: free 0x0"] * 3 + ["7: free 0x990"] * 4 + ["7: realloc 0x30 0x0 5"] * 5
    lines += ["7: realloc 0x0 0x20 0", "7: realloc 0x0 0x10 9", "7: realloc 0x0 0x10 9"]
    trace = imported("\n".join(lines) + "\n", tmp_path)
    assert noted(trace, "frees that the recording lacks") == 2 + 4
    assert noted(trace, "frees of NULL") == 3
    assert noted(trace, "blocks that were not live") == trace.unmatched_frees == 4
    assert noted(trace, "reallocs of NULL, which stand as mallocs") == 5
    assert noted(trace, "reallocs to 0 bytes, which stand as frees") == 1
    assert noted(trace, "refused reallocs, left out") == 2
    assert noted(trace, "requests of 0 bytes") == 3
    assert (trace.allocations, trace.reallocations, trace.frees) == (11, 0, 7)


@pytest.mark.parametrize(("promised", "told_so"), [(3, False), (4, True), (2, True)])
def test_the_operations_that_a_rep_promises(promised, told_so, tmp_path):
    trace = imported(f"9\n1\n{promised}\n1\na 0 5\nr 0 7\nf 0\n", tmp_path)
    words = "the header promises another number of operations than the 3 there are"
    assert (words in trace.notes) == told_so
    trace = imported("9\n1\n6\n1\na 0 1\na 0 2\na 0 3\na 1 4\na 1 5\nf 1\n", tmp_path)
    assert noted(trace, "objects that lost their name to another and are never freed") == 3
    assert (trace.allocations, trace.frees) == (5, 1)


def test_a_refused_realloc_of_mtrace_leaves_the_block(tmp_path):
    lines = ["@ p:[1] + 0x10 0x5", "@ p:[2] ! 0x10 0x7", "@ p:[3] - 0x10"]
    lines += ["@ p:[4] + (nil) 0x8", "@ p:[4] + (null) 0x9"]
    trace = imported("\n".join(lines) + "\n", tmp_path)
    freed = [("malloc", 0, 5, 0, 0), ("free", 0, 0, 0, 0)]
    assert told(trace) == [*freed, ("malloc", -1, 8, 0, 0), ("malloc", -1, 9, 0, 0)]
    assert noted(trace, "refused reallocs, left out") == 1


def test_heaptracks_call_sites_lie_in_their_own_file(tmp_path):
    frames = "".join(f"t {0x2000 + i:x} {i:x}\n" for i in range(20))
    content = (
        "v 10500 3\nx 6 /bin/p\nm 1 x 1000 0 800 2000 331\nm 9 /l/q.so.1 9000 0 10 700 90\n"
        "m 2 /z 5000 0 8\n" + frames + "t 9001 0\nt 9710 0\nt 5004 0\nt 4000 0\nt 3100 0\n"
        "+ 1 15 10\n+ 2 16 20\n+ 3 17 30\n+ 4 18 40\n+ 5 19 50\n+ 6 14 60\n+ 7 10 70\n"
        "c 1\nc 2\nR 3\n"
    )
    trace = imported(content, tmp_path)
    own = [f"p+{0x1000 + i:#x}" for i in range(20)]
    asked = [trace.stack(site) for batch in trace.batches(("site",)) for site in batch.site]
    others = ["q.so.1+0x1", "q.so.1+0x710", "z+0x4", "p+0x3000", "p+0x2100"]
    assert asked == [*([other] for other in others), own, own[:16]]
    assert noted(trace, "lines that are no events") == 4  # the version and three of the clock


def test_kinds_and_blocks_of_heaptrack_in_one_recording(tmp_path):
    """Two numbers and the stack 0 are a block whose stack is not known."""
    trace = imported("v 10500 3\nt 20 0\na 30 1\na 40 0\n+ 1\n+ 9 0 1000\n+ 0\n- 1\n", tmp_path)
    (batch,) = trace.batches(("size", "site"))
    assert batch.size.tolist() == [64, 9, 48, 0]
    assert batch.site.tolist() == [-1, -1, 0, -1]
    assert not any("call site found no room" in note for note in trace.notes)


SWAP = """\
v 10500 3
x 6 /bin/p
m 1 x 1000 0 800
t 1020 0
t 1040 0
+ 64 1 5000
- 5000
+ c8 1 6000
- 6000
+ 190 1 7000
+ 10 2 8000
- 7000
c 5
+ 320 1 9000
"""


def test_heaptrack_proves_no_realloc(tmp_path):
    """A buffer that is freed and allocated larger, each time at one place of the program."""
    trace = imported(SWAP, tmp_path)
    assert (trace.reallocations, trace.allocations, trace.frees) == (0, 5, 3)
    assert any("2 allocations came straight after a free" in note for note in trace.notes)


@pytest.mark.parametrize(("first", "told_so"), [(72704, True), (72703, False), (100, False)])
def test_the_pool_that_heaptrack_brings_is_told(first, told_so, tmp_path):
    content = SWAP.replace("+ 64 1 5000", f"+ {first:x} 1 5000\n+ 11c00 2 9990")
    trace = imported(content, tmp_path)
    assert any("C++ runtime that heaptrack brings" in note for note in trace.notes) == told_so


def test_heaptrack_guesses_when_asked(tmp_path):
    trace = imported(SWAP, tmp_path, guess_reallocs=True)
    # The third free and allocation are parted by the clock, which no realloc is.
    assert (trace.reallocations, trace.allocations, trace.frees) == (2, 3, 1)
    assert any("of 2 allocations straight after a free 2 were guessed" in n for n in trace.notes)
    trace = imported(HEAPTRACK, tmp_path, guess_reallocs=True)
    assert told(trace) == [
        ("malloc", 0, 10, 0, 0),
        ("malloc", 1, 32, 0, 0),
        ("realloc", 0, 5000, 0, 0),
        ("free", 1, 0, 0, 0),  # this stack mostly allocates without a free before
        ("malloc", 1, 31, 0, 0),
        ("free", 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"heaptrack", "heaptrack, interpreted"}))
def test_where_nothing_is_guessed_the_switch_is_refused(name, tmp_path):
    for guess in (True, False):
        with pytest.raises(HeapwrightError, match="tells its reallocs apart: leave out"):
            imported(FORMATS[name][0], tmp_path, guess_reallocs=guess)


def test_fields_and_targets_of_many_objects(tmp_path):
    """Fields and targets keep their rows whatever their order."""
    count = 393
    lines = [f"new,{i},{8 * (i + 1)},{i + 1},-1" for i in range(count)]
    lines += [f"write,{i},0,{i},{count - 1 - i}" for i in range(count)]
    trace = imported("op,slot,size,field,target\n" + "\n".join(lines) + "\n", tmp_path)
    made = columns_of(trace)
    assert made["field"] == [*range(1, count + 1), *range(count)]
    assert made["target"] == [*[-1] * count, *range(count - 1, -1, -1)]
    assert np.array_equal(made["size"][:count], 8 * np.arange(1, count + 1))
