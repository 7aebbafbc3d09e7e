"""Copies of modules, bound to others."""

import sys

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.compiler.bind import rebound

VERBS = "def more():\n    return 'the machine'\n"
OTHER = "def more():\n    return 'a ground'\n"
PART = '''"""A part."""
from house.verbs import (
    more,
)


def grow():
    return more()
'''
TOP = '''"""A manager: two parts, one of which needs no ground."""
from house import part, plain as simple

from .part import grow

answer = part.grow(), grow(), simple.SIDE
'''


@pytest.fixture
def house(tmp_path, monkeypatch):
    folder = tmp_path / "house"
    folder.mkdir()
    texts = {"__init__": "", "verbs": VERBS, "other": OTHER, "part": PART, "top": TOP}
    for name, text in (texts | {"plain": "SIDE = object()\n"}).items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if "house" in name and "tests" not in name]:
        del sys.modules[name]


def test_what_lies_between_is_copied_and_the_rest_shared(house):
    over = rebound("house.top", {"house.verbs": "house.other"}, "test")
    own = sys.modules["house.top"]
    assert own.answer[:2] == ("the machine", "the machine")
    assert over.answer[:2] == ("a ground", "a ground")
    assert over.answer[2] is own.answer[2], "a module without such an import was copied"
    assert rebound("house.top", {"house.verbs": "house.other"}, "test") is over


@pytest.mark.skipif(not INTERPRETED, reason="on disk a copy has its own file")
def test_interpreted_lines_are_the_templates(house):
    over = rebound("house.part", {"house.verbs": "house.other"}, "lines")
    assert over.grow.__code__.co_filename == str(house / "part.py")
    assert over.grow.__code__.co_firstlineno == PART.splitlines().index("def grow():") + 1


def test_a_plain_import_of_what_is_replaced_is_refused(house):
    (house / "bad.py").write_text("import house.verbs\n\nmore = house.verbs.more\n")
    with pytest.raises(AssertionError, match=r"from \.\.\. import"):
        rebound("house.bad", {"house.verbs": "house.other"}, "bad")
