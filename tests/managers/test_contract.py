"""The contract as a function: every fault of a module is a sentence, and the house's have none."""

import os
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from heapwright.errors import HeapwrightError
from heapwright.managers import contract, registry
from heapwright.managers.card import Card, Deploy
from heapwright.managers.textbook.linear import manager as linear


class Knobs(NamedTuple):
    size: int = 1
    version: int = 2_036_000


def module_with(**changes):
    names = {name: value for name, value in vars(linear).items() if not name.startswith("_")}
    return SimpleNamespace(**{**names, "__name__": "mine", "Config": Knobs, **changes})


def without(*names):
    module = module_with()
    for name in names:
        delattr(module, name)
    return module


@pytest.mark.parametrize("name", registry.managers())
def test_the_houses_own_are_sound(name):
    one = registry.named(name)
    assert contract.faults(one.card, one.module) == []


HOUSE = ("heapwright.managers.", "heapwright.collectors.", "heapwright.allocators.")


def test_no_two_managers_states_are_alike_to_numbas_dispatcher():
    """It knows a named tuple by its class's name and its parts: see `tunnel/malloc_run.py`."""

    def shape(kind):
        names = getattr(kind, "_fields", ())
        parts = getattr(kind, "__annotations__", {})
        return getattr(kind, "__name__", ""), *(shape(parts.get(name)) for name in names)

    assert all(manager.module for manager in registry.managers().values()), "imported"
    found = [vars(sys.modules[name]) for name in sys.modules if name.startswith(HOUSE)]
    kinds = {kind for names in found for kind in names.values() if isinstance(kind, type)}
    alike = {}
    for kind in kinds:
        if hasattr(kind, "_fields") and kind.__module__.startswith("heapwright."):
            alike.setdefault(shape(kind), set()).add(kind)
    twice = {shape[0] for shape, kinds in alike.items() if len(kinds) > 1}
    assert twice == {"Config"}, "of which a kernel sees nothing"


CARD = Card(summary="mine")


@pytest.mark.parametrize(
    ("card", "module", "sentence"),
    [
        (Card(summary="", serves=()), module_with(), "serves nothing"),
        (Card(summary="", serves=("pages",)), module_with(), "serves 'pages'"),  # type: ignore[arg-type]
        (CARD, without("alloc", "check"), "mine lacks check, alloc"),
        (Card(summary="", serves=("graph",)), module_with(), "lacks new, write, collect, vacant"),
        (CARD, module_with(alloc=lambda heap, size: 0), "mine.alloc takes 2 arguments, not 4"),
        (CARD, module_with(Config=lambda: 1), "Config is not a NamedTuple"),
        (CARD, module_with(PATHS=("a", "a")), "names a path twice"),
        (CARD, module_with(alloc_cached=1), "alloc_uncached, free_cached"),
        (CARD, module_with(LOCKING="none"), 'LOCKING is "own" or absent'),
        (CARD, module_with(LOCKING="own"), "locks by itself and lacks one of fork_prepare"),
        (Card(summary="", variants=({"frob": 1},)), module_with(), "in variants a knob 'frob'"),
        (Card(summary="", limit_knob="frob"), module_with(), "in limit_knob a knob 'frob'"),
        (Card(summary="", versions=("2.37",)), module_with(), "the default version"),
        (Card(summary="", incremental=1), module_with(), "has 1 incremental variants of fewer"),
        (
            Card(summary="", deploy=Deploy(environment={"frob": "FROB"})),
            module_with(),
            "in deploy a knob 'frob'",
        ),
    ],
)
def test_a_fault_is_a_sentence(card, module, sentence):
    found = contract.faults(card, module)
    assert any(sentence in one for one in found), found


def test_a_sound_module_has_none():
    assert contract.faults(Card(summary="", versions=("2.36",)), module_with()) == []


def test_entry_points_are_held_to_it(tmp_path, monkeypatch):
    (tmp_path / "half_made.py").write_text(
        "from heapwright.managers.card import Card\nCARD = Card(summary='half')\n"
    )
    (tmp_path / "no_card.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HeapwrightError, match="half is no manager: half_made lacks Config"):
        _ = registry.Manager("half", "half_made").module
    with pytest.raises(HeapwrightError, match="no_card has no CARD, so 'none' cannot be used"):
        _ = registry.Manager("none", "no_card").card


def test_what_is_installed_meanwhile_is_found(tmp_path, monkeypatch):
    os.utime(tmp_path, (1, 1))  # long ago
    monkeypatch.syspath_prepend(tmp_path)
    before = set(registry.managers())
    about = tmp_path / "late-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: late\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[heapwright.managers]\nlate = late_one\n")
    assert set(registry.managers()) - before == {"late"}


def test_a_card_is_read_without_the_manager():
    import subprocess
    import sys

    check = (
        "import sys; from heapwright.managers import registry\n"
        "print(len([one.card for one in registry.managers().values()]))\n"
        "print('numba' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    count, heavy = done.stdout.splitlines()
    assert int(count) >= 22 and heavy == "False False"


def test_what_a_card_says_decides_the_line_up():
    for graph, kind in ((False, "malloc"), (True, "graph")):
        expected = [n for n, one in registry.managers().items() if one.card.compared_on(kind)]
        assert registry.usual(graph=graph) == expected
    assert "stack" not in registry.usual() and "go" in registry.usual()


def test_a_pythons_line_up_are_the_mallocs_it_can_have_and_that_are_compared():
    names = registry.usual(python=True)
    mallocs = [one for one in registry.managers().values() if one.family == "malloc"]
    can_have = [one for one in mallocs if one.card.deploy]
    compared = {one.name for one in can_have if one.card.compared_on("malloc")}
    assert compared < {one.name for one in can_have}, "some are compared only where named"
    assert set(names) == compared | {f"pymalloc over {name}" for name in compared}
    assert names[0] == "pymalloc over glibc" and len(names) == len(set(names))
