"""A twin of HotSpot beside a log: the log's heap, its collections counted, others refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.compiler import INTERPRETED
from heapwright.errors import HeapwrightError
from heapwright.references.hotspot.logged import LoggedAgreement, beside
from heapwright.references.hotspot.logged import log_of as log_kept_in
from heapwright.trace.gc_log import read, reading
from heapwright.trace.importers.source import in_memory
from heapwright.trace.store import Trace
from hotspot_programs import trace
from java_programs import KEY

COMPILED = pytest.mark.skipif(INTERPRETED, reason="its twins' own tests run interpreted")
CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
YOUNG = "[1.0s][info][gc] GC({}) Pause Young (Allocation Failure) 5M->1M(15M) 2.0ms\n"


def log_of(youngs, most="Heap Max Capacity: 8M"):
    head = f"[0.0s][info][gc] Using Serial\n[0.0s][info][gc,init] {most}\n"
    return reading(in_memory((head + "".join(map(YOUNG.format, range(youngs)))).encode()))


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@COMPILED
def test_the_twin_has_the_heap_of_the_log():
    found = beside("hotspot-serial", trace("serial-lists"), log_of(10))
    assert found.settings["Xmx"] == 8 << 20 and found.young[1] == 10 and found.young[0] > 0
    assert "the run that the log is of: Xmx=8M." in found.sentences()[0]
    assert found.agrees == (abs(found.young[0] - 10) <= 0.5)
    more = beside("hotspot-serial", trace("serial-lists"), log_of(found.young[0]))
    assert more.agrees and more.young[0] == more.young[1]
    given = beside("hotspot-serial", trace("serial-lists"), log_of(10), {"Xmx": 16 << 20})
    assert given.young[0] < found.young[0]
    assert "The log's heap may grow to 8.00 MiB." in given.sentences()


def test_counts_within_a_twentieth_agree():
    known = LoggedAgreement("hotspot-serial", 1, {}, log_of(1), young=(105, 100))
    assert known.agrees and known.rows()[0] == ("young collections", "105", "100", "+5.00 %")
    known.young = (106, 100)
    assert not known.agrees


@pytest.mark.parametrize(
    ("name", "log", "said"),
    [
        ("hotspot-serial", "g1", "the log of another collector, g1, than hotspot-serial has; lay"),
        ("hotspot-g1", "z", "another collector, z, than hotspot-g1 has; no twin here"),
        ("glibc", "g1", "glibc is no twin of a JVM's collector"),
    ],
)
def test_a_log_of_another_collector_is_a_sentence(name, log, said):
    with pytest.raises(HeapwrightError, match=said):
        beside(name, trace("serial-lists"), read(CORPUS / f"gc_log-{log}.log"))


def test_info_and_import_say_what_a_log_is(tmp_path):
    log = CORPUS / "gc_log-serial.log"
    said = run("info", log)
    assert said.exit_code == 0 and "at most 16.0 MiB" in said.output and "young" in said.output
    known = json.loads(run("info", log, "--json").output)
    assert known["collector"] == "serial" and known["kinds"]["full"]["collections"] == 1
    refused = run("import", log, "-o", tmp_path / "x.parquet")
    assert refused.exit_code == 1 and "heapwright info" in refused.stderr


def test_other_words_are_no_log(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("nothing of [gc] here\n")
    assert run("info", path).exit_code == 1
    graph = trace("serial-lists").path
    refused = run("validate", "hotspot-serial", graph, "--log", path)
    assert refused.exit_code == 1


@COMPILED
def test_a_recorded_run_is_the_twins(tmp_path):
    """Of a real JVM: the twin of its collector, in its heap, has its collections."""
    found = beside("hotspot-serial", Trace.open(KEY), log_kept_in(KEY))
    assert found.settings == {"Xmx": 4 << 20, "Xmn": 1 << 20}
    assert found.agrees and found.young[1] > 20 and abs(found.full[0] - found.full[1]) <= 1
    twin, real = found.allocated_bytes
    assert abs(twin - real) < 0.02 * real
    said = run("validate", "hotspot-serial", KEY, "--log", KEY, "--strict")
    assert said.exit_code == 0 and "young collections" in said.output


def test_a_trace_without_a_log_is_no_log():
    with pytest.raises(HeapwrightError, match="keeps no collections of a JVM"):
        log_kept_in(trace("serial-lists").path)
