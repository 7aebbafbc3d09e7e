"""Compiled as shipped, bounds-checked and interpreted, managers put every object where they did."""

import pytest

import golden_addresses
from golden_addresses import STRETCH, cases, figures, kept, label
from heapwright.managers import managers


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


def test_no_file_is_left_of_a_manager_that_is_gone():
    names = {name for name, _ in cases()}
    assert {path.stem for path in golden_addresses.FOLDER.glob("*.json")} == names
