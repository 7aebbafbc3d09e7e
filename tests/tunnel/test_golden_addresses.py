"""Compiled as shipped, bounds-checked and interpreted, managers put every object where they did."""

import pytest

import golden_addresses
from golden_addresses import STRETCH, cases, figures, kept, label, state_of
from heapwright.compiler import INTERPRETED
from heapwright.managers import managers
from knob_bounds import booted


@pytest.mark.parametrize(
    ("name", "variant"),
    [pytest.param(*case, id=f"{case[0]} {label(case[1])}") for case in cases()],
)
def test_addresses_are_those_of_every_other_way_to_run(name, variant):
    expected = kept(name).get(label(variant))
    assert expected, f"nothing is kept of {name} {label(variant)}: `make golden` writes it"
    found = figures(managers()[name], variant)
    for number, (here, there) in enumerate(
        zip(found["addresses"], expected["addresses"], strict=True)
    ):
        assert here == there, (
            f"{name} {label(variant)}: other addresses from event {number * STRETCH} on; if they "
            "are meant, `make golden`"
        )
    assert found == expected, "the same addresses, and other paths, faults or totals"


@pytest.mark.skipif(not INTERPRETED, reason="what boots is the same Python compiled")
@pytest.mark.parametrize("name", list(dict.fromkeys(name for name, _ in cases())))
def test_knobs_are_refused_and_heard_as_they_were(name):
    manager, expected = managers()[name], kept(name)["knobs"]
    assert list(expected) == list(manager.module.Config._fields)
    for knob, (told, values) in expected.items():
        assert booted(manager, knob, values, state_of) == told, f"{knob} at {values}: `make golden`"


def test_no_file_is_left_of_a_manager_that_is_gone():
    names = {name for name, _ in cases()}
    assert {path.stem for path in golden_addresses.FOLDER.glob("*.json")} == names
