"""`heapwright compare PROGRAM --heap`, as typed."""

import json

import pytest
from typer.testing import CliRunner

from few_managers import only
from heapwright.api.selection import multiples
from heapwright.cli import app
from heapwright.errors import HeapwrightError
from heapwright.trace import programs


def run(*arguments):
    return CliRunner().invoke(
        app, [str(argument) for argument in arguments], env={"COLUMNS": "200"}
    )


@pytest.fixture
def few(monkeypatch):
    """One collector, one manager without; a small program."""
    only(monkeypatch, "glibc", "semispace")
    module = programs.program("binary-trees")
    small = module.Parameters()._replace(objects=20_000)
    monkeypatch.setattr(module, "Parameters", lambda: small)


def test_a_program_is_replayed_at_each_heap_size(few):
    found = run("compare", "binary-trees", "--heap", "1x,8x,5x", "--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["trace"]["program"].startswith("binary-trees")
    assert {result["manager"] for result in document["results"]} == {"glibc", "semispace"}
    curve = document["space_time"]
    assert curve["baseline"] == "glibc"
    assert [(row["collector"], row["heap"], row["fits"]) for row in curve["rows"]] == [
        ("semispace", 1.0, False),
        ("semispace", 5.0, True),
        ("semispace", 8.0, True),
    ]
    assert curve["rows"][1]["collections"] > curve["rows"][2]["collections"] > 0
    assert "out of memory" in found.stderr


def test_the_table_says_who_has_no_room(few):
    found = run("compare", "binary-trees", "--heap", "1x,5x")
    assert found.exit_code == 0
    row = next(line for line in found.stdout.splitlines() if line.startswith("semispace"))
    assert "no room" in row
    assert "mark/" in found.stdout and "lections" in found.stdout


def test_a_page_of_a_program_that_was_made_for_it(few, tmp_path):
    """Its trace is read again for the page."""
    for more in (("--heap", "5x"), ()):
        found = run("compare", "binary-trees", *more, "--html", tmp_path / "out.html")
        assert found.exit_code == 0, found.stderr
        assert '<h1 class="clip">binary-trees' in (tmp_path / "out.html").read_text()


def test_of_a_malloc_trace_the_collectors_fly_too(few, tmp_path):
    programs.synthesise("log-uniform", tmp_path / "t.parquet", {"events": 5000})
    found = run("compare", tmp_path / "t.parquet", "--heap", "6x", "--json")
    document = json.loads(found.stdout)
    assert [row["fits"] for row in document["space_time"]["rows"]] == [True]
    notes = {result["manager"]: result["notes"] for result in document["results"]}
    assert any("Ideal liveness" in note for note in notes["semispace"])


def test_multiples():
    assert multiples("3x, 1.5x,2") == [1.5, 2, 3]


@pytest.mark.parametrize("text", ["", "0x", "-1x", "two", "1.5x,,2x", "nan", "inf", "1e9x"])
def test_what_is_no_multiple_is_a_sentence(text):
    with pytest.raises(HeapwrightError, match="is no multiple of the live bytes"):
        multiples(text)
