"""The commands that make and describe traces: synthesise, import, info."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from heapwright.cli.screen import print_json
from heapwright.result import SCHEMA_VERSION
from heapwright.trace.store import Trace

HEAPWRIGHT = [sys.executable, "-m", "heapwright"]


def run(*words, **options):
    return subprocess.run(
        [*HEAPWRIGHT, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


@pytest.fixture(scope="module")
def ramp(tmp_path_factory):
    path = tmp_path_factory.mktemp("traces") / "ramp.parquet"
    done = run("synthesise", "ramp", "--events", "50k", "--set", "live_objects=2_000", "-o", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: 50,000 events, ")
    return path


def test_synthesise_is_reproducible(ramp, tmp_path):
    other = tmp_path / "again.parquet"
    words = ("synthesise", "ramp", "--events", "50k", "--set", "live_objects=2_000")
    run(*words, "-o", other)
    assert other.read_bytes() == ramp.read_bytes()
    run(*words, "--seed", "2", "-o", other)
    assert other.read_bytes() != ramp.read_bytes()


def test_synthesise_names_its_trace_after_the_program(tmp_path):
    assert run("synthesise", "log-uniform", "--events", "1000", cwd=tmp_path).returncode == 0
    assert Trace.open(tmp_path / "log-uniform.heap.parquet").events == 1000


def test_synthesise_lists_the_programs():
    listed = run("synthesise").stdout
    assert "log-uniform" in listed and "survivors_percent = 10" in listed


def test_synthesise_as_json(tmp_path):
    words = ("ramp", "--events", "3000", "--set", "live_objects=70", "--seed", "5", "--json")
    done = run("synthesise", *words, cwd=tmp_path)
    told = json.loads(done.stdout)
    trace = Trace.open(tmp_path / "ramp.heap.parquet")
    assert told["trace"] == "ramp.heap.parquet" and told["program"] == "ramp"
    assert told["parameters"]["live_objects"] == 70 and told["parameters"]["seed"] == 5
    names = ("events", "threads", "allocations", "reallocations", "frees", "graph_events")
    for name in (*names, "peak_live_bytes", "peak_live_objects", "size_bytes_on_disk"):
        assert told[name] == getattr(trace, name)
    programs = {
        row["name"]: row for row in json.loads(run("synthesise", "--json").stdout)["programs"]
    }
    assert programs["gcbench"]["graph"] and not programs["ramp"]["graph"]
    assert programs["ramp"]["parameters"].keys() == programs["ramp"]["limits"].keys()


def test_import_as_json(tmp_path):
    lines = ["8: malloc 0x10 100", "9: malloc 0x20 30", "9: malloc 0x0 7"]
    lines += ["8: realloc 0x30 0x10 200", "9: free 0x20", "9: free 0x990", "9: free 0x990"]
    lines += ["9: malloc 0x40 1", "8: malloc 0x50 2"]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    done = run("import", "log", "-o", "t.parquet", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["events"], told["allocations"], told["reallocations"]) == (7, 4, 1)
    assert (told["frees"], told["refused"], told["unmatched_frees"]) == (1, 1, 2)
    assert (told["threads"], told["peak_live_bytes"], told["program"]) == (2, 230, "log")
    assert any("blocks that were not live" in note for note in told["notes"])


def test_synthesise_a_graph(tmp_path):
    done = run("synthesise", "linked-lists", "--objects", "5k", "--seed", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trace = Trace.open(tmp_path / "linked-lists.heap.parquet")
    assert trace.graph and 5_000 <= trace.allocations < 5_010 and "seed=2" in trace.program
    assert done.stdout.startswith(f"linked-lists.heap.parquet: {trace.events:,} events, ")


def test_info_as_json(ramp):
    done = run("info", ramp, "--json")
    figures = json.loads(done.stdout)
    assert done.stderr == ""  # no progress bar where nobody looks
    trace = Trace.open(ramp)
    for key in (
        "events",
        "allocations",
        "frees",
        "unmatched_frees",
        "peak_live_bytes",
        "peak_live_objects",
        "threads",
        "program",
        "kind",
    ):
        assert figures[key] == getattr(trace, key)
    assert figures["live_at_end"]["objects"] == figures["allocations"] - figures["frees"]


def test_info_for_people(ramp):
    done = run("info", ramp)
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    for words in (
        "requests by size",
        "objects by lifetime",
        "never freed",
        "ramp: second phase",
        "█",
    ):
        assert words in done.stdout
    assert "reallocs" not in done.stdout  # none in this trace


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["info", "nowhere.parquet"], "nowhere.parquet"),
        (["info", "/dev/null"], "/dev/null"),
        (["info", __file__], "is not a trace"),
        (["import", "nowhere.bin", "-o", "out.parquet"], "cannot open nowhere.bin"),
        (["import", __file__, "-o", "out.parquet"], "no format that can be imported"),
        (["synthesise", "rump"], "no program is named 'rump'"),
        (["synthesise", "ramp", "--events", "some"], "'some' is not a count"),
        (["synthesise", "ramp", "--seed", "-1"], "a seed is not negative"),
        (["synthesise", "gcbench", "--seed", "1"], "gcbench draws nothing: leave out --seed"),
        (["synthesise", "gcbench", "--events", "1M"], "give --objects in place of --events"),
        (["synthesise", "ramp", "--objects", "1M"], "give --events in place of --objects"),
        (["synthesise", "ramp", "-o", "no/such/folder/t.parquet"], "No such file or directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(words, sentence, tmp_path):
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 1 and sentence in done.stderr
    assert done.stderr.startswith("heapwright: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_truncated_trace_is_one_sentence(ramp, tmp_path):
    whole = ramp.read_bytes()
    cut = tmp_path / "cut.parquet"
    for length in (0, 3, 1000, len(whole) - 1):
        cut.write_bytes(whole[:length])
        done = run("info", cut)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and str(cut) in done.stderr


@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "ended by SIGTERM")]
)
def test_a_signal_is_one_line_and_leaves_nothing(number, told, tmp_path):
    path = tmp_path / "long.parquet"
    words = [*HEAPWRIGHT, "synthesise", "log-uniform", "--events", "1G", "-o", str(path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as writer:
        try:
            deadline = time.monotonic() + 60
            while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert list(tmp_path.iterdir()), "nothing was begun"
            writer.send_signal(number)
            assert writer.stderr.read() == f"heapwright: {told}.\n"
            assert writer.wait(60) == 128 + number
        finally:
            writer.kill()
    assert not list(tmp_path.iterdir())


def test_import_of_a_real_capture(tmp_path):
    pytest.importorskip("memray")
    (tmp_path / "program.py").write_text("kept = [bytearray(5_000 + i) for i in range(500)]\n")
    command = [sys.executable, "-m", "memray", "run", "-q", "-o", "capture.bin", "program.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    done = run("import", "capture.bin", "-o", "out.parquet", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    trace = Trace.open(tmp_path / "out.parquet")
    assert f"{trace.events:,} events" in done.stdout and done.stdout.count("note: ") >= 2
    assert "program.py" in run("info", tmp_path / "out.parquet").stdout


def test_a_terminal_sees_progress_and_colours_unless_it_wants_none(ramp):
    def shown(**more):
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", **more}
        environment = {k: v for k, v in environment.items() if k != "NO_COLOR" or v}
        with subprocess.Popen(
            [*HEAPWRIGHT, "info", str(ramp)], stdout=theirs, stderr=theirs, env=environment
        ) as child:
            os.close(theirs)
            text = b""
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # Linux's end of a pseudo-terminal
                    break
                if not piece:
                    break
                text += piece
            assert child.wait(60) == 0
        os.close(ours)
        return text.decode()

    colourful, plain = shown(NO_COLOR=""), shown(NO_COLOR="1")
    assert "reading" in colourful
    assert "\x1b[3" in colourful and "\x1b[3" not in plain and "\x1b[9" not in plain


def test_json_takes_numpy_and_refuses_what_json_does_not_know(capsys):
    import numpy as np

    print_json({"a": np.int64(3), "b": np.arange(2), "c": np.float64(0.5)})
    said = json.loads(capsys.readouterr().out)
    assert said == {"schema_version": SCHEMA_VERSION, "a": 3, "b": [0, 1], "c": 0.5}
    with pytest.raises(ValueError, match=r"NaN|nan|Out of range"):
        print_json({"a": float("nan")})
    with pytest.raises(TypeError, match="object has no JSON form"):
        print_json({"a": object()})
