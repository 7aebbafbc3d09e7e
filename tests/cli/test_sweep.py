"""`heapwright sweep`, as typed."""

import json

from typer.testing import CliRunner

from heapwright.cli import app
from small_traces import churn, write


def run(*arguments):
    return CliRunner().invoke(app, ["sweep", *(str(argument) for argument in arguments)])


def test_the_best_of_each_trace(tmp_path):
    write(tmp_path / "a.heap.parquet", churn(400))
    spec = tmp_path / "s.toml"
    spec.write_text(
        'traces = "a.heap.parquet"\nmanagers = ["linear", "first-fit"]\noutput = "r.parquet"\n'
    )
    said = run(spec, "--best", "end_bytes", "--top", 1)
    assert said.exit_code == 0
    assert "The 1 rows with the least end_bytes" not in said.stdout
    assert "The row with the least end_bytes." in said.stdout and "first-fit" in said.stdout
    assert f"{tmp_path / 'r.parquet'}: 2 rows, 2 made now" in said.stdout
    again = json.loads(run(spec, "--json").stdout)
    assert again["made"] == 0 and [row["settings"] for row in again["rows"]] == [{}, {}]
    (best,) = json.loads(run(spec, "--json", "--best", "peak_bytes", "--top", 1).stdout)["rows"]
    assert best["manager"] == "first-fit"


def test_mistakes_are_sentences(tmp_path):
    said = run(tmp_path / "none.toml")
    assert said.exit_code == 1 and "cannot read" in said.stderr
