"""`heapwright worst-case`, as typed."""

import json

from typer.testing import CliRunner

from heapwright.adversary.worst_case import WorstCase
from heapwright.cli import app
from heapwright.cli.worst_case import said


def run(*arguments):
    return CliRunner().invoke(app, ["worst-case", *(str(argument) for argument in arguments)])


def test_json_has_what_was_promised():
    told = json.loads(run("first-fit", "--live", 4, "--ratio", 2, "--json").stdout)
    assert (told["manager"], told["live"], told["ratio"]) == ("first-fit", 4, 2)
    assert (told["high_water"], told["optimum"], told["exhaustive"]) == (6, 5, True)
    held = {}
    for step in told["sequence"]:
        if step["op"] == "malloc":
            held[step["slot"]] = step["units"]
        else:
            assert held.pop(step["slot"]) == step["units"]
        assert sum(held.values()) <= 4
    assert step["start_units"] + step["units"] == told["high_water"]


def test_the_heap_is_drawn():
    shown = run("first-fit", "--live", 4, "--ratio", 2).stdout
    assert "first-fit needs 6 units for 4 live in blocks of 1 to 2 units" in shown
    assert "Robson's optimum is 5 units: 1.20 times that." in shown
    last = next(line for line in reversed(shown.splitlines()) if "  +" in line)
    assert len(last.split()[-1]) == 6


def test_blocks_in_areas_of_their_own_are_not_measured_by_the_optimum():
    found = WorstCase("x", 6, 4, "all", 448, False, 10, unit_bytes=64, areas=True)
    found.taken_bytes, found.first_bytes = 196_608, 65_536
    told = "\n".join(said(found))
    assert "x can be made to take 196,608 bytes from the machine for 6 live" in told
    assert "512 times the 384 bytes live at most; 65,536 of it for a first block" in told
    assert "448 units" in told and "times that" not in told


def test_optimal_has_no_sequence():
    shown = run("optimal", "--live", 4, "--ratio", 4)
    assert (
        "optimal needs 5 units for 4 live in blocks of powers of two up to 4 units" in shown.stdout
    )


def test_a_knob_of_another_manager_is_a_mistake():
    shown = run("first-fit", "--live", 4, "--ratio", 2, "--set", "buddy.growth_bytes=4096")
    assert shown.exit_code == 1
