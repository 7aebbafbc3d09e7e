"""A Python program recorded: whom each request asks, from which line, and where it was put."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.insight.statistics import statistics
from heapwright.references.cpython.agreement import Arenas, Follower, validate
from heapwright.references.cpython.stats import said_by, stats_of
from heapwright.report.traces import facts
from heapwright.trace.recorder.wishes import Wishes
from heapwright.trace.schema import (
    CALLOC,
    DOMAINS,
    MALLOC,
    MALLOC_DOMAIN,
    MEM,
    OBJECT,
    RAW,
    REALLOC,
    Events,
)
from heapwright.trace.store import Trace
from heapwright.tunnel.replay import Conditions, Replay
from recorded import all_events, run

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the recorder is for Linux"),
    pytest.mark.skipif(sys.version_info < (3, 11), reason="stacks are known from 3.11 on"),
    pytest.mark.skipif(INTERPRETED, reason="a recording has too many events to go step by step"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]
PYTHON = (sys.executable, "-S", "-E", "-I")
HEADER = b"".__sizeof__()  # of a bytes object: what it asks for beside its bytes
ASKING = (MALLOC, CALLOC, REALLOC)
PROGRAM = Path(__file__).with_name("python_program.py")


def pythons() -> list[str]:
    """This Python, and other versions that pyenv has here."""
    short = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = sorted(Path.home().glob(".pyenv/versions/3.1[1-3].*/bin/python3"))
    return [sys.executable, *(str(p) for p in others if short not in str(p.parent.parent.name))]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Trace:
    """PROGRAM, recorded."""
    status, trace = run(tmp_path_factory.mktemp("mixed"), *PYTHON, PROGRAM)
    assert status == 0
    return trace


def asked(trace: Trace, size: int) -> list[tuple[int, int, list[str]]]:
    """(domain, thread, stack) of the requests of a bytes object of this size."""
    events = all_events(trace)
    rows = np.flatnonzero((events.size == size + HEADER) & np.isin(events.op, ASKING))
    return [
        (
            int(events.domain[row]),
            int(events.thread[row]) if len(events.thread) else 0,
            [name.replace(f"{PROGRAM.parent.name}/{PROGRAM.name}", "FILE")
             for name in trace.stack(int(events.site[row]))],
        )
        for row in rows
    ]  # fmt: skip


def test_a_request_has_its_domain_its_thread_and_the_lines_that_lead_to_it(mixed):
    assert mixed.python == "{}.{}.{}".format(*sys.version_info[:3]) and mixed.by_domain
    [(domain, thread, stack)] = asked(mixed, 70_001)
    assert (domain, thread) == (OBJECT, 0)
    assert stack == ["<module> (FILE:21)", "Maker.made (FILE:15)", "leaf (FILE:10)"]
    [(_, thread, stack)] = asked(mixed, 70_002)
    assert thread == 1 and stack[-1] == "leaf (FILE:10)"
    assert [stack[-2:] for _, _, stack in asked(mixed, 70_003)] == [
        ["numbers (FILE:26)", "leaf (FILE:10)"]
    ]
    [(_, _, stack)] = asked(mixed, 70_004)  # a coroutine, below the event loop
    assert stack[-2:] == ["waits (FILE:34)", "leaf (FILE:10)"]
    [(_, _, stack)] = asked(mixed, 70_005)  # 300 frames deep
    assert len(stack) > 300 and set(stack[2:-2]) == {"deep (FILE:40)"}


def test_functions_made_and_dropped_at_one_address_keep_their_names(mixed):
    found = {size: asked(mixed, 80_000 + size)[0][2][-2] for size in range(50)}
    assert found == {size: f"made_{size} (<string>:{2 + size % 7})" for size in range(50)}


def test_mallocs_own_requests_stand_below_the_line_that_led_to_them(mixed):
    events = all_events(mixed)
    asking = np.isin(events.op, ASKING)
    own = asking & (events.domain == MALLOC_DOMAIN)
    (row,) = np.flatnonzero((events.size == 123_457) & own)
    stack = mixed.stack(int(events.site[row]))
    assert "calls_malloc (" in stack[-2] and "python_program.py" not in stack[-1]
    assert "calls_malloc" in mixed.sites()[int(events.site[row])]
    (row,) = np.flatnonzero((events.size == 123_461) & (events.domain == RAW))
    assert "calls_malloc" in mixed.sites()[int(events.site[row])]


def test_each_request_stands_once(mixed):
    events = all_events(mixed)
    assert {MALLOC_DOMAIN, RAW, MEM, OBJECT} <= set(events.domain.tolist())
    assert len(asked(mixed, 70_001)) == 1  # and malloc's is not there too
    assert mixed.unmatched_frees == 0
    shrunk = (events.op == REALLOC) & (events.size == 0)
    assert shrunk.any() and (events.domain[shrunk] >= RAW).all()


def test_info_tells_the_domains_and_the_lines(mixed):
    told = statistics(mixed)
    assert told["python"] == mixed.python and list(told["domains"]) == list(DOMAINS)
    assert sum(asked["requests"] for asked in told["domains"].values()) == sum(
        told["by_operation"][name] for name in ("malloc", "calloc", "realloc", "memalign")
    )
    assert told["domains"]["raw"]["bytes"] >= 123_461
    (said,) = [fact.text for fact in facts(told) if fact.title == "Python"]
    assert mixed.python in said and " of object, " in said
    assert any("python_program.py:67" in row["site"] for row in told["top_sites"]["by_count"])


def test_the_twin_answers_every_request_as_the_recorded_python_did(mixed):
    found = validate(mixed)
    assert found.recorded and found.agrees, found.first_difference
    assert found.addresses.compared > 10_000 and found.arenas[0] == found.arenas[1] > 5


@pytest.mark.parametrize("python", pythons())
def test_debugmallocstats_are_those_of_the_twin(tmp_path, python, capfd):
    library = tmp_path / "stats.so"
    source = Path(__file__).with_name("pymalloc_stats.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    program = (
        "import sys, ctypes\nkeep = [str(i) * (i % 9) for i in range(30_000)]\ndel keep[::3]\n"
        f"ctypes.PyDLL({str(library)!r}).stats()"
    )
    environment = os.environ | {"LD_PRELOAD": str(library)}
    status, trace = run(tmp_path, python, "-S", "-I", "-c", program, environment=environment)
    assert status == 0 and trace.stack_nodes > 100
    assert validate(trace).agrees
    events = all_events(trace)
    (mark,) = np.flatnonzero((events.size == 777_777) & (events.op == MALLOC))
    twin = Replay("pymalloc", trace, {}, Conditions())
    whole = Events(*(column[: mark + 1] if len(column) else column for column in events))
    sides = (Arenas(int(twin.heap.arena_bytes)) for _ in range(2))
    changes = trace.arena_changes()
    made = changes[changes[:, 0] <= mark]  # where arenas begin is up to Linux
    Follower(twin, twin.ledger(), *sides).follow(whole, whole.address, made, 0)
    real, ours = said_by(capfd.readouterr().err), stats_of(twin.heap)
    assert {name: ours.get(name) for name in real} == real and len(real) > 50


@pytest.mark.parametrize("version", ["3.9", "3.10"])
def test_an_older_python_is_recorded_by_domain_without_lines(tmp_path, version):
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
    if not found:
        pytest.skip(f"no Python {version} here")
    program = "keep = [[str(n)] for n in range(20_000)]\ndel keep[::3]"
    status, trace = run(tmp_path, found[0], "-S", "-E", "-c", program)
    assert status == 0 and trace.python.startswith(version)
    assert any("no stacks" in note for note in trace.notes)
    checked = validate(trace)
    assert checked.agrees and checked.addresses.compared > 20_000


def test_without_python_only_mallocs_requests_are_recorded(tmp_path):
    _, trace = run(tmp_path, *PYTHON, "-c", "bytes(5000)", wishes=Wishes(python=False))
    assert not trace.python and not trace.by_domain and not trace.stack_nodes
    assert any("recorded as malloc alone" in note for note in trace.notes)


def test_a_python_with_other_hooks_is_recorded_as_malloc_alone_and_says_so(tmp_path):
    environment = os.environ | {"PYTHONMALLOC": "malloc"}
    _, trace = run(tmp_path, sys.executable, "-S", "-c", "bytes(5001)", environment=environment)
    assert not trace.python and any("PYTHONMALLOC" in note for note in trace.notes)
    assert (all_events(trace).size == 5001 + HEADER).any()


def test_workers_are_recorded_each_with_its_own_lines(tmp_path):
    program = tmp_path / "workers.py"
    program.write_text(
        "import multiprocessing\n"
        "def work(n):\n    return len(bytes(n))\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('fork')\n"
        "    child = multiprocessing.Process(target=work, args=(90_001,))\n"
        "    child.start(); child.join(); work(90_002)\n"
    )
    _, main = run(tmp_path, sys.executable, "-S", program, children=True)
    (beside,) = tmp_path.glob("out.*.python*.heap.parquet")
    child = Trace.open(beside)
    assert asked(child, 90_001)[0][2][-1].startswith("work (") and not asked(child, 90_002)
    assert asked(main, 90_002)[0][2][-1].startswith("work (") and not asked(main, 90_001)
    assert child.inherited_events > 1000 and validate(child).agrees


def test_a_script_a_module_and_an_environment_are_python(tmp_path):
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\nbytes(90_003)\n")
    script.chmod(0o755)
    environment = tmp_path / "environment"
    venv = [sys.executable, "-m", "venv", "--without-pip", environment]
    subprocess.run(venv, check=True)
    module = [environment / "bin" / "python", "-m", "script"]
    (tmp_path / "script.py").write_text("bytes(90_003)\n")
    for command in ([script], module):
        _, trace = run(tmp_path, *command, environment=os.environ | {"PYTHONPATH": str(tmp_path)})
        assert [stack[-1] for _, _, stack in asked(trace, 90_003)] == [
            f"<module> ({tmp_path.name}/{script.name if command == [script] else 'script.py'}:"
            f"{2 if command == [script] else 1})"
        ]


def test_greenlets_do_not_break_it(tmp_path):
    pytest.importorskip("greenlet")
    program = tmp_path / "green.py"
    program.write_text(
        "import greenlet\n"
        "def one():\n    bytes(90_004); second.switch(); bytes(90_005)\n"
        "def two():\n    bytes(90_006); first.switch()\n"
        "first, second = greenlet.greenlet(one), greenlet.greenlet(two)\nfirst.switch()\n"
    )
    _, trace = run(tmp_path, sys.executable, program)
    found = [asked(trace, size)[0][2][-1].partition(" ")[0] for size in (90_004, 90_006, 90_005)]
    assert found == ["one", "two", "one"]
