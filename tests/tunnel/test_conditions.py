"""What is assumed of program and machine, in words."""

import pytest

from heapwright.managers.registry import managers, named
from heapwright.tunnel.conditions import room_text


@pytest.mark.parametrize(
    "name", [name for name, one in managers().items() if one.family == "linux"]
)
def test_a_manager_with_a_memory_of_its_own_says_how_much(name):
    assert room_text(named(name), {}).startswith("its ")


def test_any_other_has_the_address_space_and_a_knob_is_heeded():
    assert room_text(named("mark-sweep"), {}) == room_text(named("linear"), {})
    assert room_text(named("linear"), {}) == "the address space is 64 GiB"
    assert room_text(named("slub"), {"memory_bytes": 32 << 20}) == "its memory_bytes is 32.0 MiB"
