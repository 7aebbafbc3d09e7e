"""Logs of calls that break off, of several threads and of several processes."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import ltrace
from text_recordings import FORMATS, imported, told


def counted(trace, words):
    """The figure at the end of the one note that says `words`; 0 without one."""
    found = [note for note in trace.notes if words in note]
    return int(found[0].rpartition(": ")[2].replace(",", "")) if found else 0


LTRACES = {  # lines, the requests that they tell, and what is counted
    "7 malloc(5 <no return ...>\n7 malloc(6) = 0x20\n": (["malloc 6"], {}),
    "7 free(0x90 <no return ...>\n7 malloc(6) = 0x20\n": (["malloc 6"], {}),
    "7 malloc(5 <no return ...>\n7 <... malloc resumed> ) = 0x20\n": (["malloc 5"], {}),
    "7 calloc(3, 7 <unfinished ...>\n7 malloc(21 <unfinished ...>\n"
    "7 <... malloc resumed> ) = 0x40\n7 <... calloc resumed> ) = 0x40\n": (
        ["calloc 21"],
        {"within another call": 1},
    ),
    "7 calloc(3, 7 <unfinished ...>\n7 malloc(21 <no return ...>\n"
    "7 <... calloc resumed> ) = 0x40\n": (["calloc 21"], {"within another call": 1}),
    "7 malloc(5 <unfinished ...>\n7 <... free resumed> ) = 0x40\n7 malloc(6) = 0x20\n": (
        ["malloc 6"],
        {"whose result is not told": 1},
    ),
    "7 free(0x90 <unfinished ...>\n7 <... free resumed> ) = 0\n7 malloc(6) = 0x20\n": (
        ["malloc 6"],
        {},
    ),
    "7 reallocarray(0x0, 5, 41 <unfinished ...>\n7 <... reallocarray resumed> ) = 0x40\n": (
        ["malloc 205"],
        {},
    ),
    "7 memalign(size 40, al 64 <unfinished ...>\n7 <... memalign resumed> ) = 0x40\n": (
        ["memalign 40"],
        {},
    ),
    "7 malloc(6) = 0x20\n7 calloc(5": (["malloc 6"], {"whose result is not told": 1}),
    "7 malloc(6) = 0x20\n7 calloc(x": (["malloc 6"], {"are no events": 1}),
    "7 malloc(6) = 0x20\nmalloc\n\n+++ exited": (["malloc 6"], {"are no events": 3}),
}


@pytest.mark.parametrize("lines", LTRACES)
def test_calls_that_ltrace_breaks_off(lines, tmp_path):
    trace = imported("7 malloc(9) = 0x90\n" + lines, tmp_path)
    requests, counts = LTRACES[lines]
    made = [f"{op} {size}" for op, _, size, *_ in told(trace) if op != "free"]
    assert made == ["malloc 9", *requests]
    assert trace.frees == lines.count("free(")
    for words in ("within another call", "whose result is not told", "are no events"):
        expected = next((n for told_, n in counts.items() if words in told_), 0)
        assert counted(trace, words) == expected, words
    assert counted(trace, "began before the recording") == 0


def test_so_many_threads_of_ltrace_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(ltrace, "THREADS", 2)
    lines = [f"{n} malloc({n}) = {16 * n:#x}\n" for n in (5, 6, 7)]
    assert imported("".join(lines[:2]), tmp_path).threads == 2
    with pytest.raises(HeapwrightError, match="line 3 is of one more than 2 threads: '7 malloc"):
        imported("".join(lines), tmp_path)


def test_a_valgrind_log_that_ends_within_a_line_and_processes(tmp_path):
    content = FORMATS["valgrind"][0]
    assert told(imported(content + "--98-- calloc(5", tmp_path)) == FORMATS["valgrind"][1]
    with pytest.raises(HeapwrightError, match="line 15 is not understood: '--98-- calloc"):
        imported(content + "--98-- calloc(5) = 0x90\n", tmp_path)
    named = content.replace("./p --fast", "p" * 201)
    assert imported(named, tmp_path).program == "p" * 200
    for line in ("--{}-- malloc({}) = {:#x}\n", "{} 7 malloc({})={:#x}\n"):
        calls = "".join(line.format(pid, n, 16 * n) for n, pid in enumerate((0, 5, 0, 6), 1))
        trace = imported(calls, tmp_path)
        assert [row[2] for row in told(trace)] == [1, 3]
        assert counted(trace, "lines of other processes") == 2
