"""`heapwright advise`: what is tried, what is said, and that the first advice holds less."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

import few_managers
from heapwright.cli import app
from heapwright.cli.advise import budget_of, recorded, told_apart
from heapwright.errors import HeapwrightError
from heapwright.insight.advice import Candidate
from heapwright.insight.candidates import Field, present_of
from heapwright.managers.deploying import Deployment
from heapwright.references.malloc import systems
from heapwright.trace.schema import FREE, MALLOC, events
from heapwright.trace.store import Trace, TraceWriter
from pairs_of_python import recorded_pairs

BLOCKS, BYTES = 300, 100_000  # under the mmap threshold: they come from the heap itself


def write(path, op, slot, size, **more):
    facts = more.pop("facts", {})
    seconds = np.linspace(0, 5e9, len(op)).astype(np.int64)
    columns = {"op": op, "slot": slot, "size": size, "time_ns": seconds, **more}
    with TraceWriter(path, program="load", kind="recording") as out:
        for name, value in facts.items():
            setattr(out.facts, name, value)
        out.write(events(**columns))
    return str(path)


@pytest.fixture
def pinned(tmp_path):
    """A load that is freed under a block that stays: glibc keeps it all, mapped blocks go."""
    op = [MALLOC] * (BLOCKS + 1) + [FREE] * BLOCKS + [MALLOC, FREE] * 50
    slot = [*range(BLOCKS + 1), *range(BLOCKS), *([0] * 100)]
    size = [BYTES] * BLOCKS + [64] + [0] * BLOCKS + [100, 0] * 50
    return write(tmp_path / "pinned", op, slot, size)


def advised(*arguments):
    result = CliRunner().invoke(app, ["advise", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def twins_alone(monkeypatch):
    """No real system is here, and one twin."""
    few_managers.only(monkeypatch, "glibc")
    gone = {name: one for name, one in systems.SYSTEMS.items() if name == "glibc"}
    monkeypatch.setattr(systems, "SYSTEMS", gone)


def test_the_knob_that_helps_is_the_first_advice(pinned, twins_alone):
    said = json.loads(advised(pinned, "--json", "--jobs", "1"))
    now, best = said["present"], said["advice"][0]
    assert now["settings"] == {} and now["predicted"]["end_resident_bytes"] > BLOCKS * BYTES
    assert best["settings"]["mmap_threshold"] == 65536
    assert best["predicted"]["end_resident_bytes"] < 2 * BYTES
    assert best["deploy"]["environment"]["MALLOC_MMAP_THRESHOLD_"] == "65536"
    assert "MALLOC_MMAP_THRESHOLD_=65536" in best["deploy"]["lines"]["shell"]
    assert said["headline"].startswith("MALLOC_MMAP_THRESHOLD_=65536")
    assert not any("arena_max" in row["settings"] for row in said["advice"]), "there is one thread"
    assert best["measured"] is None and best["uncertainty"]["share"] < 0.05
    assert "layout" in best["uncertainty"]["from"]


def test_a_terminal_has_the_lines_to_copy(pinned, twins_alone, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = advised(pinned, "--jobs", "1")
    for words in ("ENV MALLOC_MMAP_THRESHOLD_", "Environment=", "- name: MALLOC_", "(now)"):
        assert words in said
    table = said[: said.index("In a shell")].splitlines()[4:]
    assert max(len(line) for line in table) <= 80


def test_live_data_is_said_first_and_there_is_nothing_to_change(tmp_path, twins_alone):
    count = 2000
    path = write(
        tmp_path / "grows", [MALLOC] * count, range(count), [10_000] * count
    )  # never freed
    said = json.loads(advised(path, "--json", "--jobs", "1"))
    assert said["sentences"][0].startswith("A leak: 19.1 MiB of the 19.1 MiB that stay")
    assert said["headline"].startswith("Nothing to change")


def test_a_cache_is_live_and_said_to_be(tmp_path, twins_alone):
    count = 2000
    op = [MALLOC] * count + [FREE, MALLOC] * count
    slot = [*range(count), *np.repeat(np.arange(count), 2)]
    size = [10_000] * count + [0, 10_000] * count
    said = json.loads(advised(write(tmp_path / "cache", op, slot, size), "--json", "--jobs", "1"))
    assert said["sentences"][0].startswith("Simply live")
    assert "a setting can save" in said["sentences"][0]
    assert said["headline"].startswith("Nothing to change")


def test_a_small_heap_and_a_large_process_are_said_first(pinned, tmp_path, twins_alone):
    count = 300
    origin = {"resident_bytes": str(900 << 20), "start_resident_bytes": str(3 << 20)}
    path = write(
        tmp_path / "jvm",
        [MALLOC, FREE] * count,
        [0] * (2 * count),
        [50_000, 0] * count,
        facts={"origin": origin},
    )
    said = json.loads(advised(path, "--json", "--jobs", "1"))
    assert "of the 900 MiB that the process held" in said["sentences"][0]


def test_no_more_is_promised_than_the_process_held(tmp_path, twins_alone):
    op = [MALLOC] * (BLOCKS + 1) + [FREE] * BLOCKS + [MALLOC, FREE] * 50
    slot = [*range(BLOCKS + 1), *range(BLOCKS), *([0] * 100)]
    size = [BYTES] * BLOCKS + [64] + [0] * BLOCKS + [100, 0] * 50
    origin = {"resident_bytes": str(9 << 20), "start_resident_bytes": str(4 << 20)}
    path = write(tmp_path / "unwritten", op, slot, size, facts={"origin": origin})
    said = json.loads(advised(path, "--json", "--jobs", "1"))
    assert "the figures are too high" in said["sentences"][0]
    assert said["present"]["uncertainty"]["from"]["written"] > 1
    assert said["headline"].startswith("No change is sure to help")


def test_a_real_system_that_is_missing_is_told_with_its_package(pinned, monkeypatch):
    few_managers.only(monkeypatch, "glibc")
    monkeypatch.setattr(systems, "_find", lambda soname: None)
    result = CliRunner().invoke(app, ["advise", pinned, "--json", "--jobs", "1"])
    said = json.loads(result.stdout)
    assert any("apt install libjemalloc2" in failure for failure in said["failures"])
    assert {row["manager"] for row in said["advice"]} == {"glibc"}
    result = CliRunner().invoke(app, ["advise", pinned, "--managers", "jemalloc"])
    assert result.exit_code == 1 and "apt install libjemalloc2" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--managers", "first-fit"], "explains and is not deployed"),
        (["--managers", "frob"], "no manager is named 'frob'"),
        (["--by", "size"], "--by is one of end, mean, peak"),
    ],
)
def test_mistakes_are_sentences(pinned, arguments, words):
    result = CliRunner().invoke(app, ["advise", pinned, *arguments])
    assert result.exit_code == 1 and words in " ".join(result.output.split())


def test_the_present_state_is_what_the_program_preloads(tmp_path):
    facts = {"origin": {"aside": "/usr/lib/libjemalloc.so.2"}, "settings": {"arena_max": 3}}
    path = write(tmp_path / "aside", [MALLOC], [0], [100], facts=facts)
    trace = Trace.open(path)
    assert present_of(trace) == ("jemalloc", "libjemalloc.so.2")
    field = Field(trace, ["glibc"])
    now = Candidate("jemalloc", {}, Deployment({"LD_PRELOAD": "libjemalloc.so.2"}), "measured")
    (without,) = field.all(now, 0.0)
    assert (without.manager, without.deployment.environment) == ("glibc", {"LD_PRELOAD": ""})


@pytest.mark.parametrize(
    ("text", "limit"), [(None, (None, None)), ("60s", (60.0, None)), ("2m", (120.0, None))]
)
def test_a_budget_is_a_time_or_a_number_of_trials(text, limit):
    assert budget_of(text) == limit
    assert budget_of("12") == (None, 12)
    for wrong in ("", "s", "1h", "-3", "1.5"):
        with pytest.raises(HeapwrightError, match="--budget"):
            budget_of(wrong)


def test_a_trace_and_a_command_are_told_apart(pinned):
    assert told_apart([pinned]) == (Path(pinned), [])
    assert told_apart([pinned, "./run", "-x"]) == (Path(pinned), ["./run", "-x"])
    assert told_apart(["log-uniform"]) == (Path("log-uniform"), [])
    assert told_apart(["ls", "/"]) == (None, ["ls", "/"])


def test_what_a_signal_had_to_end_is_not_run_without_an_end(tmp_path, monkeypatch):
    from heapwright.trace.recorder import session

    ended = [SimpleNamespace(events=1, program="sleep", path=tmp_path / "o.parquet")]
    monkeypatch.setattr(session, "record", lambda *given, **more: (130, ended))
    out = tmp_path / "o.parquet"
    assert recorded(["sleep", "9"], out, endless=False) == out
    with pytest.raises(HeapwrightError, match="give --for SECONDS"):
        recorded(["sleep", "9"], out, endless=True)


def test_the_graph_of_a_python_is_told_what_its_collector_could_be(tmp_path, monkeypatch):
    few_managers.only(monkeypatch, "cpython", "go")
    trace = recorded_pairs(tmp_path / "pairs", pairs=3, between=7)
    said = json.loads(advised(str(trace.path), "--json", "--jobs", "1"))
    assert said["present"]["manager"] == "cpython" and said["present"]["collections"] == 1
    tried = [row["settings"] for row in said["advice"]]
    assert {"disable": 1} in tried and {"threshold0": 20_000} in tried
    assert {"freeze_at": 6} in tried  # at half of 13 births
    disabled = said["advice"][tried.index({"disable": 1})]
    assert disabled["deploy"]["code"] == "import gc; gc.disable()"
    assert disabled["deploy"]["lines"]["shell"] == ""
    assert "6 blocks" in said["sentences"][0]
