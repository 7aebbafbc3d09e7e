"""`heapwright areas`."""

import json

from typer.testing import CliRunner

from heapwright.cli import app


def run(*asked):
    return CliRunner().invoke(app, ["areas", *asked], env={"COLUMNS": "80"})


def test_areas_and_their_errors_fit_80_columns():
    told = run("hotspot", "--set", "Xmx=64M", "--set", "hotspot.Xss=512k", "--set", "gc=G1")
    assert told.exit_code == 0, told.output
    table = told.output.split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80 and any("4,770 to 4,773" in row for row in table)
    assert "-Xss512k" in table[2] and "java.lang.StackOverflowError" in told.output
    assert "a region" in told.output and "eden" not in told.output


def test_json_has_the_same_rows():
    told = json.loads(run("--json", "--set", "MaxDirectMemorySize=1M").stdout)
    by_area = {row["area"]: row for row in told["areas"]}
    assert by_area["direct memory"]["after"] == {"least": 10, "most": 10}
    assert by_area["metaspace"]["room_bytes"] is None
    assert by_area["heap"]["measured"] is None and told["notes"]


def test_what_is_refused_is_one_sentence():
    for asked in (("go",), ("--set", "Xmx"), ("--set", "Xmx=1"), ("--set", "Xmn=1G")):
        told = run(*asked)
        assert told.exit_code == 1 and told.stderr.count("\n") == 1, told.output
