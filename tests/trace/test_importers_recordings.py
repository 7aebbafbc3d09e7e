"""One deterministic program recorded by several tools: the same operations and sizes.

heapwright's own recorder is the yardstick; what a tool cannot see is taken away from it first, and
the trace must say so.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.trace.importers import import_file
from heapwright.trace.importers.heaptrack import LIBSTDCXX_POOL_BYTES
from heapwright.trace.recorder.session import record
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, REALLOC, THREAD_EXIT, TOUCH
from heapwright.trace.store import Trace

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the tools are for Linux"),
    pytest.mark.skipif(INTERPRETED, reason="recordings have too many events to read step by step"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
LUA = """
local t = {}
for i = 1, 3000 do t[i] = { i, tostring(i) .. "x" } if i % 7 == 0 then t[i - 3] = nil end end
local s = {} for i = 1, 500 do s[#s + 1] = string.rep("ab", i % 50) end
assert(#table.concat(s) > 0)
"""
MTRACE_BEGINS = (
    "#include <mcheck.h>\n__attribute__((constructor)) static void f(void) { mtrace(); }"
)
SEQUENCE = Path(__file__).with_name("sequence.c")


@pytest.fixture(scope="module", params=["lua5.4", "sequence"])
def program(request, tmp_path_factory):
    """(command, what heapwright recorded of it)."""
    folder = tmp_path_factory.mktemp("recorded")
    if request.param == "sequence":
        command = [str(folder / "sequence")]
        subprocess.run(["cc", "-O1", "-o", *command, SEQUENCE], check=True)
    elif shutil.which(request.param):
        command = [request.param, "-e", LUA]
    else:
        pytest.skip(f"{request.param} is not installed")
    out = folder / "out.parquet"
    status, _ = record(command, out)
    assert status == 0
    return command, told(Trace.open(out))


def told(trace):
    """(operation, size) of every event but the ends of threads and what a look saw."""
    found = []
    for batch in trace.batches(("op", "slot", "size")):
        found += list(zip(batch.op.tolist(), batch.size.tolist(), strict=True))
    return [event for event in found if event[0] not in (THREAD_EXIT, TOUCH)]


def imported(recording, tmp_path):
    import_file(recording, tmp_path / "out.parquet")
    trace = Trace.open(tmp_path / "out.parquet")
    return told(trace), " ".join(trace.notes)


def run(command, **options):
    subprocess.run(command, check=True, capture_output=True, timeout=120, **options)


def without_kinds(events):
    """calloc and aligned requests as mallocs."""
    return [(MALLOC if op in (CALLOC, MEMALIGN) else op, size) for op, size in events]


def test_valgrind_tells_the_same(program, tmp_path):
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    command, expected = program
    log = tmp_path / "log"
    options = ["-q", "--trace-malloc=yes", "--run-libc-freeres=no", f"--log-file={log}"]
    run(["valgrind", *options, *command])
    events, notes = imported(log, tmp_path)
    assert events == expected
    assert "valgrind tells no threads" in notes


def test_mtrace_tells_the_same_but_for_calloc(program, tmp_path):
    command, expected = program
    (tmp_path / "begin.c").write_text(MTRACE_BEGINS)
    begin, log = tmp_path / "begin.so", tmp_path / "log"
    run(["cc", "-shared", "-fPIC", "-o", begin, tmp_path / "begin.c"])
    preload = f"libc_malloc_debug.so.0:{begin}"
    run(command, env={**os.environ, "LD_PRELOAD": preload, "MALLOC_TRACE": str(log)})
    if not log.exists():
        pytest.skip("no libc_malloc_debug.so.0")
    events, notes = imported(log, tmp_path)
    libc_own = events[len(expected) :]
    assert events[: len(expected)] == without_kinds(expected)
    assert set(libc_own) <= {(FREE, 0)} and len(libc_own) < 50
    assert "mtrace does not tell calloc" in notes and "lets libc free what libc holds" in notes


def test_heaptrack_tells_the_same_but_for_calloc_and_realloc(program, tmp_path):
    if not shutil.which("heaptrack"):
        pytest.skip("heaptrack is not installed")
    command, expected = program
    run(["heaptrack", "--raw", "-o", tmp_path / "log", *command])
    (log,) = tmp_path.glob("log.raw.*")
    events, notes = imported(log, tmp_path)
    assert events.pop(0) == (MALLOC, LIBSTDCXX_POOL_BYTES)
    assert not any(op == REALLOC for op, _ in events), "none is made up"
    split = in_two(events)
    if split[-1] == (FREE, 0) and len(split) > len(in_two(expected)):
        split.pop()  # of the C++ runtime's pool, last of all
    assert split == in_two(expected)
    for what in ("calloc", "a realloc as a free and an allocation", "C++ runtime"):
        assert what in notes


def in_two(events):
    """Each realloc as heaptrack logs it, a free and an allocation; callocs as mallocs."""
    halves = []
    for op, size in without_kinds(events):
        halves += [(FREE, 0), (MALLOC, size)] if op == REALLOC else [(op, size)]
    return halves
