"""Every command that uses a trace repeats its notes, in its words and in its JSON."""

import json

import pytest
from typer.testing import CliRunner

from heapwright.cli import app
from heapwright.compiler import INTERPRETED
from small_traces import churn, write

NOTE = "The recording stops before the program's end."
COMMANDS = [
    ["info", "TRACE"],
    ["replay", "linear", "TRACE"],
    ["compare", "TRACE", "--managers", "linear", "--no-references"],
    ["lower-bound", "TRACE"],
    ["export", "TRACE", "--to", "parquet", "-o", "OUT"],
    ["validate", "glibc", "TRACE"],
]


@pytest.mark.parametrize("json_too", [False, True])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_notes_are_repeated(tmp_path, words, json_too):
    if words[0] == "validate" and INTERPRETED:
        pytest.skip("the twin and the real system are compared compiled")
    if words[0] == "export" and json_too:
        pytest.skip("export prints no JSON")
    trace = write(tmp_path / "t.heap.parquet", churn(100), heap_start=4096, notes=[NOTE])
    places = {"TRACE": str(trace.path), "OUT": str(tmp_path / "out")}
    given = [places.get(word, word) for word in words]
    done = CliRunner().invoke(app, [*given, *(["--json"] if json_too else [])])
    assert done.exit_code == 0, done.output
    if json_too:
        assert NOTE in json.dumps(json.loads(done.stdout), ensure_ascii=False)
    else:
        assert NOTE in done.stdout
