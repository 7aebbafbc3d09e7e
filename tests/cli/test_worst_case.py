"""`heapwright worst-case`, as typed."""

import json

from typer.testing import CliRunner

from heapwright.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["worst-case", *(str(argument) for argument in arguments)])


def test_json_has_what_was_promised():
    said = json.loads(run("first-fit", "--live", 4, "--ratio", 2, "--json").stdout)
    assert (said["manager"], said["live"], said["ratio"]) == ("first-fit", 4, 2)
    assert (said["high_water"], said["optimum"], said["exhaustive"]) == (6, 5, True)
    held = {}
    for step in said["sequence"]:
        if step["op"] == "malloc":
            held[step["slot"]] = step["units"]
        else:
            assert held.pop(step["slot"]) == step["units"]
        assert sum(held.values()) <= 4
    assert step["start_units"] + step["units"] == said["high_water"]


def test_the_heap_is_drawn():
    said = run("first-fit", "--live", 4, "--ratio", 2).stdout
    assert "first-fit needs 6 units for 4 live in blocks of 1 to 2 units" in said
    assert "Robson's optimum is 5 units: 1.20 times that." in said
    last = next(line for line in reversed(said.splitlines()) if "  +" in line)
    assert len(last.split()[-1]) == 6


def test_optimal_has_no_sequence():
    said = run("optimal", "--live", 4, "--ratio", 4)
    assert (
        "optimal needs 5 units for 4 live in blocks of powers of two up to 4 units" in said.stdout
    )


def test_a_knob_of_another_manager_is_a_mistake():
    said = run("first-fit", "--live", 4, "--ratio", 2, "--set", "buddy.growth_bytes=4096")
    assert said.exit_code == 1
